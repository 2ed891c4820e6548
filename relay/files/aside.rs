//! Work that may hold up its thread (a read of a mount that hangs, the start of a program on one),
//! beside the one thread that answers requests and signals.

use std::io;

#[cfg(feature = "host")]
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

/// So many of the runtime's threads for blocking work may be taken at a time: whoever looks a name up needs one too, and
/// mounts may hang under any number of files. What is polled waits for the network, and has as many of its own.
pub const MOST: usize = if cfg!(feature = "host") { 2 * EACH } else { EACH };

const EACH: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(EACH);
#[cfg(feature = "host")]
static POLLS: Semaphore = Semaphore::const_new(EACH);

/// A thread for the work of one source, or on one file: one at most, however often it is asked for,
/// since the next work waits for one that hangs. The threads are few, and all others need them.
///
/// All of it is safe to drop at any await: the work goes on, and what was made for nobody is dropped
/// where it was made.
pub struct Aside {
    thread: Option<JoinHandle<()>>,
    turns: &'static Semaphore,
}

impl Default for Aside {
    fn default() -> Self {
        Self { thread: None, turns: &TURNS }
    }
}

impl Aside {
    /// Does `work` there.
    ///
    /// # Errors
    /// That it panicked.
    pub async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = oneshot::channel();
        self.alone(self.turns, move || drop(tell.send(work()))).await;
        told.await.map_err(|_| panicked())
    }

    /// Polls there what `work` returns, until it is done or given up. Its connections and timers
    /// are the runtime's: only what it does between two awaits may hang.
    ///
    /// # Errors
    /// That it panicked.
    #[cfg(feature = "host")]
    pub async fn poll<T: Send + 'static, F: Future<Output = T>>(
        &mut self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<T> {
        let (mut tell, told) = oneshot::channel();
        let runtime = Handle::current();
        let until_given_up = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = tell.closed() => {}
                    output = async { work().await } => drop(tell.send(output)),
                }
            });
        };
        self.alone(&POLLS, until_given_up).await;
        told.await.map_err(|_| panicked())
    }

    /// Does `work` once what was begun before has ended (what that found is old by now), and in its turn: whoever gives up
    /// then leaves it to be done.
    async fn alone(&mut self, turns: &'static Semaphore, work: impl FnOnce() + Send + 'static) {
        if let Some(before) = &mut self.thread {
            let _ = before.await;
        }
        let in_turn = async {
            // It is never closed.
            let _turn = turns.acquire().await;
            // A panic is told by what the work did not tell.
            let _ = spawn_blocking(work).await;
        };
        let _ = self.thread.insert(tokio::spawn(in_turn)).await;
        self.thread = None;
    }
}

fn panicked() -> io::Error {
    io::Error::other("a fault of the relay: the work panicked")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    /// Of a test's own: others run beside it.
    fn turns(most: usize) -> &'static Semaphore {
        Box::leak(Box::new(Semaphore::new(most)))
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_waited_for_and_not_doubled() {
        let mut aside = Aside { thread: None, turns: turns(2) };
        let (release, hangs) = mpsc::channel::<()>();
        // It is given up at once, as by a time limit.
        let given_up = aside.run(move || {
            let _ = hangs.recv();
            1
        });
        assert!(given_up.now_or_never().is_none());
        let (began, second) = mpsc::channel();
        let mut next = Box::pin(aside.run(move || {
            let _ = began.send(());
            2
        }));
        assert!((&mut next).now_or_never().is_none());
        assert!(second.try_recv().is_err(), "no second thread while the first one hangs");
        drop(release);
        assert_eq!(next.await.unwrap(), 2, "what the first one read is old");
    }

    #[tokio::test]
    async fn however_many_hang_they_take_no_more_than_their_threads() {
        let turns = turns(2);
        let aside = || Aside { thread: None, turns };
        let (mut one, mut two, mut three) = (aside(), aside(), aside());
        let (release_one, one_hangs) = mpsc::channel::<()>();
        let (release_two, two_hangs) = mpsc::channel::<()>();
        for (aside, hangs) in [(&mut one, one_hangs), (&mut two, two_hangs)] {
            assert!(aside.run(move || hangs.recv()).now_or_never().is_none());
        }
        let (began, third) = mpsc::channel();
        let mut next = Box::pin(three.run(move || began.send(())));
        assert!((&mut next).now_or_never().is_none());
        assert!(third.try_recv().is_err(), "two hang, and no third thread is taken");
        drop(release_one);
        next.await.unwrap().unwrap();
        drop(release_two);
    }

    #[tokio::test]
    async fn what_was_given_up_before_its_turn_is_done_in_it() {
        let turns = turns(1);
        let (mut one, mut two) = (Aside { thread: None, turns }, Aside { thread: None, turns });
        let (release, hangs) = mpsc::channel::<()>();
        assert!(one.run(move || hangs.recv()).now_or_never().is_none());
        let (done, told) = oneshot::channel();
        assert!(two.run(move || done.send(())).now_or_never().is_none());
        drop(two);
        drop(release);
        told.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_told_without_its_message() {
        let mut aside = Aside::default();
        let error = aside.run(|| -> () { panic!("hush") }).await.unwrap_err();
        assert!(error.to_string().contains("panicked") && !error.to_string().contains("hush"));
        assert_eq!(aside.run(|| 1).await.unwrap(), 1);
    }
}
