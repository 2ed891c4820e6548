//! The embedded Vault on a socket, and a session at it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::client::Client;
use super::login::Ambient;
use super::session::{Need, Session, Token};
use crate::clock::{ManualClock, Timestamp};
use crate::config::Tls;
use crate::config::vault::{Login, Vault as Settings};
use crate::credential::Secret;
use crate::dev::sts::{self, IssuedLifetime, Regions, Sts, User};
use crate::dev::vault::{self, Grant, Material, Operation, Vault};
use crate::failure::Failure;
use crate::listener::{Answer, Peer};
use crate::metrics::{Metrics, ProfileMetrics};
use crate::transport::{Security, Transports};

pub(super) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub(super) const KEY: &str = "AKIAIOSFODNN7EXAMPLE";

/// A Vault that lets one in, and a session that wants to be.
pub(super) struct World {
    pub(super) vault: Vault,
    pub(super) manual: ManualClock,
    pub(super) folder: tempfile::TempDir,
    pub(super) metrics: ProfileMetrics,
    pub(super) session: Session,
    address: String,
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// A token of so many seconds.
pub(super) fn ttl(n: u64) -> Grant {
    Grant { ttl: secs(n), ..Grant::default() }
}

impl World {
    /// The Vault knows `material` at `auth/<mount>`, for the role or user `app`.
    pub(super) async fn new(mount: &str, material: Material, grant: Grant) -> Self {
        let manual = ManualClock::starting_at(Timestamp::from_secs(1_800_000_000));
        let upstream = sts::Settings {
            account: "111122223333".parse().unwrap(),
            user: User {
                name: "root".into(),
                access_key_id: KEY.parse().unwrap(),
                secret_access_key: secret(SECRET_KEY),
            },
            lifetime: IssuedLifetime::AsAsked,
            regions: Regions::Any,
            external_ids: HashMap::new(),
        };
        let login = vault::Login { mount: mount.into(), role: "app".into(), material, grant };
        let settings = vault::Settings {
            logins: vec![login],
            roles: BTreeMap::new(),
            ..vault::Settings::default()
        };
        let sts = Sts::new(upstream, manual.clock());
        let vault = Vault::new(settings, sts, manual.clock());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = vault.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let io = TokioIo::new(stream);
                let vault = served.clone();
                let service = service_fn(move |request| vault.answer(request, Peer::Local));
                tokio::spawn(http1::Builder::new().serve_connection(io, service));
            }
        });
        let session = session(&address, &manual, Login::Token, Ambient::Nothing);
        let metrics = Metrics::new().profile(&"app".parse().unwrap());
        let folder = tempfile::tempdir().unwrap();
        Self { vault, manual, folder, metrics, session, address }
    }

    /// The session logs in so.
    pub(super) fn by(mut self, login: Login, ambient: Ambient) -> Self {
        self.session = self.other(login, ambient);
        self
    }

    /// A further session.
    pub(super) fn other(&self, login: Login, ambient: Ambient) -> Session {
        session(&self.address, &self.manual, login, ambient)
    }

    /// A login by Kubernetes, which can be repeated at any time.
    pub(super) async fn kubernetes(grant: Grant) -> Self {
        let world = Self::new("k8s", Material::Kubernetes { jwt: secret("a-jwt") }, grant).await;
        let login = Login::Kubernetes {
            mount: "k8s".parse().unwrap(),
            role: "app".parse().unwrap(),
            token_file: world.write("jwt", "a-jwt\n"),
        };
        world.by(login, Ambient::Nothing)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) async fn token(&self, need: Need) -> Result<Arc<Token>, Failure> {
        self.session.token(need, &self.metrics).await
    }

    pub(super) async fn read(&self) -> Arc<Token> {
        self.token(Need::Read).await.unwrap()
    }

    pub(super) fn count(&self, operation: Operation) -> u64 {
        self.vault.ledger().count(operation)
    }

    /// Calls so far: logins, renewals, look-ups.
    pub(super) fn calls(&self) -> [u64; 3] {
        [Operation::Login, Operation::RenewSelf, Operation::LookupSelf].map(|kind| self.count(kind))
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.manual.suspend(secs(seconds));
    }
}

fn session(address: &str, manual: &ManualClock, login: Login, ambient: Ambient) -> Session {
    let settings = Settings {
        address: address.parse().unwrap(),
        tls: Tls::default(),
        timeout: secs(5),
        redirect_hosts: Vec::new(),
        auth_namespace: "team/auth".parse().unwrap(),
        login,
    };
    let transport = Transports::default().get(Security::Plain).unwrap();
    Session::new(Client::new(transport, Arc::new(settings)), manual.clock(), ambient)
}
