//! Reading files on a thread beside, one read at a time.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

/// What reads for one source. A mount that hangs holds up one thread, however often the source is
/// asked: the threads are few, and all other sources need them.
pub(super) struct Reading<T>(Option<JoinHandle<T>>);

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Reading<T> {
    /// Reads, once the read before has ended.
    ///
    /// # Errors
    /// If it panicked.
    pub(super) async fn of(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        if let Some(before) = &mut self.0 {
            // What a fetch that was given up has read is old by now: only its end is waited for.
            let _ = before.await;
        }
        let outcome = self.0.insert(spawn_blocking(read)).await;
        self.0 = None;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_read_that_hangs_is_waited_for_and_not_doubled() {
        let mut reading = Reading::default();
        let (release, hangs) = mpsc::channel::<()>();
        // It is given up at once, as by a time limit.
        let given_up = reading.of(move || {
            let _ = hangs.recv();
            1
        });
        assert!(given_up.now_or_never().is_none());
        let (began, second) = mpsc::channel();
        let mut next = Box::pin(reading.of(move || {
            let _ = began.send(());
            2
        }));
        assert!((&mut next).now_or_never().is_none());
        assert!(second.try_recv().is_err(), "no second thread while the first one hangs");
        drop(release);
        assert_eq!(next.await.unwrap(), 2, "what the first one read is old");
    }
}
