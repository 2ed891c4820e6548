//! Running a program that prints keys: within a time, and with an end to what it may print.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::process_document::{LARGEST, Unfit};
use crate::credential::scrub;
use crate::failure::Cause;

/// So much of the end of its standard error is looked at for its last line.
const LAST_WORDS: usize = 1 << 10;

/// A word that is this long and has a digit in it is not repeated: it may be a key.
const LONGEST_WORD: usize = 16;

/// What a program printed to its standard output, once it has ended well within `limit`. One that
/// has not is killed.
///
/// # Errors
/// That it could not be started, took too long, printed too much, or how it ended, with the last
/// line of its standard error as far as that is no secret.
pub(super) async fn printed(
    mut command: Command,
    limit: Duration,
) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut program = command.spawn().map_err(|error| not_started(&error))?;
    let ending = async {
        let (out, said) = (program.stdout.take(), program.stderr.take());
        let (out, said) = tokio::join!(whole(out), tail(said));
        // Who prints without end is not waited for.
        let out = out?;
        Ok::<_, io::Error>((program.wait().await?, out, said))
    };
    let ended = timeout(limit, ending).await;
    let (status, out, said) = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(Unfit::new(Cause::Transient, error)),
        Err(_) => {
            let reason = format!("it did not end within {} s, and was killed", limit.as_secs());
            return Err(Unfit::new(Cause::Unreachable, reason));
        }
    };
    if status.success() { Ok(out) } else { Err(ended_badly(status, &said)) }
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
    let mut kept = Zeroizing::new(Vec::with_capacity(2 * LAST_WORDS));
    let Some(mut said) = said else { return kept };
    let mut piece = Zeroizing::new([0; LAST_WORDS]);
    while let Ok(read @ 1..) = said.read(piece.as_mut_slice()).await {
        let too_many = (kept.len() + read).saturating_sub(LAST_WORDS).min(kept.len());
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
    let reason = match last_line(said) {
        Some(line) => format!("{how}; the last that it said: {line}"),
        None => format!("{how} and said nothing"),
    };
    Unfit::new(Cause::Transient, reason)
}

/// The last line that is not empty, without what may be a key in it.
fn last_line(said: &[u8]) -> Option<String> {
    let text = Zeroizing::new(String::from_utf8_lossy(said).into_owned());
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let mut clean = String::new();
    for piece in line.split_inclusive(|c| !part_of_word(c)) {
        let word = piece.trim_end_matches(|c| !part_of_word(c));
        let doubtful = word.len() >= LONGEST_WORD && word.contains(|c: char| c.is_ascii_digit());
        clean.push_str(if doubtful { "[redacted]" } else { word });
        clean.push_str(&piece[word.len()..]);
    }
    Some(scrub(&clean, []))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    async fn shell(script: &str) -> Result<Zeroizing<Vec<u8>>, Unfit> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        printed(command, Duration::from_secs(60)).await
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

    /// It writes down its own id first, by which the test sees that it is gone.
    #[tokio::test]
    async fn who_hangs_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec sleep 600"]).current_dir(folder.path());
        let unfit = printed(command, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(unfit.cause, Cause::Unreachable);
        assert_eq!(unfit.reason, "it did not end within 0 s, and was killed");
        let runs_there = || {
            let mut processes = std::fs::read_dir("/proc").unwrap().flatten();
            processes.any(|process| {
                std::fs::read_link(process.path().join("cwd"))
                    .is_ok_and(|folder_of_it| folder_of_it == folder.path())
            })
        };
        while runs_there() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let missing = Command::new("/no/such/program");
        let unfit = printed(missing, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(unfit.cause, Cause::NotConfigured);
        let unfit =
            printed(Command::new("/etc/passwd"), Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(unfit.cause, Cause::Misconfigured);
        assert!(unfit.reason.contains("may not execute it"), "{}", unfit.reason);
    }

    #[test]
    fn the_last_line_alone_is_told() {
        assert_eq!(last_line(b"one\ntwo\x07\n\n  \n").as_deref(), Some("two"));
        assert_eq!(last_line(b" \n"), None);
        let path = last_line(b"no file /etc/a/long/path/to/it").unwrap();
        assert_eq!(path, "no file /etc/a/long/path/to/it");
        let tail = "x".repeat(30) + KEY;
        assert_eq!(last_line(tail.as_bytes()).as_deref(), Some("[redacted]"));
    }
}
