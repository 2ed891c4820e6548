//! The way out of lines, those of the log and of the audit: a bounded queue and a thread that writes. A
//! pipe that nobody reads blocks the thread, and nothing else; what does not fit is dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// In bytes; some thousand lines, which is more than a minute of anything below trace.
const MOST: usize = 256 * 1024;

/// Lines on their way out.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    writer: Writer,
    /// Whether it writes at the moment.
    writing: bool,
}

/// Who writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// Whoever says a line.
    #[default]
    Speaker,
    /// Nobody yet: lines are kept.
    Awaited,
    /// A thread.
    Thread,
}

/// What the writing thread does next.
enum Next {
    Write(Vec<u8>),
    /// Everything was written, and as many lines were dropped before.
    Tell(u64),
}

impl Queue {
    pub(crate) const fn new() -> Self {
        let state = State {
            lines: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            writer: Writer::Speaker,
            writing: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No state is left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps lines from now on, until [`Self::serve`].
    pub(crate) fn keep(&self) {
        let mut state = self.lock();
        if state.writer == Writer::Speaker {
            state.writer = Writer::Awaited;
        }
    }

    /// Starts the thread that writes to `out` what was kept and what comes, where one is awaited. Where
    /// there can be none, lines are written by those who say them. `tell` says how many lines were
    /// dropped, in a line of its own.
    pub(crate) fn serve(&'static self, out: impl Write + Send + 'static, tell: fn(u64)) {
        let mut state = self.lock();
        if state.writer != Writer::Awaited {
            return;
        }
        state.writer = Writer::Thread;
        drop(state);
        let thread = std::thread::Builder::new().name("lines".to_owned());
        if thread.spawn(move || self.write_for_ever(out, tell)).is_err() {
            self.lock().writer = Writer::Speaker;
        }
    }

    fn write_for_ever(&self, mut out: impl Write, tell: fn(u64)) {
        loop {
            match self.next() {
                Next::Write(line) => {
                    // Where it cannot be written nobody reads it.
                    let _ = out.write_all(&line);
                }
                Next::Tell(dropped) => tell(dropped),
            }
        }
    }

    fn next(&self) -> Next {
        let mut state = self.lock();
        state.writing = false;
        self.changed.notify_all();
        let idle = |state: &mut State| state.lines.is_empty() && state.dropped == 0;
        let waited = self.changed.wait_while(state, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        match state.lines.pop_front() {
            Some(line) => {
                state.bytes -= line.len();
                Next::Write(line)
            }
            None => Next::Tell(std::mem::take(&mut state.dropped)),
        }
    }

    /// Takes a line, or drops it if there is no room; whether it was taken.
    pub(crate) fn push(&self, line: &[u8]) -> bool {
        let mut state = self.lock();
        if state.writer == Writer::Speaker {
            drop(state);
            // Where it cannot be written nobody reads it.
            let _ = io::stderr().write_all(line);
            return true;
        }
        let has_room = state.bytes + line.len() <= MOST;
        if has_room {
            state.bytes += line.len();
            state.lines.push_back(line.to_vec());
            self.changed.notify_all();
        } else {
            state.dropped += 1;
        }
        has_room
    }

    /// Waits until everything was written, or for `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let busy = |state: &mut State| {
            state.writer == Writer::Thread && (state.writing || !state.lines.is_empty())
        };
        // Either way there is nothing more to do.
        drop(self.changed.wait_timeout_while(self.lock(), limit, busy));
    }
}

/// One line, as the formatter writes it: whole, in one call.
#[derive(Clone, Copy)]
pub(crate) struct Line(pub(crate) &'static Queue);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes nothing before it is told to.
    struct Gate {
        open: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Both ends stay until the test has ended, and then nothing matters.
            let _ = self.open.recv();
            let _ = self.written.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    static QUEUE: Queue = Queue::new();

    #[test]
    fn what_does_not_fit_is_dropped_and_told_once_it_can_be() {
        let (opener, open) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        QUEUE.keep();
        QUEUE.serve(Gate { open, written }, |dropped| {
            QUEUE.push(format!("{dropped} dropped").as_bytes());
        });
        let large = vec![b'x'; MOST / 4];
        // Four wait, and one more is with the thread if it was quick.
        for _ in 0..8 {
            QUEUE.push(&large);
        }
        for _ in 0..9 {
            opener.send(()).unwrap();
        }
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(Duration::from_secs(60)) {
            let last = line != large;
            seen.push(line);
            if last {
                break;
            }
        }
        let dropped = 8 - (seen.len() - 1);
        assert!((3..=4).contains(&dropped), "{dropped}");
        assert_eq!(seen.last().unwrap(), format!("{dropped} dropped").as_bytes());
        QUEUE.flush(Duration::from_secs(60));
        assert!(QUEUE.lock().lines.is_empty());
    }
}
