use std::sync::Mutex;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{Answer, Answered, Peer};

const NAME: &str = "injector.relay.svc";

/// Accepts what it was given.
#[derive(Default)]
struct Given(Mutex<Vec<DuplexStream>>);

impl Accept for Given {
    fn poll_accept(&self, _: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let next = self.0.lock().unwrap().pop();
        next.map_or(Poll::Pending, |end| Poll::Ready(Ok(Stream::Other(Box::new(end)))))
    }
}

fn made() -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key_pair.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certificate = made.cert.der().clone();
    (certificate.clone(), Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn listener(current: &Current) -> Tls<Given> {
    Tls::new(Given::default(), current.clone()).unwrap()
}

/// A client's end, and what the listener accepts for it.
async fn connected(listener: &Tls<Given>) -> (DuplexStream, Stream) {
    let (client, server) = duplex(1 << 16);
    listener.inner.0.lock().unwrap().push(server);
    let accepted = std::future::poll_fn(|context| listener.poll_accept(context)).await;
    (client, accepted.unwrap())
}

fn connector(trusted: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn secured(
    listener: &Tls<Given>,
    trusted: &CertificateDer<'static>,
) -> io::Result<(tokio_rustls::client::TlsStream<DuplexStream>, Stream)> {
    let (client, mut server) = connected(listener).await;
    let name = ServerName::try_from(NAME).unwrap();
    let echoes = async {
        let mut word = [0; 4];
        server.read_exact(&mut word).await?;
        server.write_all(&word).await?;
        server.flush().await?;
        Ok::<_, io::Error>(server)
    };
    let asks = async {
        let mut client = connector(trusted).connect(name, client).await?;
        client.write_all(b"ping").await?;
        let mut word = [0; 4];
        client.read_exact(&mut word).await?;
        assert_eq!(&word, b"ping");
        Ok::<_, io::Error>(client)
    };
    let (server, client) = tokio::join!(echoes, asks);
    Ok((client?, server?))
}

#[tokio::test]
async fn a_renewal_is_seen_by_the_next_handshake_and_by_no_open_connection() {
    let (current, (first, pair), (second, next)) = (Current::default(), made(), made());
    current.set(pair);
    let listener = listener(&current);
    let (mut client, mut server) = secured(&listener, &first).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    current.set(next);
    assert!(secured(&listener, &first).await.is_err());
    assert!(secured(&listener, &second).await.is_ok());
    client.write_all(b"on").await.unwrap();
    let mut word = [0; 2];
    server.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"on");
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_heard() {
    let (current, (_, pair), (other, _)) = (Current::default(), made(), made());
    current.set(pair);
    assert!(secured(&listener(&current), &other).await.is_err());
    current.distrusted().await;
}

#[tokio::test]
async fn without_a_certificate_there_is_no_handshake() {
    let (other, _) = made();
    assert!(secured(&listener(&Current::default()), &other).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_and_holds_nobody_up() {
    let (current, (trusted, pair)) = (Current::default(), made());
    current.set(pair);
    let listener = listener(&current);
    let (_silent, mut server) = connected(&listener).await;
    secured(&listener, &trusted).await.unwrap();
    let started = tokio::time::Instant::now();
    let error = server.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, HANDSHAKE));
    assert!(server.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn plain_http_is_refused() {
    let (current, (_, pair)) = (Current::default(), made());
    current.set(pair);
    let (mut client, mut server) = connected(&listener(&current)).await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(server.read_u8().await.is_err());
}

struct Silent;

impl Answer for Silent {
    fn answer(&self, _: hyper::Request<hyper::body::Incoming>, _: Peer) -> Answered {
        Answered::now(hyper::Response::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_longer_than_the_api_server_keeps_it() {
    let (current, (trusted, pair)) = (Current::default(), made());
    current.set(pair);
    let listener = listener(&current);
    let (client, server) = duplex(1 << 16);
    listener.inner.0.lock().unwrap().push(server);
    let (_trigger, signal) = crate::shutdown::channel();
    let limits = super::super::Limits::uncounted(8);
    tokio::spawn(super::super::serve(vec![listener], Silent, limits, signal));
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = connector(&trusted).connect(name, client).await.unwrap();
    for _ in 0..3 {
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = client.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
}

/// A client that believes everything, to look at what is resumed.
#[derive(Debug)]
struct Believes;

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn no_session_is_resumed_on_an_old_certificate() {
    let (current, (_, pair)) = (Current::default(), made());
    current.set(pair);
    let listener = listener(&current);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believes))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        for _ in 0..2 {
            let (client, mut server) = connected(&listener).await;
            let name = ServerName::try_from(NAME).unwrap();
            let mut byte = [0];
            let (connected, read) = tokio::join!(
                async {
                    let mut client = connector.connect(name, client).await.unwrap();
                    client.write_all(b"x").await.unwrap();
                    client
                },
                server.read_exact(&mut byte)
            );
            read.unwrap();
            let kind = connected.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full), "{version:?}");
        }
    }
}
