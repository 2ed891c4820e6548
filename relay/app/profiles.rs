//! The profiles that run. They can be added, changed and removed while the relay runs: an update
//! is prepared first, where all that can fail does, and then committed as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::assemble::{self, AssembleError, Workshop};
use crate::clock::Moment;
use crate::config::values::ProfileName;
use crate::config::{self, LeasesAtEnd};
use crate::credentials_file::{self, CredentialsFile, End, Kept};
use crate::endpoint::{Keyring, access};
use crate::metrics::ProfileMetrics;
use crate::rotation::{self, Rotation, Suspicion};
use crate::store::{Reader, Served, View};
use crate::{admin, endpoint, store};

/// The profiles that run, and what the listeners see of them.
pub(super) struct Profiles {
    workshop: Workshop,
    running: BTreeMap<ProfileName, Running>,
    rotations: JoinSet<()>,
    files: JoinSet<()>,
    /// Files that end, by their paths: the next at a path waits for the one before.
    ending: BTreeMap<PathBuf, oneshot::Receiver<Kept>>,
    endpoint: watch::Sender<Arc<endpoint::Directory>>,
    admin: watch::Sender<Arc<admin::Profiles>>,
}

struct Running {
    settings: config::Profile,
    served: Arc<endpoint::Profile>,
    seen: admin::Profile,
    metrics: ProfileMetrics,
    rotation: AbortHandle,
    file: Option<RunningFile>,
    inherited: Weak<Served>,
}

/// A rotation that runs, and what is seen of it.
struct Turned {
    rotation: AbortHandle,
    seen: admin::Profile,
    metrics: ProfileMetrics,
    /// What it began with, which others of its settings had fetched.
    inherited: Weak<Served>,
}

/// A credentials file that is kept up to date; it goes when this does.
struct RunningFile {
    path: PathBuf,
    end: oneshot::Sender<End>,
    ended: oneshot::Receiver<Kept>,
}

impl RunningFile {
    /// Ends it, and gives its path with what waits for that. A file that another takes over stays as it is.
    fn hand_over(self, taken_over: &[PathBuf]) -> (PathBuf, oneshot::Receiver<Kept>) {
        let end = if taken_over.contains(&self.path) { End::Left } else { End::Removed };
        // One that has ended by itself is heard of by the other end.
        let _ = self.end.send(end);
        (self.path, self.ended)
    }
}

/// A file that is yet to be kept.
struct NextFile {
    path: PathBuf,
    file: CredentialsFile,
    wanted: oneshot::Receiver<End>,
    tell: oneshot::Sender<Kept>,
}

impl NextFile {
    fn new(path: PathBuf, file: CredentialsFile) -> (Self, RunningFile) {
        let (end, wanted) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        (Self { path: path.clone(), file, wanted, tell }, RunningFile { path, end, ended })
    }

    /// Keeps it once the one before has ended.
    async fn run(self, before: Option<oneshot::Receiver<Kept>>) {
        let Self { mut file, wanted, tell, .. } = self;
        if let Some(before) = before
            && let Ok(kept) = before.await
        {
            file = file.after(kept);
        }
        let kept = file.run(wanted.map(|end| end.unwrap_or(End::Removed))).await;
        // Nobody waits unless another takes its place.
        let _ = tell.send(kept);
    }
}

/// A change that is ready to be made.
pub(super) struct Update {
    fresh: Vec<(Keyring, Fresh)>,
    gone: Vec<ProfileName>,
}

impl Update {
    /// Whether nothing would change.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.gone.is_empty()
    }

    /// The profiles that are new or changed, and those that go, for people.
    pub(super) fn in_words(&self) -> (String, String) {
        let names = |names: &[&str]| names.join(" ");
        let fresh: Vec<_> = self.fresh.iter().map(|(_, fresh)| fresh.name.as_str()).collect();
        let gone: Vec<_> = self.gone.iter().map(ProfileName::as_str).collect();
        (names(&fresh), names(&gone))
    }
}

struct Fresh {
    name: ProfileName,
    settings: config::Profile,
    reader: Reader,
    turning: Turning,
    file: Option<CredentialsFile>,
}

