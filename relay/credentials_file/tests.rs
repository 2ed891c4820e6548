use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::task::JoinHandle;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::credential::fixtures;
use crate::failure::{Cause, Failure, Stage};
use crate::store::{self, Publisher};

const START: Timestamp = Timestamp::from_secs(1_000_000);

/// A profile whose file is kept in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    clock: ManualClock,
    publisher: Publisher,
    running: JoinHandle<()>,
}

impl Bench {
    fn start(folder: tempfile::TempDir) -> Self {
        let clock = ManualClock::starting_at(START);
        let (publisher, reader) = store::channel(START);
        let settings = settings(&folder.path().join("credentials"));
        let name = "payments".parse().unwrap();
        let file = CredentialsFile::new(name, &settings, reader, clock.clock());
        let running = tokio::spawn(file.run());
        Self { folder, clock, publisher, running }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    fn publish(&self, n: u32, seconds: u64) {
        let now = self.clock.clock().now();
        let credential = fixtures::session(n, now, Duration::from_secs(seconds));
        self.publisher.publish(Arc::new(Served::new(credential, now).unwrap()));
    }

    /// Waits until the file holds these keys, or is gone. Files are touched on other threads, which
    /// a paused clock does not wait for.
    async fn holds(&self, n: Option<u32>) {
        holds(&self.path(), n).await;
    }
}

async fn holds(path: &Path, n: Option<u32>) {
    loop {
        let text = fs::read_to_string(path).ok();
        let there = match (&text, n) {
            (None, None) => true,
            (Some(text), Some(n)) => text.contains(&format!("ASIATESTTESTTES{n:05}")),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if there {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn settings(path: &Path) -> config::CredentialsFile {
    config::CredentialsFile { path: path.to_owned(), section: "app".to_owned() }
}

fn failure() -> Arc<Failure> {
    Arc::new(Failure::new(Cause::Denied, Stage::Relay, "test"))
}

#[tokio::test]
async fn it_follows_what_is_held_and_goes_with_the_relay() {
    let bench = Bench::start(tempfile::tempdir().unwrap());
    bench.publish(1, 3600);
    bench.holds(Some(1)).await;
    let text = fs::read_to_string(bench.path()).unwrap();
    assert_eq!(
        text.lines().skip(1).collect::<Vec<_>>(),
        [
            "# Profile payments, valid until 1970-01-12T14:46:40Z",
            "[app]",
            "aws_access_key_id = ASIATESTTESTTES00001",
            "aws_secret_access_key = secret-key-of-test-1",
            "aws_session_token = session-token-of-test-1",
        ]
    );
    assert_eq!(fs::metadata(bench.path()).unwrap().permissions().mode() & 0o777, 0o600);
    bench.publish(2, 3600);
    bench.holds(Some(2)).await;
    bench.publisher.report(failure(), bench.clock.clock().now());
    bench.publisher.withdraw(failure());
    bench.holds(None).await;
    bench.publish(3, 3600);
    bench.holds(Some(3)).await;
    bench.running.abort();
    assert!(bench.running.await.unwrap_err().is_cancelled());
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);
}

/// The clock alone moves: nobody says that the renewal fails.
#[tokio::test(start_paused = true)]
async fn nothing_that_has_ended_stays_in_it() {
    let bench = Bench::start(tempfile::tempdir().unwrap());
    bench.publish(1, 3600);
    bench.holds(Some(1)).await;
    bench.clock.suspend(Duration::from_secs(3600 - 15));
    bench.holds(None).await;
    bench.publish(2, 3600);
    bench.holds(Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_missing_is_tried_again_and_the_old_keys_end_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let bench = Bench::start(folder);
    let moved = tempfile::tempdir().unwrap();
    let elsewhere = moved.path().join("folder");
    bench.publish(1, 3600);
    bench.holds(Some(1)).await;
    fs::rename(bench.folder.path(), &elsewhere).unwrap();
    bench.publish(2, 7200);
    // A paused clock moves when nothing else is left to do: it was tried by then.
    tokio::time::sleep(Duration::from_millis(1)).await;
    fs::rename(&elsewhere, bench.folder.path()).unwrap();
    holds(&path, Some(1)).await;
    bench.clock.suspend(Duration::from_secs(3600));
    bench.holds(None).await;
    bench.publish(3, 3600);
    bench.holds(Some(3)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_somebody_else_s_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    for own in ["", "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"] {
        fs::write(&path, own).unwrap();
        let error = check(&settings(&path)).unwrap_err().to_string();
        assert!(error.contains("was not written by credential-relay"), "{error}");
    }
    let bench = Bench::start(folder);
    bench.publish(1, 3600);
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.running.abort();
    assert!(bench.running.await.unwrap_err().is_cancelled());
    assert!(fs::read_to_string(&path).unwrap().starts_with("[default]"));

    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for no_file in [&link, elsewhere.path()] {
        let error = check(&settings(no_file)).unwrap_err().to_string();
        assert!(error.contains("is no file"), "{error}");
    }
    check(&settings(&elsewhere.path().join("none"))).unwrap();
    check(&settings(Path::new("/no/such/folder/credentials"))).unwrap();
}

#[tokio::test]
async fn what_an_earlier_relay_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let first = Bench::start(folder);
    first.publish(1, 3600);
    first.holds(Some(1)).await;
    let left = fs::read(first.path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("credentials"), left).unwrap();
    let next = Bench::start(folder);
    next.holds(None).await;
    next.publish(2, 3600);
    next.holds(Some(2)).await;
}
