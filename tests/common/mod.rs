//! An embedded upstream on a real socket, for tests that go through the real STS client.

#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

pub(crate) mod recorder;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use credential_relay::app::assemble::Workshop;
use credential_relay::clock::{Clock, ManualClock, Timestamp};
use credential_relay::config::environment::Environment;
use credential_relay::config::{Config, load};
use credential_relay::credential::Secret;
use credential_relay::dev::sts::{IssuedLifetime, Outcome, Regions, Settings, Sts, User};
use credential_relay::dev::vault::{self, Vault};
use credential_relay::listener::{self, Limits};
use credential_relay::metrics::Metrics;
use credential_relay::shutdown;
use credential_relay::sources::Source;
use recorder::{Issued, Recorder};
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) const HUB: &str = "arn:aws:iam::111122223333:role/hub";
pub(crate) const SPOKE: &str = "arn:aws:iam::444455556666:role/spoke";
pub(crate) const USER_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const USER_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The upstream, and a folder with the base's keys.
pub(crate) struct World {
    pub(crate) sts: Sts,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) manual: ManualClock,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    /// Every secret that the upstream has handed out.
    pub(crate) issued: Issued,
    /// Whether the upstream answers at all; calls wait until it is true.
    pub(crate) open: watch::Sender<bool>,
    /// How many calls have come, answered or not.
    pub(crate) arrived: watch::Sender<usize>,
    signal: shutdown::Signal,
    trigger: shutdown::Trigger,
}

/// The wall clock, as the SDK that signs the requests sees it.
pub(crate) fn wall() -> Timestamp {
    Clock::system().now().wall
}

/// Reads a configuration that must be right.
pub(crate) fn parse(text: &str) -> Config {
    load::parse(text, &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A chain over the hub to the spoke, as it must be.
pub(crate) fn two_hops() -> String {
    format!(
        "[{{ role_arn: '{HUB}', session_name: hub }}, {{ role_arn: '{SPOKE}', session_name: spoke, external_id: open-sesame }}]"
    )
}

impl World {
    /// Starts the upstream under a clock that the test moves. The spoke wants an external id.
    pub(crate) async fn start(lifetime: IssuedLifetime) -> Self {
        let manual = ManualClock::starting_at(wall());
        let clock = manual.clock();
        Self::under(clock, manual, lifetime)
    }

    /// The same under the machine's own clock, for a whole relay: what it holds really ends.
    pub(crate) async fn live(lifetime: IssuedLifetime) -> Self {
        Self::under(Clock::system(), ManualClock::starting_at(wall()), lifetime)
    }

    fn under(clock: Clock, manual: ManualClock, lifetime: IssuedLifetime) -> Self {
        let settings = Settings {
            account: "111122223333".parse().unwrap(),
            user: User {
                name: "base".to_owned(),
                access_key_id: USER_KEY.parse().unwrap(),
                secret_access_key: Secret::new(USER_SECRET.to_owned()),
            },
            lifetime,
            regions: Regions::Any,
            external_ids: HashMap::from([(SPOKE.parse().unwrap(), "open-sesame".to_owned())]),
        };
        let sts = Sts::new(settings, clock.clone());
        let listener = listener::bind("test", ([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, signal) = shutdown::channel();
        let issued = Issued::default();
        let (open, gate) = watch::channel(true);
        let arrived = watch::Sender::new(0);
        let service = Recorder {
            upstream: sts.clone(),
            issued: issued.clone(),
            open: gate,
            arrived: arrived.clone(),
        };
        tokio::spawn(listener::serve(
            vec![listener],
            service,
            Limits::uncounted(64),
            signal.clone(),
        ));
        let world = Self {
            sts,
            address,
            folder: tempfile::tempdir().unwrap(),
            manual,
            clock,
            metrics: Metrics::new(),
            issued,
            open,
            arrived,
            signal,
            trigger,
        };
        world.write_base(USER_KEY, USER_SECRET, None);
        world
    }

    /// Starts a Vault beside the STS, whose answers wait and are recorded like those of the STS.
    pub(crate) fn vault(&self, settings: vault::Settings) -> (Vault, SocketAddr) {
        let vault = Vault::new(settings, self.sts.clone(), self.clock.clone());
        let listener = listener::bind("test", ([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (issued, open) = (self.issued.clone(), self.open.subscribe());
        let arrived = self.arrived.clone();
        let service = Recorder { upstream: vault.clone(), issued, open, arrived };
        let limits = Limits::uncounted(64);
        tokio::spawn(listener::serve(vec![listener], service, limits, self.signal.clone()));
        (vault, address)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts keys into the base's file.
    pub(crate) fn write_base(&self, id: &str, secret: &str, token: Option<&str>) {
        let mut document =
            serde_json::json!({ "Version": 1, "AccessKeyId": id, "SecretAccessKey": secret });
        if let Some(token) = token {
            document["SessionToken"] = token.into();
        }
        std::fs::write(self.path("base.json"), document.to_string()).unwrap();
    }

    /// A configuration with these profiles, each a name and its chain, as YAML text in flow form.
    pub(crate) fn text(&self, profiles: &[(&str, &str)]) -> String {
        let sts = format!("{{ region: us-east-1, endpoint: 'http://{}' }}", self.address);
        self.text_with(&sts, profiles)
    }

    /// The same with another `sts` section.
    pub(crate) fn text_with(&self, sts: &str, profiles: &[(&str, &str)]) -> String {
        let profiles: Vec<_> = profiles
            .iter()
            .map(|(name, chain)| {
                let token = self.token_file(name);
                format!(
                    "{name}: {{ source: {{ file: {{ path: {} }} }}, chain: {chain}, access: {{ token_file: {} }} }}",
                    self.path("base.json").display(),
                    token.display()
                )
            })
            .collect();
        format!(
            "{{ endpoint: {{ listen: '127.0.0.1:0' }}, admin: {{ listen: '127.0.0.1:0', socket: {} }}, sts: {sts}, profiles: {{ {} }} }}",
            self.path("admin.sock").display(),
            profiles.join(", ")
        )
    }

    /// Where the relay writes the access token of a profile.
    pub(crate) fn token_file(&self, profile: &str) -> PathBuf {
        self.path(&format!("{profile}.token"))
    }

    /// A configuration with one profile and this chain.
    pub(crate) fn config(&self, chain: &str) -> Config {
        parse(&self.text(&[("payments", chain)]))
    }

    /// The source that the profile of such a configuration stands for.
    pub(crate) fn source(&self, chain: &str) -> Box<dyn Source> {
        let config = self.config(chain);
        let (name, profile) = config.profiles.first_key_value().unwrap();
        Workshop::new(self.clock.clone(), self.metrics.clone(), &[]).source(name, profile).unwrap()
    }

    /// The roles that were assumed so far, in order, by their names.
    pub(crate) fn assumed(&self) -> Vec<String> {
        let calls = self.sts.ledger().calls();
        let roles = calls.iter().filter_map(|call| match &call.outcome {
            Outcome::Assumed(assumption) => {
                Some(assumption.role.as_str().rsplit('/').next().unwrap().to_owned())
            }
            _ => None,
        });
        roles.collect()
    }

    /// Moves the clocks of the relay and of the upstream on.
    pub(crate) fn pass(&self, minutes: u64) {
        self.manual.suspend(Duration::from_secs(minutes * 60));
    }
}
