use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;

use futures_util::FutureExt;
use tokio::sync::oneshot;
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
    place: Arc<Mutex<Place>>,
    end: oneshot::Sender<End>,
    running: JoinHandle<Kept>,
}

impl Bench {
    fn start(folder: tempfile::TempDir) -> Self {
        Self::keep(folder, ManualClock::starting_at(START), "payments", None)
    }

    /// The first keys are in the file, for an hour.
    async fn with_the_first() -> Self {
        let bench = Self::start(tempfile::tempdir().unwrap());
        bench.publish(1, 3600);
        bench.holds(Some(1)).await;
        bench
    }

    fn keep(
        folder: tempfile::TempDir,
        clock: ManualClock,
        profile: &str,
        before: Option<Kept>,
    ) -> Self {
        let (publisher, reader) = store::channel(START);
        let settings = settings(&folder.path().join("credentials"));
        let name = profile.parse().unwrap();
        let mut file = CredentialsFile::new(name, &settings, reader, clock.clock());
        if let Some(before) = before {
            file = file.after(before);
        }
        let place = Arc::clone(&file.file.place);
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(file.run(ended.map(|end| end.unwrap_or(End::Removed))));
        Self { folder, clock, publisher, place, end, running }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    fn publish(&self, n: u32, seconds: u64) {
        let now = self.clock.clock().now();
        let credential = fixtures::session(n, now, Duration::from_secs(seconds));
        self.publisher.publish(Arc::new(Served::new(credential, now).unwrap()));
    }

    /// Another takes the file over, which follows what nothing was published to yet.
    async fn handed_over_to(self, profile: &str) -> Self {
        self.end.send(End::Left).unwrap();
        let kept = self.running.await.unwrap();
        Self::keep(self.folder, self.clock, profile, Some(kept))
    }

    /// Lets no file come in the place of the one that is there: somebody's own stands in the way.
    fn obstruct(&self) -> PathBuf {
        let draft = self.folder.path().join(".credentials.draft");
        fs::write(&draft, "mine").unwrap();
        draft
    }

    /// Ends it, and gives the names that are left in its folder.
    async fn ended(self) -> Vec<OsString> {
        drop(self.end);
        self.running.await.unwrap();
        names(self.folder.path())
    }

    /// Waits until the file holds these keys, or is gone. Files are touched on other threads, which
    /// a paused clock does not wait for.
    async fn holds(&self, n: Option<u32>) {
        holds(&self.path(), n).await;
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// A folder that does not answer, as a mount that hangs: until what is returned is dropped.
async fn hang(place: &Arc<Mutex<Place>>) -> mpsc::Sender<()> {
    let place = Arc::clone(place);
    let (release, released) = mpsc::channel();
    let (hangs, hanging) = oneshot::channel();
    std::thread::spawn(move || {
        let _place = place.lock().unwrap();
        hangs.send(()).unwrap();
        let _ = released.recv();
    });
    hanging.await.unwrap();
    release
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

fn text_of_the_relays() -> Zeroizing<String> {
    let now = ManualClock::starting_at(START).clock().now();
    let credential = fixtures::session(9, now, Duration::from_secs(3600));
    text(&"payments".parse().unwrap(), "app", &credential)
}

fn failure() -> Arc<Failure> {
    Arc::new(Failure::new(Cause::Denied, Stage::Relay, "test"))
}

#[tokio::test]
async fn it_follows_what_is_held_and_goes_with_the_relay() {
    let bench = Bench::with_the_first().await;
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
    assert!(bench.ended().await.is_empty());
}

/// The clock alone moves: nobody says that the renewal fails.
#[tokio::test(start_paused = true)]
async fn nothing_that_has_ended_stays_in_it() {
    let bench = Bench::with_the_first().await;
    bench.clock.suspend(Duration::from_secs(3600 - 15));
    bench.holds(None).await;
    bench.publish(2, 3600);
    bench.holds(Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn the_old_keys_end_though_new_ones_cannot_be_written() {
    let bench = Bench::with_the_first().await;
    let draft = bench.obstruct();
    bench.publish(2, 7200);
    tokio::time::sleep(TRY_AGAIN * 2).await;
    holds(&bench.path(), Some(1)).await;
    bench.clock.suspend(Duration::from_secs(3600));
    bench.holds(None).await;
    fs::remove_file(&draft).unwrap();
    bench.holds(Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn the_old_keys_end_though_another_keeps_the_file_by_then() {
    let bench = Bench::with_the_first().await;
    let draft = bench.obstruct();
    bench.publish(2, 7200);
    // What is under way as another takes over is known to nobody.
    tokio::time::sleep(TRY_AGAIN / 2).await;
    let bench = bench.handed_over_to("payments").await;
    bench.publish(2, 7200);
    tokio::time::sleep(TRY_AGAIN * 2).await;
    holds(&bench.path(), Some(1)).await;
    bench.clock.suspend(Duration::from_secs(3600));
    bench.holds(None).await;
    fs::remove_file(&draft).unwrap();
    bench.holds(Some(2)).await;
    assert!(bench.ended().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_profile_s_keys_go_at_once() {
    let bench = Bench::with_the_first().await;
    bench.obstruct();
    let bench = bench.handed_over_to("reports").await;
    bench.publish(2, 3600);
    bench.holds(None).await;
}

#[tokio::test]
async fn what_is_still_being_written_comes_before_what_another_writes() {
    let bench = Bench::with_the_first().await;
    let hanging = hang(&bench.place).await;
    bench.publish(2, 3600);
    tokio::task::yield_now().await;
    let bench = bench.handed_over_to("payments").await;
    bench.publish(3, 3600);
    tokio::task::yield_now().await;
    assert!(bench.place.try_lock().is_err(), "it goes on with the same place");
    drop(hanging);
    bench.holds(Some(3)).await;
    assert!(bench.ended().await.is_empty());
}

/// No other credential comes: it is the first one's file.
#[tokio::test(start_paused = true)]
async fn a_folder_that_comes_late_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    fs::remove_dir(&path).unwrap();
    let bench = Bench::start(folder);
    bench.publish(1, 12 * 3600);
    tokio::time::sleep(TRY_AGAIN * 3).await;
    fs::create_dir(&path).unwrap();
    bench.holds(Some(1)).await;
}

#[tokio::test]
async fn a_mount_that_hangs_does_not_hold_the_end_up() {
    let bench = Bench::with_the_first().await;
    let (path, place) = (bench.path(), Arc::clone(&bench.place));
    let hanging = hang(&place).await;
    drop(bench.end);
    bench.running.await.unwrap();
    assert!(path.exists());
    // It is taken away all the same, should the mount come back before the process has ended.
    drop(hanging);
    holds(&path, None).await;
}

#[tokio::test]
async fn a_write_under_way_at_the_end_leaves_nothing() {
    let bench = Bench::with_the_first().await;
    let hanging = hang(&bench.place).await;
    bench.publish(2, 3600);
    tokio::task::yield_now().await;
    tokio::spawn(async move { drop(hanging) });
    assert!(bench.ended().await.is_empty());
}

#[tokio::test]
async fn what_a_killed_relay_left_half_way_is_removed() {
    let whole = text_of_the_relays();
    for left in [whole.as_str(), &whole[..30], ""] {
        let folder = tempfile::tempdir().unwrap();
        let draft = folder.path().join(".credentials.draft");
        fs::write(&draft, left).unwrap();
        let bench = Bench::start(folder);
        holds(&draft, None).await;
        // And before each write.
        fs::write(&draft, left).unwrap();
        bench.publish(1, 3600);
        bench.holds(Some(1)).await;
        assert!(bench.ended().await.is_empty(), "{left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_of_somebody_else_s_stays() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    fs::write(&own, text_of_the_relays()).unwrap();
    std::os::unix::fs::symlink(&own, folder.path().join(".credentials.draft")).unwrap();
    let bench = Bench::start(folder);
    bench.publish(1, 3600);
    tokio::time::sleep(TRY_AGAIN * 2).await;
    assert!(!bench.path().exists());
    assert_eq!(bench.ended().await.len(), 2);
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
    drop(bench.end);
    bench.running.await.unwrap();
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
    let first = Bench::with_the_first().await;
    let left = fs::read(first.path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("credentials"), left).unwrap();
    let next = Bench::start(folder);
    next.holds(None).await;
    next.publish(2, 3600);
    next.holds(Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_at_first_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs::create_dir(&path).unwrap();
    let bench = Bench::start(folder);
    tokio::time::sleep(LOOK_AGAIN * 2).await;
    fs::remove_dir(&path).unwrap();
    fs::write(&path, text_of_the_relays()).unwrap();
    bench.holds(None).await;
}
