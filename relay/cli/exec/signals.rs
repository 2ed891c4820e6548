//! The signals that are the program's: they are handed on to it.

use std::future::poll_fn;
use std::io::{self, IsTerminal};
use std::task::Poll;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::signal::unix::{self, SignalKind};

/// What is handed on.
const FORWARDED: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// What asks for an end.
const ENDS: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// What a terminal sends to the program itself, as it does to the relay.
const OF_TERMINAL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::WINCH];

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
    terminal: bool,
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
        Ok(Self { heard, terminal: io::stdin().is_terminal() })
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

    /// Hands a signal on, unless the program has it already.
    pub(super) fn forward(&self, signal: Signal, child: &Child) {
        if self.terminal && OF_TERMINAL.contains(&signal) {
            return;
        }
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // It may have ended at this moment, which is heard next.
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            tracing::warn!(%error, signal = signal.as_raw(), "a signal could not be handed on");
        }
    }
}
