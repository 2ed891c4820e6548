//! Sources as the relay makes them of its configuration, over an upstream that says what a script says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use credential_relay::app::assemble::Workshop;
use credential_relay::clock::ManualClock;
use credential_relay::config::environment::Environment;
use credential_relay::config::values::ProfileName;
use credential_relay::config::{Config, Profile, load};
use credential_relay::credential::{Credential, Principal, Propagation, Secret, Session, Validity};
use credential_relay::failure::Failure;
use credential_relay::metrics::Metrics;
use credential_relay::sources::Freshness;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::told::{assert_untold, check_credential, check_failure};
use crate::upstream::Upstream;
use crate::{START, execute, log, runtime};

/// So often one source is asked in one execution: a second time shows what it keeps of the first.
const FETCHES: usize = 4;

/// Between two of them: what lives for an hour is renewed then.
const PAUSE: Duration = Duration::from_secs(31 * 60);

/// What a target runs on.
pub struct Bench {
    runtime: Runtime,
    /// The upstream.
    pub upstream: Upstream,
    folder: TempDir,
}

impl Bench {
    /// Starts the upstream.
    pub fn start() -> Self {
        log::keep();
        let runtime = runtime();
        let upstream = runtime.block_on(Upstream::start());
        // In memory where there is such a folder: files are written at each execution.
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { runtime, upstream, folder: made.expect("a folder can be made") }
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes it.
    pub fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).expect("a file can be written");
    }

    /// The one profile of a configuration, in which `{upstream}` stands for the upstream's address and `{folder}` for the
    /// folder.
    pub fn config(&self, text: &str) -> Config {
        let folder = self.folder.path().display().to_string();
        let address = self.upstream.address().to_string();
        let text = text.replace("{upstream}", &address).replace("{folder}", &folder);
        load::parse(&text, &Environment::default())
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Fetches while the script goes on, then revokes. Nothing of what comes of it, and nothing that is logged, tells any
    /// of the `secrets`, nor a token of Vault's.
    pub fn fetch(&self, config: &Config, script: &str, secrets: &[&str]) {
        self.upstream.play(script);
        let told = execute(&self.runtime, self.fetches(config));
        let tokens = self.upstream.tokens();
        // Not every failure is of a call that was made with it, but a token of this form is known everywhere.
        let tokens =
            tokens.iter().map(String::as_str).filter(|token| token.starts_with("hvs.S3CRET"));
        let secrets: Vec<&str> = secrets.iter().copied().chain(tokens).collect();
        for failure in &told {
            check_failure(failure, &secrets);
        }
        assert_untold("the log", &log::taken(), &secrets);
    }

    /// Asks the STS of a profile's first hop who a session of this secret key and this token is.
    pub fn identify(&self, config: &Config, script: &str, keys: [&str; 2], secrets: &[&str]) {
        self.upstream.play(script);
        let (_, profile) = only(config);
        let told = execute(&self.runtime, async {
            let clock = ManualClock::starting_at(START).clock();
            let mut workshop = Workshop::new(clock.clone(), Metrics::new(), &[]);
            let asked = workshop.identifier(&"p".parse().expect("a name"), &profile.chain[0].sts);
            let identifier = asked.expect("there is no TLS that could fail");
            let session = Credential {
                access_key_id: "ASIAFUZZTEST00000001".parse().expect("an id"),
                secret_access_key: Secret::new(keys[0].to_owned()),
                session: Session::Token(Secret::new(keys[1].to_owned())),
                validity: Validity::Unlimited,
                principal: Principal::Unknown,
                propagation: Propagation::Pending,
            };
            identifier.identify(&session).await
        });
        if let Err(failure) = told {
            check_failure(&failure, secrets);
        }
        assert_untold("the log", &log::taken(), secrets);
    }

    async fn fetches(&self, config: &Config) -> Vec<Failure> {
        let manual = ManualClock::starting_at(START);
        let clock = manual.clock();
        let mut workshop = Workshop::new(clock.clone(), Metrics::new(), &[]);
        let (name, settings) = only(config);
        let mut source = workshop.source(name, settings).expect("there is no TLS that could fail");
        let mut failures = Vec::new();
        for _ in 0..FETCHES {
            match source.fetch(Freshness::Reuse).await {
                Ok(credential) => check_credential(credential, clock.now()),
                Err(failure) => failures.push(failure),
            }
            if !self.upstream.has_more() {
                break;
            }
            manual.suspend(PAUSE);
        }
        workshop.revoke().await;
        failures
    }
}

fn only(config: &Config) -> (&ProfileName, &Profile) {
    config.profiles.first_key_value().expect("it has a profile")
}
