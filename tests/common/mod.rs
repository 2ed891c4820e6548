//! An embedded upstream on a real socket, for tests that go through the real STS client.

#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use credential_relay::app::assemble::Workshop;
use credential_relay::clock::{Clock, ManualClock, Moment, TimeSource, Timestamp};
use credential_relay::config::environment::Environment;
use credential_relay::config::{Config, load};
use credential_relay::credential::Secret;
use credential_relay::dev::sts::{IssuedLifetime, Outcome, Regions, Settings, Sts, User};
use credential_relay::listener::{self, Limits};
use credential_relay::metrics::Metrics;
use credential_relay::shutdown;
use credential_relay::sources::Source;
use tempfile::TempDir;

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
    trigger: shutdown::Trigger,
}

/// The wall clock, as the SDK that signs the requests sees it.
pub(crate) fn wall() -> Timestamp {
    struct Now;
    impl TimeSource for Now {
        fn now(&self) -> Moment {
            Clock::system().now()
        }
    }
    Now.now().wall
}

impl World {
    /// Starts the upstream. The spoke wants an external id.
    pub(crate) async fn start(lifetime: IssuedLifetime) -> Self {
        let manual = ManualClock::starting_at(wall());
        let clock = manual.clock();
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
        let service = sts.clone();
        tokio::spawn(listener::serve(vec![listener], service, Limits::uncounted(64), signal));
        let world = Self {
            sts,
            address,
            folder: tempfile::tempdir().unwrap(),
            manual,
            clock,
            metrics: Metrics::new(),
            trigger,
        };
        world.write_base(USER_KEY, USER_SECRET, None);
        world
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

    /// A configuration with one profile and this chain, as YAML text in flow form.
    pub(crate) fn config(&self, chain: &str) -> Config {
        let text = format!(
            "
            endpoint: {{ listen: '127.0.0.1:0' }}
            admin: {{ listen: '127.0.0.1:0', socket: {socket} }}
            sts: {{ region: us-east-1, endpoint: 'http://{address}' }}
            profiles:
              payments:
                source: {{ file: {{ path: {base} }} }}
                chain: {chain}
                access: {{ token_file: {token} }}
            ",
            socket = self.path("admin.sock").display(),
            address = self.address,
            base = self.path("base.json").display(),
            token = self.path("token").display(),
        );
        load::parse(&text, &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The source that the profile of such a configuration stands for.
    pub(crate) fn source(&self, chain: &str) -> Box<dyn Source> {
        let config = self.config(chain);
        let (name, profile) = config.profiles.first_key_value().unwrap();
        Workshop::new(self.clock.clone(), self.metrics.clone()).source(name, profile).unwrap()
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
