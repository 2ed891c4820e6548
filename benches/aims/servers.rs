//! What the benchmark's other processes are: the bare server, and the upstream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use credential_relay::clock::Clock;
use credential_relay::credential::Secret;
use credential_relay::dev::sts::{IssuedLifetime, Regions, Settings, Sts, User};
use credential_relay::listener::{self, Limits};
use credential_relay::shutdown;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Result;

/// The modes in which this program is such a process.
pub(crate) const MODES: [&str; 2] = [BARE, UPSTREAM];
pub(crate) const BARE: &str = "bare-server";
pub(crate) const UPSTREAM: &str = "upstream";

/// The user whose keys the relay starts from.
pub(crate) const KEY_ID: &str = "AKIABENCHMARK0000001";
pub(crate) const SECRET_KEY: &str = "secret-key-of-the-benchmark";

/// Is one of [`MODES`] until it is killed.
pub(crate) fn serve(mode: &str, args: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (mode, args) {
        (BARE, [at, length]) => runtime.block_on(bare(at.parse()?, length.parse()?)),
        (UPSTREAM, [lifetime, certificate, key]) => {
            let lifetime = Duration::from_secs(lifetime.parse()?);
            runtime.block_on(upstream(lifetime, certificate, key))
        }
        _ => Err(format!("{mode} wants other arguments").into()),
    }
}

/// hyper alone, with a body of `length` bytes and the headers that the relay sends.
async fn bare(at: SocketAddr, length: usize) -> Result<()> {
    let listener = listener::bind("bare", at)?;
    let body = Bytes::from(vec![b'x'; length]);
    loop {
        let (stream, _) = listener.accept().await?;
        let body = body.clone();
        let service = service_fn(move |_| {
            let mut response = Response::new(Full::new(body.clone()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            std::future::ready(Ok::<_, Infallible>(response))
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The embedded STS, over HTTP and behind TLS. It prints the two addresses.
async fn upstream(lifetime: Duration, certificate: &str, key: &str) -> Result<()> {
    let sts = Sts::new(
        Settings {
            account: "111122223333".parse()?,
            user: User {
                name: "benchmark".to_owned(),
                access_key_id: KEY_ID.parse()?,
                secret_access_key: Secret::new(SECRET_KEY.to_owned()),
            },
            lifetime: IssuedLifetime::AtMost(lifetime),
            regions: Regions::Any,
            external_ids: HashMap::new(),
        },
        Clock::system(),
    );
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let plain = listener::bind("upstream", any)?;
    let encrypted = listener::bind("upstream", any)?;
    let plain_at = plain.local_addr()?;
    println!("{plain_at} {}", encrypted.local_addr()?);
    let (_trigger, signal) = shutdown::channel();
    let limits = Limits::uncounted(1024);
    tokio::select! {
        () = listener::serve(vec![plain], sts, limits, signal) => Ok(()),
        ended = decrypt(encrypted, plain_at, certificate, key) => ended,
    }
}

/// Passes on what comes over TLS.
async fn decrypt(from: TcpListener, to: SocketAddr, certificate: &str, key: &str) -> Result<()> {
    let chain =
        CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = from.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut near = acceptor.accept(stream).await?;
            let mut far = TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        });
    }
}
