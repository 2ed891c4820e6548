//! The profiles that run. They can be added, changed and removed while the relay runs: an update
//! is prepared first, where all that can fail does, and then committed as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::assemble::{self, AssembleError, Workshop};
use crate::config::values::ProfileName;
use crate::config::{self, LeasesAtEnd};
use crate::credentials_file::{self, CredentialsFile};
use crate::endpoint::{Keyring, access};
use crate::metrics::ProfileMetrics;
use crate::rotation::{Rotation, Suspicion};
use crate::{admin, endpoint, store};

/// The profiles that run, and what the listeners see of them.
pub(super) struct Profiles {
    workshop: Workshop,
    running: BTreeMap<ProfileName, Running>,
    rotations: JoinSet<()>,
    files: JoinSet<()>,
    endpoint: watch::Sender<Arc<endpoint::Directory>>,
    admin: watch::Sender<Arc<admin::Profiles>>,
}

struct Running {
    settings: config::Profile,
    served: Arc<endpoint::Profile>,
    seen: admin::Profile,
    metrics: ProfileMetrics,
    rotation: AbortHandle,
    /// Its credentials file goes when this does.
    _file: Option<oneshot::Sender<()>>,
}

/// A change that is ready to be made.
pub(super) struct Update {
    wanted: Vec<ProfileName>,
    fresh: Vec<Fresh>,
}

struct Fresh {
    name: ProfileName,
    settings: config::Profile,
    served: Arc<endpoint::Profile>,
    seen: admin::Profile,
    rotation: Rotation,
    file: Option<CredentialsFile>,
}

