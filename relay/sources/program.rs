//! Running a program that prints keys: within a time, and with an end to what it may print.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::last_words::{self, LONGEST};
use super::process_document::{LARGEST, Unfit};
use crate::failure::Cause;
use crate::files::Aside;

/// What a program printed to its standard output, once it has ended well within `limit`. One that
/// has not is killed, with all that it started but for what left its process group. The start is a
/// matter for the thread `starting`: it waits for the mount on which the program is.
///
/// # Errors
/// That it could not be started, took too long, printed too much, or how it ended, with the last
/// line of its standard error as far as that is no secret.
pub(super) async fn printed(
    mut command: Command,
    limit: Duration,
    starting: &mut Aside,
) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let running = async {
        let started = starting.run(move || command.spawn().map(Group)).await;
        let started = started.map_err(|error| Unfit::new(Cause::Internal, error))?;
        let program = started.map_err(|error| not_started(&error))?;
        program.end().await.map_err(|error| Unfit::new(Cause::Transient, error))
    };
    let Ok(ended) = timeout(limit, running).await else {
        let reason = format!("it did not end within {} s, and was killed", limit.as_secs());
        return Err(Unfit::new(Cause::Unreachable, reason));
    };
    let (status, out, said) = ended?;
    if status.success() { Ok(out) } else { Err(ended_badly(status, &said)) }
}

/// A program that leads a process group, which is killed where it is dropped before its end.
struct Group(Child);

impl Group {
    /// How it ended, what it printed and the end of what it said.
    async fn end(mut self) -> io::Result<(ExitStatus, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>)> {
        let (out, said) = (self.0.stdout.take(), self.0.stderr.take());
        // Who prints without end is not waited for.
        let (out, said) = tokio::try_join!(whole(out), async { Ok(tail(said).await) })?;
        Ok((self.0.wait().await?, out, said))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It has an id until it is waited for, and till then no other process can get it.
        let id = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            // What has ended by itself needs no signal.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

fn not_started(error: &io::Error) -> Unfit {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Unfit::new(Cause::NotConfigured, "there is no such program (or not its interpreter)")
        }
        io::ErrorKind::PermissionDenied => {
            Unfit::new(Cause::Misconfigured, "this user may not execute it")
        }
        _ => Unfit::new(Cause::Transient, format!("it cannot be started: {error}")),
    }
}

/// All that it prints, in one piece: what a growing vector leaves behind would not be wiped.
async fn whole(out: Option<impl AsyncRead + Unpin>) -> io::Result<Zeroizing<Vec<u8>>> {
    let most = usize::try_from(LARGEST).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(most + 32));
    if let Some(out) = out {
        out.take(LARGEST + 1).read_to_end(&mut content).await?;
    }
    if content.len() > most {
        return Err(io::Error::other("it prints more than 64 KiB, and was killed"));
    }
    Ok(content)
}

/// The end of what it says, read to its end so that it never waits for a reader.
async fn tail(said: Option<impl AsyncRead + Unpin>) -> Zeroizing<Vec<u8>> {
    let mut kept = Zeroizing::new(Vec::with_capacity(2 * LONGEST));
    let Some(mut said) = said else { return kept };
    let mut piece = Zeroizing::new([0; LONGEST]);
    while let Ok(read @ 1..) = said.read(piece.as_mut_slice()).await {
        let too_many = (kept.len() + read).saturating_sub(LONGEST).min(kept.len());
        kept.drain(..too_many);
        kept.extend_from_slice(&piece[..read]);
    }
    kept
}

fn ended_badly(status: ExitStatus, said: &[u8]) -> Unfit {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended badly".to_owned(),
    };
    let reason = match last_words::line(said) {
        Some(line) => format!("{how}; the last that it said: {line}"),
        None => format!("{how} and said nothing"),
    };
    Unfit::new(Cause::Transient, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    async fn shell(script: &str) -> Result<Zeroizing<Vec<u8>>, Unfit> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        printed(command, Duration::from_secs(60), &mut Aside::default()).await
    }

    #[tokio::test]
    async fn what_a_program_prints_is_read_to_its_end() {
        assert_eq!(
            shell("cat; printf keys; printf chatter >&2").await.unwrap().as_slice(),
            b"keys"
        );
        let loud = "head -c 300000 /dev/zero >&2; printf keys";
        assert_eq!(shell(loud).await.unwrap().as_slice(), b"keys");
    }

    #[tokio::test]
    async fn a_bad_end_is_told_without_what_may_be_a_key() {
        let script =
            format!("echo first >&2; echo 'login: refused for {KEY}, try again' >&2; exit 3");
        let unfit = shell(&script).await.unwrap_err();
        assert_eq!(unfit.cause, Cause::Transient);
        assert_eq!(
            unfit.reason,
            "it ended with exit code 3; the last that it said: login: refused for [redacted], try again"
        );
        let killed = shell("kill -9 $$").await.unwrap_err();
        assert_eq!(killed.reason, "signal 9 ended it and said nothing");
    }

    #[tokio::test]
    async fn who_prints_without_end_is_killed() {
        let unfit = shell("exec cat /dev/zero").await.unwrap_err();
        assert_eq!(unfit.reason, "it prints more than 64 KiB, and was killed");
    }

    /// Whether any process has this folder for its own.
    fn runs_in(folder: &std::path::Path) -> bool {
        let mut processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.any(|process| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|its| its == folder)
        })
    }

    /// Many helpers are a script around the program that hangs.
    #[tokio::test]
    async fn who_hangs_is_killed_with_all_that_it_started() {
        for script in ["exec sleep 600", "sleep 600 | cat", "sleep 600 & exit 0"] {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).current_dir(folder.path());
            let limit = Duration::from_millis(100);
            let unfit = printed(command, limit, &mut Aside::default()).await.unwrap_err();
            assert_eq!(unfit.cause, Cause::Unreachable);
            assert_eq!(unfit.reason, "it did not end within 0 s, and was killed");
            while runs_in(folder.path()) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_program_that_is_given_up_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 | cat"]).current_dir(folder.path());
        let mut starting = Aside::default();
        let hangs = printed(command, Duration::from_secs(600), &mut starting);
        let started = async {
            while !runs_in(folder.path()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = hangs => panic!("it hangs"),
            () = started => {}
        }
        while runs_in(folder.path()) {
            tokio::task::yield_now().await;
        }
    }

    /// It leaves its keeper of keys behind, which is its own affair.
    #[tokio::test]
    async fn what_a_program_that_has_ended_well_leaves_is_let_live() {
        let kept = shell("sleep 600 >/dev/null 2>&1 & echo $!").await.unwrap();
        let id = str::from_utf8(&kept).unwrap().trim().parse().unwrap();
        let id = Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let (limit, mut starting) = (Duration::from_secs(60), Aside::default());
        let missing = Command::new("/no/such/program");
        let unfit = printed(missing, limit, &mut starting).await.unwrap_err();
        assert_eq!(unfit.cause, Cause::NotConfigured);
        let unexecutable = Command::new("/etc/passwd");
        let unfit = printed(unexecutable, limit, &mut starting).await.unwrap_err();
        assert_eq!(unfit.cause, Cause::Misconfigured);
        assert!(unfit.reason.contains("may not execute it"), "{}", unfit.reason);
    }
}
