//! Work that may hold up its thread (a read of a mount that hangs, the start of a program on one),
//! beside the one thread that answers requests and signals.

use std::io;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::reading::Reading;

/// A source's thread for such work: one at most, since the next work waits for one that hangs.
/// All of it is safe to drop at any await; what was made for nobody is dropped where it was made.
#[derive(Default)]
pub(super) struct Aside(Reading<()>);

impl Aside {
    /// Does `work` there.
    ///
    /// # Errors
    /// That it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = oneshot::channel();
        let done = self.0.of(move || drop(tell.send(work()))).await;
        done.map_err(|_| io::Error::other(PANICKED))?;
        told.await.map_err(|_| io::Error::other(PANICKED))
    }

    /// Polls there what `work` returns, until it is done or given up. Its connections and timers
    /// are the runtime's: only what it does between two awaits may hang.
    ///
    /// # Errors
    /// That it panicked.
    pub(super) async fn poll<T: Send + 'static, F: Future<Output = T>>(
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
        let done = self.0.of(until_given_up).await;
        done.map_err(|_| io::Error::other(PANICKED))?;
        told.await.map_err(|_| io::Error::other(PANICKED))
    }
}

const PANICKED: &str = "a fault of the relay: the work panicked";