impl Profiles {
    pub(super) fn new(workshop: Workshop) -> Self {
        Self {
            workshop,
            running: BTreeMap::new(),
            rotations: JoinSet::new(),
            files: JoinSet::new(),
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

    /// Makes what is new or changed. What runs is not touched, so an error changes nothing.
    pub(super) fn prepare(
        &mut self,
        wanted: &BTreeMap<ProfileName, config::Profile>,
    ) -> Result<Update, AssembleError> {
        let mut fresh = Vec::new();
        for (name, settings) in wanted {
            let unchanged =
                self.running.get(name).is_some_and(|running| running.settings == *settings);
            if !unchanged {
                fresh.push(self.make(name, settings)?);
            }
        }
        Ok(Update { wanted: wanted.keys().cloned().collect(), fresh })
    }

    fn make(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Fresh, AssembleError> {
        let source = self.workshop.source(name, settings)?;
        let proof = self.workshop.proof(name, settings)?;
        let tokens = settings.access.files().map(|file| access::load_or_create(file));
        let tokens = tokens
            .collect::<Result<_, _>>()
            .map_err(|error| AssembleError::Token(name.clone(), error))?;
        let clock = self.workshop.clock.clone();
        if let Some(file) = &settings.credentials_file {
            credentials_file::check(file)
                .map_err(|error| AssembleError::File(name.clone(), error))?;
        }
        let metrics = &self.workshop.metrics;
        let (publisher, reader) = store::channel(clock.now().wall);
        let file = settings
            .credentials_file
            .as_ref()
            .map(|file| CredentialsFile::new(name.clone(), file, reader.clone(), clock.clone()));
        let keyring = Keyring { tokens, digests: settings.access.token_digests.clone() };
        let served = endpoint::Profile::new(name.clone(), reader.clone(), keyring, metrics);
        Ok(Fresh {
            name: name.clone(),
            settings: settings.clone(),
            served: Arc::new(served),
            seen: admin::Profile::new(reader, assemble::origin(settings)),
            rotation: Rotation {
                profile: name.clone(),
                source,
                long_lived_keys: settings.long_lived_keys.clone(),
                proof,
                suspicion: Suspicion::None,
                publisher,
                metrics: metrics.profile(name),
                attempt_timeout: assemble::attempt_timeout(settings),
                clock,
            },
            file,
        })
    }

    /// Ends what is wanted no longer, starts what is new, and shows it to the listeners. Profiles
    /// that did not change keep their credentials.
    pub(super) fn commit(&mut self, update: Update) {
        let Update { wanted, fresh } = update;
        self.running.retain(|name, running| {
            let stays = wanted.contains(name);
            if !stays {
                running.end();
            }
            stays
        });
        for Fresh { name, settings, served, seen, rotation, file } in fresh {
            let metrics = rotation.metrics.clone();
            let rotation = self.rotations.spawn(rotation.run());
            let file = file.map(|file| {
                let (running, ended) = oneshot::channel();
                self.files.spawn(file.run(ended.map(|_| ())));
                running
            });
            let running = Running { settings, served, seen, metrics, rotation, _file: file };
            if let Some(before) = self.running.insert(name, running) {
                before.stop();
            }
        }
        let served = self.running.values().map(|running| Arc::clone(&running.served)).collect();
        self.endpoint.send_replace(Arc::new(endpoint::Directory::new(served)));
        let seen = self.running.iter().map(|(name, running)| (name.clone(), running.seen.clone()));
        self.admin.send_replace(Arc::new(seen.collect()));
    }

    /// Ends every rotation, and takes away what stands in files; what is held at an upstream is
    /// revoked if that is wanted, unless `hurry` is ready.
    pub(super) async fn end(mut self, leases: LeasesAtEnd, hurry: impl Future<Output = ()>) {
        self.rotations.shutdown().await;
        self.running.clear();
        while self.files.join_next().await.is_some() {}
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
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::config::environment::Environment;
    use crate::config::load;
    use crate::metrics::Metrics;
    use crate::shutdown;

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
            tokio::spawn(bound.serve(profiles.for_endpoint(), clock, &metrics, signal));
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
            let token = std::fs::read_to_string(self.path(&format!("{profile}.token"))).unwrap();
            let mut stream = TcpStream::connect(self.endpoint).await.unwrap();
            let request = format!(
                "GET /v1/credentials/{profile} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
            let key = answer.split_once("ASIATESTTESTTEST").map(|(_, rest)| rest[..1].to_owned());
            (status, key)
        }

        async fn serves(&self, profile: &str, mark: &str) {
            assert_eq!(self.ask(profile).await, (200, Some(mark.to_owned())), "{profile}");
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

        fn expiry_is_told(&self, profile: &str) -> bool {
            let start = "credential_relay_credential_expiry_timestamp_seconds";
            self.metrics.render().contains(&format!("{start}{{profile=\"{profile}\"}}"))
        }
    }

    #[tokio::test]
    async fn what_does_not_change_goes_on_while_others_come_change_and_go() {
        let mut bench = Bench::start();
        let (a, b, c) = (bench.base("A"), bench.base("B"), bench.base("C"));
        bench.change(&[("payments", &a)]);
        bench.serves("payments", "A").await;

        bench.change(&[("payments", &a), ("reports", &b)]);
        bench.serves("payments", "A").await;
        bench.serves("reports", "B").await;

        bench.change(&[("payments", &a), ("reports", &c)]);
        bench.serves("reports", "C").await;
        bench.serves("payments", "A").await;
        assert_eq!(bench.fetches("payments"), 1);
        assert_eq!(bench.fetches("reports"), 2);
        assert!(bench.expiry_is_told("reports"));

        bench.change(&[("payments", &a)]);
        assert_eq!(bench.ask("reports").await.0, 401, "its token belongs to nobody now");
        assert!(!bench.expiry_is_told("reports"));
        assert!(bench.expiry_is_told("payments"));
        bench.serves("payments", "A").await;
        assert_eq!(bench.fetches("payments"), 1);
        assert_eq!(bench.profiles.for_admin().borrow().len(), 1);

        bench.change(&[("payments", &a), ("reports", &b)]);
        bench.serves("reports", "B").await;
        assert!(bench.expiry_is_told("reports"));
    }

    #[tokio::test]
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
        assert_eq!(bench.ask("ledger").await.0, 401);
        assert_eq!(bench.profiles.for_admin().borrow().len(), 1);
        assert_eq!(bench.fetches("payments"), 1);
    }

    #[tokio::test]
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