/// Where a profile's credentials come from once it has changed.
enum Turning {
    /// From a rotation of its own.
    Anew { rotation: Box<Rotation>, seen: admin::Profile },
    /// From the one that runs: only who may ask, or the file, has changed.
    On,
}

/// Whether a rotation for the one is as good for the other.
fn rotate_alike(one: &config::Profile, other: &config::Profile) -> bool {
    let other = config::Profile {
        access: one.access.clone(),
        credentials_file: one.credentials_file.clone(),
        ..other.clone()
    };
    *one == other
}

/// Whether whoever may have the credentials of the one could have those of `before` too.
fn is_within(one: &config::Profile, before: &config::Profile) -> bool {
    one.access.is_within(&before.access)
        && (one.credentials_file.is_none() || one.credentials_file == before.credentials_file)
}

/// The access tokens' files that an update has written. They go with it if it comes to nothing: what is in them
/// the relay does not know then, and a profile that runs may have lost its own.
#[derive(Default)]
struct Written(Vec<PathBuf>);

impl Written {
    /// What opens a profile; tokens that are not there yet are written.
    fn keyring(
        &mut self,
        name: &ProfileName,
        settings: &config::Access,
    ) -> Result<Keyring, AssembleError> {
        let mut tokens = Vec::new();
        for file in settings.files() {
            let (token, written) = access::load_or_create(file)
                .map_err(|error| AssembleError::Token(name.clone(), error))?;
            self.0.extend(written.then(|| file.clone()));
            tokens.push(token);
        }
        Ok(Keyring { tokens, digests: settings.token_digests.clone() })
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for file in &self.0 {
            // It could be written a moment ago, so it can be removed but for rare cases.
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Profiles {
    pub(super) fn new(workshop: Workshop) -> Self {
        Self {
            workshop,
            running: BTreeMap::new(),
            rotations: JoinSet::new(),
            files: JoinSet::new(),
            ending: BTreeMap::new(),
            endpoint: watch::Sender::new(Arc::default()),
            admin: watch::Sender::new(Arc::default()),
        }
    }

    pub(super) fn for_endpoint(&self) -> watch::Receiver<Arc<endpoint::Directory>> {
        self.endpoint.subscribe()
    }

    pub(super) fn for_admin(&self) -> watch::Receiver<Arc<admin::Profiles>> {
        self.admin.subscribe()
    }

    /// The state of a profile, if it runs.
    pub(super) fn reader(&self, name: &ProfileName) -> Option<Reader> {
        self.running.get(name).map(|running| running.served.reader().clone())
    }

    /// Makes what is new or changed. What runs is not touched, so an error changes nothing.
    pub(super) fn prepare(
        &mut self,
        wanted: &BTreeMap<ProfileName, config::Profile>,
    ) -> Result<Update, AssembleError> {
        let mut made = Vec::new();
        for (name, settings) in wanted {
            let running = self.running.get(name);
            if running.is_none_or(|running| running.settings != *settings) {
                made.push(self.make(name, settings)?);
            }
        }
        let (mut fresh, mut written) = (Vec::new(), Written::default());
        for made in made {
            fresh.push((written.keyring(&made.name, &made.settings.access)?, made));
        }
        written.0.clear();
        let gone = self.running.keys().filter(|name| !wanted.contains_key(*name));
        Ok(Update { fresh, gone: gone.cloned().collect() })
    }

    fn make(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Fresh, AssembleError> {
        if let Some(file) = &settings.credentials_file {
            credentials_file::check(file)
                .map_err(|error| AssembleError::File(name.clone(), error))?;
        }
        let before = self.running.get(name);
        let now = self.workshop.clock.now();
        let goes_on = |before: &&Running| {
            rotate_alike(&before.settings, settings)
                && (is_within(settings, &before.settings) || !before.shows_inherited(now))
        };
        let before = before.filter(goes_on);
        let (reader, turning) = match before {
            Some(before) => (before.served.reader().clone(), Turning::On),
            None => self.turn_anew(name, settings)?,
        };
        let clock = self.workshop.clock.clone();
        let file = settings
            .credentials_file
            .as_ref()
            .map(|file| CredentialsFile::new(name.clone(), file, reader.clone(), clock));
        let (name, settings) = (name.clone(), settings.clone());
        Ok(Fresh { name, settings, reader, turning, file })
    }

    fn turn_anew(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<(Reader, Turning), AssembleError> {
        let source = self.workshop.source(name, settings)?;
        let proof = self.workshop.proof(name, settings)?;
        let clock = self.workshop.clock.clone();
        let (publisher, reader) = store::channel(clock.now().wall);
        let seen = admin::Profile::new(reader.clone().into(), assemble::origin(settings));
        let rotation = Box::new(Rotation {
            profile: name.clone(),
            source,
            long_lived_keys: settings.long_lived_keys.clone(),
            proof,
            suspicion: Suspicion::None,
            publisher,
            metrics: self.workshop.metrics.profile(name),
            audit: self.workshop.audit.clone(),
            attempt_timeout: assemble::attempt_timeout(settings),
            clock,
        });
        Ok((reader, Turning::Anew { rotation, seen }))
    }

    /// Ends what is wanted no longer, starts what is new, and shows it to the listeners. Profiles
    /// that did not change keep their credentials, and one that changed hands out what it has
    /// until its first new one is there, but to nobody who could not have asked for it before.
    pub(super) fn commit(&mut self, update: Update) {
        let files =
            update.fresh.iter().filter_map(|(_, fresh)| fresh.settings.credentials_file.as_ref());
        let taken_over: Vec<_> = files.map(|file| file.path.clone()).collect();
        let hand_over = |file: RunningFile| file.hand_over(&taken_over);
        let mut files = Vec::new();
        for name in &update.gone {
            if let Some(mut running) = self.running.remove(name) {
                running.end();
                self.ending.extend(running.file.take().map(hand_over));
            }
        }
        for (keyring, fresh) in update.fresh {
            let Fresh { name, settings, reader, turning, file } = fresh;
            let mut before = self.running.remove(&name);
            let Some(turned) = self.turn(turning, before.as_ref(), &settings) else { continue };
            let Turned { rotation, seen, metrics, inherited } = turned;
            let file_before = before.as_mut().and_then(|before| before.file.take());
            self.ending.extend(file_before.map(hand_over));
            let file = file.zip(settings.credentials_file.as_ref()).map(|(file, to)| {
                let (next, running) = NextFile::new(to.path.clone(), file);
                files.push(next);
                running
            });
            let requests = &self.workshop.metrics;
            let served = endpoint::Profile::new(name.clone(), reader, keyring, requests);
            let served = Arc::new(served);
            let running = Running { settings, served, seen, metrics, rotation, file, inherited };
            self.running.insert(name, running);
        }
        self.keep_files(files);
        let served = self.running.values().map(|running| Arc::clone(&running.served)).collect();
        self.endpoint.send_replace(Arc::new(endpoint::Directory::new(served)));
        let seen = self.running.iter().map(|(name, running)| (name.clone(), running.seen.clone()));
        self.admin.send_replace(Arc::new(seen.collect()));
    }

    /// Lets the rotation of a profile go on, or begins with another; none where there is none to go on.
    fn turn(
        &mut self,
        turning: Turning,
        before: Option<&Running>,
        settings: &config::Profile,
    ) -> Option<Turned> {
        let Turning::Anew { rotation, seen } = turning else {
            return before.map(|before| Turned {
                rotation: before.rotation.clone(),
                seen: before.seen.clone(),
                metrics: before.metrics.clone(),
                inherited: before.inherited.clone(),
            });
        };
        let mut inherited = Weak::new();
        let metrics = rotation.metrics.clone();
        metrics.begins();
        if let Some(before) = before {
            before.stop();
            if is_within(settings, &before.settings)
                && let View::Ready(held, _) =
                    before.served.reader().borrow().view(self.workshop.clock.now())
                && rotation::accept(held.credential().clone(), &settings.long_lived_keys).is_ok()
            {
                metrics.serves_until(held.credential().validity.expiry());
                rotation.publisher.publish(Arc::clone(held));
                inherited = Arc::downgrade(held);
            }
        }
        Some(Turned { rotation: self.rotations.spawn(rotation.run()), seen, metrics, inherited })
    }

    /// Begins with files.
    fn keep_files(&mut self, files: Vec<NextFile>) {
        while self.files.try_join_next().is_some() {}
        for next in files {
            let before = self.ending.remove(&next.path);
            self.files.spawn(next.run(before));
        }
        self.ending.retain(|_, ended| matches!(ended.try_recv(), Err(TryRecvError::Empty)));
    }

    /// Ends every rotation, and takes away what stands in files; what is held at an upstream is
    /// revoked if that is wanted, unless `hurry` is ready.
    pub(super) async fn end(mut self, leases: LeasesAtEnd, hurry: impl Future<Output = ()>) {
        self.rotations.shutdown().await;
        self.running.clear();
        // One after the other they would need their time where each waits for the one before at its path.
        let files = async { while self.files.join_next().await.is_some() {} };
        let _ = timeout(credentials_file::REMOVAL * 2, files).await;
        match leases {
            LeasesAtEnd::Left => {}
            LeasesAtEnd::Revoked => tokio::select! {
                () = self.workshop.revoke() => {}
                () = hurry => {}
            },
        }
    }

    /// Waits until a rotation has ended by itself, which only a bug can make it do.
    pub(super) async fn died(&mut self) {
        while let Some(ended) = self.rotations.join_next().await {
            if !ended.is_err_and(|error| error.is_cancelled()) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Running {
    fn end(&self) {
        self.stop();
        self.metrics.retire();
    }

    fn stop(&self) {
        self.rotation.abort();
    }

    /// Whether it still hands out what it began with.
    fn shows_inherited(&self, now: Moment) -> bool {
        match self.served.reader().borrow().view(now) {
            View::Ready(held, _) => Weak::ptr_eq(&self.inherited, &Arc::downgrade(held)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::audit::Audit;
    use crate::clock::{ManualClock, Timestamp};
    use crate::config::environment::Environment;
    use crate::config::load;
    use crate::metrics::Metrics;
    use crate::shutdown;
    use crate::store::{Health, Snapshot};

    /// Profiles over files with sessions of an hour, and the endpoint that serves them.
    struct Bench {
        folder: tempfile::TempDir,
        metrics: Metrics,
        profiles: Profiles,
        endpoint: SocketAddr,
        _running: shutdown::Trigger,
    }

    impl Bench {
        fn start() -> Self {
            let clock = ManualClock::starting_at(Timestamp::from_secs(1_000_000)).clock();
            let metrics = Metrics::new();
            let profiles = Profiles::new(Workshop::new(clock.clone(), metrics.clone(), &[]));
            let settings = config::Endpoint {
                listen: ([127, 0, 0, 1], 0).into(),
                hosts: Vec::new(),
                max_connections: 16,
            };
            let bound = endpoint::bind(&settings).unwrap();
            let endpoint = bound.addresses()[0];
            let (running, signal) = shutdown::channel();
            tokio::spawn(bound.serve(profiles.for_endpoint(), clock, &metrics, Audit::Off, signal));
            let folder = tempfile::tempdir().unwrap();
            Self { folder, metrics, profiles, endpoint, _running: running }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Writes a file with the keys that end in `mark`, and gives its path.
        fn base(&self, mark: &str) -> PathBuf {
            let path = self.path(&format!("{mark}.json"));
            let document = serde_json::json!({
                "Version": 1,
                "AccessKeyId": format!("ASIATESTTESTTEST{mark}"),
                "SecretAccessKey": "secret-key-of-test",
                "SessionToken": "session-token-of-test",
                "Expiration": (Timestamp::from_secs(1_000_000 + 3600)).to_string(),
            });
            std::fs::write(&path, document.to_string()).unwrap();
            path
        }

        /// The settings of these profiles, each with its base.
        fn settings(&self, profiles: &[(&str, &Path)]) -> BTreeMap<ProfileName, config::Profile> {
            let text: Vec<_> = profiles
                .iter()
                .map(|(name, base)| {
                    let token = self.path(&format!("{name}.token"));
                    format!(
                        "{name}: {{ source: {{ file: {{ path: {} }} }}, access: {{ token_file: {} }} }}",
                        base.display(),
                        token.display()
                    )
                })
                .collect();
            let text = format!("{{ profiles: {{ {} }} }}", text.join(", "));
            load::parse(&text, &Environment::default()).unwrap().profiles
        }

        fn change(&mut self, profiles: &[(&str, &Path)]) {
            let update = self.profiles.prepare(&self.settings(profiles)).unwrap();
            self.profiles.commit(update);
        }

        /// The status that a profile's application is answered with, and the key's mark.
        async fn ask(&self, profile: &str) -> (u16, Option<String>) {
            ask(self.endpoint, self.request(profile)).await
        }

        fn request(&self, profile: &str) -> String {
            let token = std::fs::read_to_string(self.path(&format!("{profile}.token"))).unwrap();
            format!(
                "GET /v1/credentials/{profile} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
            )
        }

        async fn serves(&self, profile: &str, mark: &str) {
            assert_eq!(self.ask(profile).await, (200, Some(mark.to_owned())), "{profile}");
        }

        /// Until then what was there before is served.
        async fn comes_to_serve(&self, profile: &str, mark: &str) {
            for _ in 0..1000 {
                let (status, found) = self.ask(profile).await;
                assert_eq!(status, 200, "{profile}");
                if found.as_deref() == Some(mark) {
                    return;
                }
            }
            panic!("{profile} does not come to serve {mark}");
        }

        /// How often a profile was fetched.
        fn fetches(&self, profile: &str) -> u64 {
            let start = format!(
                "credential_relay_refreshes_total{{profile=\"{profile}\",result=\"success\"}} "
            );
            let text = self.metrics.render();
            let count = text.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
            count.parse().unwrap()
        }

        /// Whether a profile has something to hand out.
        fn holds(&self, profile: &str) -> bool {
            let reader = self.profiles.reader(&profile.parse().unwrap()).unwrap();
            let now = self.profiles.workshop.clock.now();
            matches!(reader.borrow().view(now), View::Ready(..))
        }

        /// When what a profile serves ends, as metrics have it.
        fn expiry(&self, profile: &str) -> Option<i64> {
            let start = "credential_relay_credential_expiry_timestamp_seconds";
            let start = format!("{start}{{profile=\"{profile}\"}} ");
            let text = self.metrics.render();
            let expiry = text.lines().find_map(|line| line.strip_prefix(&start))?;
            Some(expiry.parse().unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_change_goes_on_while_others_come_change_and_go() {
        let mut bench = Bench::start();
        let (a, b, c) = (bench.base("A"), bench.base("B"), bench.base("C"));
        bench.change(&[("payments", &a)]);
        bench.serves("payments", "A").await;

        bench.change(&[("payments", &a), ("reports", &b)]);
        bench.serves("payments", "A").await;
        bench.serves("reports", "B").await;

        bench.change(&[("payments", &a), ("reports", &c)]);
        bench.comes_to_serve("reports", "C").await;
        bench.serves("payments", "A").await;
        assert_eq!(bench.fetches("payments"), 1);
        assert_eq!(bench.fetches("reports"), 2);
        assert!(bench.expiry("reports").is_some());

        bench.change(&[("payments", &a)]);
        assert_eq!(bench.ask("reports").await.0, 401, "its token belongs to nobody now");
        assert!(bench.expiry("reports").is_none());
        assert!(bench.expiry("payments").is_some());
        bench.serves("payments", "A").await;
        assert_eq!(bench.fetches("payments"), 1);
        assert_eq!(bench.profiles.for_admin().borrow().len(), 1);

        bench.change(&[("payments", &a), ("reports", &b)]);
        bench.serves("reports", "B").await;
        assert!(bench.expiry("reports").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_that_cannot_be_prepared_changes_nothing() {
        let mut bench = Bench::start();
        let (a, b) = (bench.base("A"), bench.base("B"));
        bench.change(&[("payments", &a)]);
        bench.serves("payments", "A").await;

        std::fs::write(bench.path("reports.token"), "short").unwrap();
        let wanted = bench.settings(&[("ledger", &b), ("payments", &b), ("reports", &b)]);
        let error = bench.profiles.prepare(&wanted).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("profiles.reports: access.token_file "), "{error}");
        assert!(!error.contains("short"), "{error}");
        bench.serves("payments", "A").await;
        assert_eq!(bench.profiles.for_admin().borrow().len(), 1);
        assert_eq!(bench.fetches("payments"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_profile_that_changed_for_the_worse_hands_out_what_it_has() {
        let mut bench = Bench::start();
        let (a, nowhere) = (bench.base("A"), bench.path("nowhere.json"));
        bench.change(&[("payments", &a)]);
        bench.serves("payments", "A").await;
        bench.change(&[("payments", &nowhere)]);
        let mut reader = bench.profiles.reader(&"payments".parse().unwrap()).unwrap();
        reader.until(|state| matches!(state, Snapshot::Available(_, Health::Failing(_)))).await;
        bench.serves("payments", "A").await;
    }

    async fn ask(endpoint: SocketAddr, request: String) -> (u16, Option<String>) {
        let mut stream = TcpStream::connect(endpoint).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let key = answer.split_once("ASIATESTTESTTEST").map(|(_, rest)| rest[..1].to_owned());
        (status, key)
    }

    /// The settings of a profile whose credentials stand in a file.
    fn with_file(bench: &Bench, name: &str, base: &Path, file: &str) -> String {
        let (token, file) = (bench.path(&format!("{name}.token")), bench.path(file));
        format!(
            "{name}: {{ source: {{ file: {{ path: {} }} }}, access: {{ token_file: {} }}, credentials_file: {{ path: {} }} }}",
            base.display(),
            token.display(),
            file.display()
        )
    }

    /// No profiles are none that a file could have.
    fn read(profiles: &[String]) -> BTreeMap<ProfileName, config::Profile> {
        if profiles.is_empty() {
            return BTreeMap::new();
        }
        let text = format!("{{ profiles: {{ {} }} }}", profiles.join(", "));
        load::parse(&text, &Environment::default()).unwrap().profiles
    }

    fn take(bench: &mut Bench, profiles: &[String]) {
        let update = bench.profiles.prepare(&read(profiles)).unwrap();
        bench.profiles.commit(update);
    }

    async fn comes_to_hold(bench: &Bench, file: &str, mark: &str) {
        for _ in 0..2000 {
            let text = std::fs::read_to_string(bench.path(file)).unwrap_or_default();
            if text.contains(&format!("ASIATESTTESTTEST{mark}")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{file} does not come to hold {mark}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_credentials_file_is_never_away_while_its_profile_changes() {
        let mut bench = Bench::start();
        let bases = [bench.base("A"), bench.base("B")];
        for turn in 0..20 {
            let profile = with_file(&bench, "payments", &bases[turn % 2], "keys");
            take(&mut bench, &[profile]);
            if turn > 0 {
                assert!(bench.path("keys").exists(), "in turn {turn}");
            }
            comes_to_hold(&bench, "keys", ["A", "B"][turn % 2]).await;
        }
        let elsewhere = with_file(&bench, "payments", &bases[0], "elsewhere");
        take(&mut bench, &[elsewhere]);
        comes_to_hold(&bench, "elsewhere", "A").await;
        assert!(!bench.path("keys").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_ask_changes_without_a_fetch() {
        let mut bench = Bench::start();
        let a = bench.base("A");
        let file = |bench: &Bench, name: &str| with_file(bench, "payments", &a, name);
        let first = file(&bench, "one");
        take(&mut bench, &[first]);
        comes_to_hold(&bench, "one", "A").await;
        let second = file(&bench, "two").replace("payments.token", "other.token");
        take(&mut bench, &[second]);
        comes_to_hold(&bench, "two", "A").await;
        assert!(!bench.path("one").exists());
        assert_eq!(bench.fetches("payments"), 1);
        assert_eq!(bench.ask("payments").await.0, 401, "the token of before");
        std::fs::copy(bench.path("other.token"), bench.path("payments.token")).unwrap();
        bench.serves("payments", "A").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_held_is_answered_by_what_takes_the_profile_s_place() {
        let mut bench = Bench::start();
        let (a, nowhere) = (bench.base("A"), bench.path("nowhere.json"));
        bench.change(&[("payments", &nowhere)]);
        let mut reader = bench.profiles.reader(&"payments".parse().unwrap()).unwrap();
        reader.until(|state| matches!(state, Snapshot::Unavailable(_))).await;
        let update = bench.profiles.prepare(&bench.settings(&[("payments", &a)])).unwrap();
        let held = tokio::spawn(ask(bench.endpoint, bench.request("payments")));
        while bench.metrics.connections().get() == 0 {
            tokio::task::yield_now().await;
        }
        // It is on its way to be held; where it came later it would be answered by the new one anyhow.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        bench.profiles.commit(update);
        assert_eq!(held.await.unwrap(), (200, Some("A".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_from_before_are_not_handed_to_whoever_may_ask_from_now_on() {
        let mut bench = Bench::start();
        let (a, nowhere) = (bench.base("A"), bench.path("nowhere.json"));
        let (one, other) = (bench.path("payments.token"), bench.path("other.token"));
        let profile = |base: &Path, tokens: [&Path; 2], more: &str| {
            let [first, second] = tokens.map(Path::display);
            format!(
                "payments: {{ source: {{ file: {{ path: {} }} }}, access: {{ token_file: {first}, more_token_files: [{second}] }}{more} }}",
                base.display(),
            )
        };
        let third = bench.path("third.token");
        let before = profile(&a, [&one, &other], "");
        let file = format!(", credentials_file: {{ path: {} }}", bench.path("keys").display());
        let changed = profile(&nowhere, [&one, &other], "");
        for (changes, holds) in [
            (vec![profile(&nowhere, [&one, &third], "")], false),
            (vec![profile(&nowhere, [&one, &other], &file)], false),
            (vec![changed.clone()], true),
            (vec![profile(&nowhere, [&other, &one], "")], true),
            // What it holds then is another's yet.
            (vec![changed.clone(), profile(&nowhere, [&one, &third], "")], false),
            (vec![changed.clone(), profile(&nowhere, [&one, &other], &file)], false),
            (vec![changed, profile(&nowhere, [&other, &one], "")], true),
            // And here its own.
            (vec![profile(&a, [&one, &third], &file)], true),
        ] {
            take(&mut bench, &[]);
            take(&mut bench, std::slice::from_ref(&before));
            bench.comes_to_serve("payments", "A").await;
            for change in changes {
                take(&mut bench, &[change]);
            }
            assert_eq!(bench.holds("payments"), holds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_profiles_can_swap_their_files() {
        let mut bench = Bench::start();
        let (a, b) = (bench.base("A"), bench.base("B"));
        let files = ["one", "two"];
        for turn in 0..6 {
            let (first, second) = (files[turn % 2], files[(turn + 1) % 2]);
            let profiles = [with_file(&bench, "a", &a, first), with_file(&bench, "b", &b, second)];
            take(&mut bench, &profiles);
            comes_to_hold(&bench, first, "A").await;
            comes_to_hold(&bench, second, "B").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_allowed_no_longer_are_not_handed_out_until_others_come() {
        let mut bench = Bench::start();
        let base = bench.path("static.json");
        let keys = r#"{"Version":1,"AccessKeyId":"AKIATESTTESTTESTAAAA","SecretAccessKey":"secret-key-of-test"}"#;
        std::fs::write(&base, keys).unwrap();
        let token = bench.path("payments.token");
        let profile = |more: &str| {
            format!(
                "payments: {{ source: {{ file: {{ path: {} }} }}, access: {{ token_file: {} }}{more} }}",
                base.display(),
                token.display()
            )
        };
        take(&mut bench, &[profile(", serve_long_lived_keys: true")]);
        while bench.ask("payments").await.0 != 200 {}
        take(&mut bench, &[profile("")]);
        assert_ne!(bench.ask("payments").await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_expiry_that_is_told_is_of_what_is_served() {
        let mut bench = Bench::start();
        let (base, nowhere) = (bench.path("static.json"), bench.path("nowhere.json"));
        let keys = r#"{"Version":1,"AccessKeyId":"AKIATESTTESTTESTAAAA","SecretAccessKey":"secret-key-of-test"}"#;
        std::fs::write(&base, keys).unwrap();
        let (token, file) = (bench.path("payments.token"), bench.path("keys"));
        let profile = |base: &Path, served: bool| {
            format!(
                "payments: {{ source: {{ file: {{ path: {} }} }}, access: {{ token_file: {} }}, serve_long_lived_keys: {served} }}",
                base.display(),
                token.display()
            )
        };
        take(&mut bench, &[profile(&base, true)]);
        assert_eq!(bench.expiry("payments"), Some(0));
        while bench.ask("payments").await.0 != 200 {}
        assert_eq!(bench.expiry("payments"), None, "they have no end");

        std::fs::write(&file, "somebody's own").unwrap();
        let refused = [profile(&nowhere, true), with_file(&bench, "reports", &base, "keys")];
        assert!(bench.profiles.prepare(&read(&refused)).is_err());
        assert_eq!(bench.expiry("payments"), None);
        assert!(!bench.metrics.render().contains("reports"), "it does not run");

        take(&mut bench, &[profile(&nowhere, true)]);
        assert_eq!(bench.expiry("payments"), None, "they are handed out until others come");
        take(&mut bench, &[profile(&nowhere, false)]);
        assert_eq!(bench.expiry("payments"), Some(0));

        let a = bench.base("A");
        take(&mut bench, &[profile(&a, false)]);
        bench.serves("payments", "A").await;
        take(&mut bench, &[profile(&nowhere, false)]);
        assert_eq!(bench.expiry("payments"), Some(1_000_000 + 3600));
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_that_is_refused_writes_no_token() {
        let mut bench = Bench::start();
        let a = bench.base("A");
        std::fs::write(bench.path("keys"), "somebody's own").unwrap();
        let profiles = [with_file(&bench, "a", &a, "free"), with_file(&bench, "b", &a, "keys")];
        assert!(bench.profiles.prepare(&read(&profiles)).is_err());
        assert!(!bench.path("a.token").exists());
    }

    /// What the relay does not know would be read by an application that starts then.
    #[tokio::test]
    async fn a_token_that_was_written_goes_where_another_is_what_is_wrong() {
        let mut bench = Bench::start();
        let (a, b) = (bench.base("A"), bench.base("B"));
        bench.change(&[("a", &a)]);
        std::fs::remove_file(bench.path("a.token")).unwrap();
        std::fs::write(bench.path("b.token"), "token-of-a-test-0001").unwrap();
        std::fs::write(bench.path("c.token"), "short").unwrap();
        let changed = [("a", b.as_path()), ("b", &b), ("c", &b)];
        assert!(bench.profiles.prepare(&bench.settings(&changed)).is_err());
        assert!(!bench.path("a.token").exists());
        std::fs::remove_file(bench.path("c.token")).unwrap();
        bench.change(&changed);
        for profile in ["a", "b", "c"] {
            bench.comes_to_serve(profile, "B").await;
        }
        assert_eq!(std::fs::read(bench.path("b.token")).unwrap(), b"token-of-a-test-0001");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_still_ends_is_waited_for_by_the_next_at_its_path() {
        let mut bench = Bench::start();
        let (a, b) = (bench.base("A"), bench.base("B"));
        let with = with_file(&bench, "a", &a, "keys");
        take(&mut bench, &[with]);
        comes_to_hold(&bench, "keys", "A").await;
        take(&mut bench, &[]);
        assert!(bench.profiles.ending.contains_key(&bench.path("keys")));
        let other = with_file(&bench, "b", &b, "keys");
        take(&mut bench, &[other]);
        assert!(bench.profiles.ending.is_empty(), "the next one has it");
        comes_to_hold(&bench, "keys", "B").await;

        take(&mut bench, &[]);
        while bench.path("keys").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        while bench.profiles.files.join_next().await.is_some() {}
        take(&mut bench, &[]);
        assert!(bench.profiles.ending.is_empty(), "nobody needs it");
    }

    #[tokio::test(start_paused = true)]
    async fn files_of_a_mount_that_hangs_hold_the_end_up_together_and_not_each() {
        let Bench { mut profiles, .. } = Bench::start();
        profiles.files.spawn(std::future::pending());
        let end = profiles.end(LeasesAtEnd::Left, std::future::pending());
        assert!(timeout(credentials_file::REMOVAL * 3, end).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn profiles_that_are_taken_away_are_no_death() {
        let mut bench = Bench::start();
        let a = bench.base("A");
        bench.change(&[("payments", &a)]);
        bench.serves("payments", "A").await;
        bench.change(&[("reports", &a)]);
        bench.serves("reports", "A").await;
        assert!(
            bench.profiles.died().now_or_never().is_none(),
            "the one that was ended did not die"
        );
    }
}
