//! How the program ends: a request to drain, and a deadline after which it stops regardless.

use std::time::Duration;

use tokio::signal::unix;
use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing asked for.
    Running,
    /// Serve on what is held, start nothing new, close connections as they fall idle.
    Draining,
    /// Stop at once.
    Stopping,
}

/// A fresh pair of ends, running.
pub fn channel() -> (Trigger, Signal) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Signal(receiver))
}

/// Moves the program towards its end; it never moves back.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

impl Trigger {
    /// Drains, and stops once `deadline` has passed. Drop it to stop sooner.
    pub async fn drain_then_stop(self, deadline: Duration) {
        self.0.send_replace(Phase::Draining);
        tokio::time::sleep(deadline).await;
        self.0.send_replace(Phase::Stopping);
    }
}

/// Tells a task how far the end has come.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<Phase>);

impl Signal {
    /// Waits until a drain is asked for. A trigger that was dropped asks for it too.
    pub async fn draining(&mut self) {
        let _ = self.0.wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Waits until everything must stop. A trigger that was dropped asks for it too.
    pub async fn stopping(&mut self) {
        let _ = self.0.wait_for(|phase| *phase >= Phase::Stopping).await;
    }
}

/// The operating system's wish that the program ends: SIGTERM, or SIGINT from a terminal.
#[derive(Debug)]
pub struct Wish {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Wish {
    /// Listens from now on. It must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the operating system does not let it.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(unix::SignalKind::terminate())?,
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
        })
    }

    /// Waits for the next wish.
    pub async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_drains_first_and_stops_at_the_deadline() {
        let (trigger, mut signal) = channel();
        let started = tokio::time::Instant::now();
        let task = tokio::spawn(trigger.drain_then_stop(Duration::from_secs(5)));
        signal.draining().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        signal.stopping().await;
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        task.await.unwrap();
    }
}
