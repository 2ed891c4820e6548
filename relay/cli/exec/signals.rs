//! The signals that are the program's: they are handed on to it.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::signal::unix::{self, SignalKind};

/// What is handed on.
const FORWARDED: [Signal; 8] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::CONT,
];

/// What asks for an end.
const ENDS: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// What a terminal sends to all that run in its foreground: a shell does not end before what it runs.
const TO_ALL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::CONT];

/// What whoever started the relay has it ignore, as `nohup` does: the program inherits that, but for
/// signals that are listened for. As bits, from signal 1 on (proc(5)).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(bits: u64, signal: Signal) -> bool {
    bits & (1 << (signal.as_raw() - 1)) != 0
}

/// The signals, from when they are listened for.
pub(super) struct Signals {
    heard: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Listens from now on. It must be called within a tokio runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let wanted = FORWARDED.into_iter().filter(|signal| !is_in(ignored, *signal));
        let heard = wanted.map(|signal| {
            let kind = SignalKind::from_raw(signal.as_raw());
            unix::signal(kind).map(|heard| (signal, heard))
        });
        let heard = heard.collect::<io::Result<_>>()?;
        Ok(Self { heard })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (signal, heard) in &mut self.heard {
                if heard.poll_recv(cx).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Waits for one that asks for an end, and gives its number.
    pub(super) async fn end(&mut self) -> i32 {
        loop {
            let signal = self.next().await;
            if ENDS.contains(&signal) {
                return signal.as_raw();
            }
        }
    }
}

/// Hands a signal on to a program that leads a process group.
pub(super) fn forward(signal: Signal, program: Pid) {
    let send = if TO_ALL.contains(&signal) { kill_process_group } else { kill_process };
    // It may have ended at this moment, which is heard next.
    if let Err(error) = send(program, signal) {
        tracing::warn!(%error, signal = signal.as_raw(), "a signal could not be handed on");
    }
}
