//! The terminal. The program is in a process group of its own, so that nothing that is typed or sent
//! reaches it twice; where it is the terminal's whole use, that group is in the foreground.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::process::{
    Pid, Signal, getpgrp, kill_current_process_group, kill_process_group, setpgid,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The controlling terminal, if there is one, and the program's process group.
pub(super) struct Terminal {
    tty: Option<File>,
    program: Pid,
}

impl Terminal {
    /// The terminal for a program that has just started, and leads a process group.
    pub(super) fn of(program: Pid) -> Self {
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let tty = File::options().read(true).write(true).custom_flags(flags).open("/dev/tty").ok();
        let terminal = Self { tty, program };
        // Others of a pipeline may need the foreground as well (`… | less`): there the program gets
        // it when it asks.
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            terminal.hand_over();
        }
        terminal
    }

    /// Gives the relay's place in the foreground to the program, and lets it go on where it was
    /// stopped for want of it.
    pub(super) fn hand_over(&self) {
        if let Some(tty) = self.tty.as_ref().filter(|_| self.is_in_front(getpgrp())) {
            let _ = tcsetpgrp(tty, self.program);
            let _ = kill_process_group(self.program, Signal::CONT);
        }
    }

    /// Takes the foreground back from the program, which may have ended but was not waited for: a
    /// script that goes on after the relay must find it as it was.
    pub(super) fn take_back(&self) {
        let Some(tty) = self.tty.as_ref().filter(|_| self.is_in_front(self.program)) else {
            return;
        };
        // Who is in the background may set the foreground only while it ignores SIGTTOU, which takes
        // unsafe code; so the relay joins the foreground. A session's leader cannot, and its end
        // takes the terminal from everybody.
        let own = getpgrp();
        if setpgid(None, Some(self.program)).is_ok() {
            let _ = tcsetpgrp(tty, own);
            let _ = setpgid(None, Some(own));
        }
    }

    /// What follows from a stop of the program's.
    pub(super) fn stopped(&self, by: Signal) {
        match by {
            Signal::TTIN | Signal::TTOU if self.is_in_front(getpgrp()) => self.hand_over(),
            // In the background: it goes on when the relay is told to.
            Signal::TTIN | Signal::TTOU => stop(by),
            Signal::TSTP => {
                self.take_back();
                stop(by);
                // Here it was told to go on, or is one that does not stop, as a container's first.
                self.hand_over();
                let _ = kill_process_group(self.program, Signal::CONT);
            }
            // Nothing that the terminal sends.
            _ => {}
        }
    }

    fn is_in_front(&self, group: Pid) -> bool {
        self.tty.as_ref().is_some_and(|tty| tcgetpgrp(tty) == Ok(group))
    }
}

/// Stops the relay and what runs beside it, as the terminal would have: the shell sees it.
fn stop(by: Signal) {
    let _ = kill_current_process_group(by);
}
