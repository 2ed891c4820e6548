//! An STS behind TLS with a CA of its own.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use credential_relay::config::Config;
use credential_relay::dev::sts::IssuedLifetime;
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::common::{World, parse, two_hops};
use crate::harness::{Program, Relay, eventually};

/// A CA, made for the test.
struct Authority(CertifiedKey);

impl Authority {
    fn new() -> Self {
        let key_pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key_pair).unwrap();
        Self(CertifiedKey { cert, key_pair })
    }

    fn pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(self.0.cert.der());
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    /// What a server has whose certificate this CA issued.
    fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0.cert, &self.0.key_pair).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                key.serialize_der().try_into().unwrap(),
            );
        Arc::new(config.unwrap())
    }
}

/// TLS before the world's STS. When its server changes it closes every connection.
struct Front {
    address: SocketAddr,
    server: watch::Sender<Arc<ServerConfig>>,
}

impl Front {
    async fn start(world: &World, server: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = world.address;
        let (server, current) = watch::channel(server);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(client, upstream, current.clone()));
            }
        });
        Self { address, server }
    }
}

async fn pass_on(
    client: TcpStream,
    upstream: SocketAddr,
    mut current: watch::Receiver<Arc<ServerConfig>>,
) {
    let acceptor = TlsAcceptor::from(Arc::clone(&current.borrow_and_update()));
    // A client that does not trust the certificate ends the handshake.
    let Ok(mut secure) = acceptor.accept(client).await else { return };
    let mut plain = TcpStream::connect(upstream).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut secure, &mut plain) => {}
        _ = current.changed() => {}
    }
}

/// The text of a configuration that asks the front, with these roots or the system's.
fn text(world: &World, front: &Front, authority: Option<&Authority>) -> String {
    let mut sts = format!("region: us-east-1, endpoint: 'https://{}'", front.address);
    if let Some(authority) = authority {
        let bundle = world.path("ca.pem");
        fs::write(&bundle, authority.pem()).unwrap();
        sts.push_str(&format!(", ca_cert: {}", bundle.display()));
    }
    world.text_with(&format!("{{ {sts} }}"), &[("payments", &two_hops())])
}

fn config(world: &World, front: &Front, authority: Option<&Authority>) -> Config {
    parse(&text(world, front, authority))
}

#[tokio::test]
async fn with_its_ca_it_is_asked_and_what_is_held_outlives_its_trust() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let authority = Authority::new();
    let front = Front::start(&world, authority.server()).await;
    let relay = Relay::start(&config(&world, &front, Some(&authority)));
    let held = relay.place.answers(&world, "payments", 200).await.key_id();

    front.server.send_replace(Authority::new().server());
    let rotated = relay.place.rotate("payments").await;
    assert_eq!(rotated.status, 502, "{rotated:?}");
    assert_eq!(rotated.json()["cause"], "tls", "{rotated:?}");
    assert_eq!(relay.place.credential(&world, "payments").await.key_id(), held);
    assert_eq!(relay.place.probe("/readyz").await.status, 200);

    front.server.send_replace(authority.server());
    let rotated = relay.place.rotate("payments").await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert_ne!(relay.place.credential(&world, "payments").await.key_id(), held);
    relay.stop().await;
}

#[tokio::test]
async fn a_ca_that_was_renewed_is_read_again_without_a_restart() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let first = Authority::new();
    let front = Front::start(&world, first.server()).await;
    let relay = Relay::start(&config(&world, &front, Some(&first)));
    let held = relay.place.answers(&world, "payments", 200).await.key_id();

    let second = Authority::new();
    front.server.send_replace(second.server());
    fs::write(world.path("ca.pem"), "half a certificate").unwrap();
    assert_eq!(relay.place.rotate("payments").await.json()["cause"], "tls");
    fs::write(world.path("ca.pem"), second.pem()).unwrap();
    let rotated = relay.place.rotate("payments").await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert_ne!(relay.place.credential(&world, "payments").await.key_id(), held);
    relay.stop().await;
}

#[tokio::test]
async fn without_its_ca_nothing_is_sent_and_tls_is_named() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let front = Front::start(&world, Authority::new().server()).await;
    let stranger = Authority::new();
    for authority in [None, Some(&stranger)] {
        let mut relay = Program::serve(&world, &text(&world, &front, authority), &[]);
        let place = relay.place(&world.path("admin.sock")).await;
        let refused = eventually("the failure is told", async || {
            let answer = place.credential(&world, "payments").await;
            assert_eq!(answer.status, 503, "{answer:?}");
            Some(answer).filter(|answer| answer.body.contains("CredentialsUnavailable"))
        })
        .await;
        assert!(refused.body.contains("certificate"), "{refused:?}");
        let ready = place.probe("/readyz").await;
        assert!(ready.body.contains("(tls)"), "{ready:?}");
        relay.says("\"cause\":\"tls\"").await;
        drop(relay);
    }
    assert_eq!(world.sts.ledger().calls(), [], "no request went to whom is not trusted");
}
