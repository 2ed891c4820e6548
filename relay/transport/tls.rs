//! From TLS settings to what rustls is given. Every file is read and checked here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{ClientCertificate, Tls};
use crate::files;

/// A CA bundle is some hundred kilobytes; a larger file is something else.
const LARGEST_BUNDLE: u64 = 8 << 20;

/// An upstream or two are behind one set of settings.
const SESSIONS: usize = 4;

pub(super) fn config(settings: &Tls) -> Result<ClientConfig, TlsError> {
    let roots = match &settings.ca_cert {
        None => system_roots()?,
        Some(path) => bundle(path)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Rustls(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = identity(client)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let why = format!("it does not go with its key: {error}");
                TlsError::File { what: "client_cert", path: client.cert.clone(), why }
            })?
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

pub(super) fn server_name(settings: &Tls) -> Result<Option<ServerName<'static>>, TlsError> {
    let read = |name: &String| {
        ServerName::try_from(name.clone())
            .map_err(|_| TlsError::Rustls("the server name is no DNS name or address".to_owned()))
    };
    settings.server_name.as_ref().map(read).transpose()
}

/// The roots of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. One that cannot
/// be used is passed over, as every program does.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(roots)
}

fn bundle(path: &Path) -> Result<RootCertStore, TlsError> {
    let unusable = |why: String| TlsError::File { what: "ca_cert", path: path.to_owned(), why };
    let pem = files::read(path, LARGEST_BUNDLE).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for (place, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let certificate =
            certificate.map_err(|_| unusable(format!("certificate {} is not PEM", place + 1)))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(format!("certificate {}: {error}", place + 1)))?;
    }
    if roots.is_empty() {
        return Err(unusable("no PEM certificate in it".to_owned()));
    }
    Ok(roots)
}

/// A chain and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(client: &ClientCertificate) -> Result<Identity, TlsError> {
    let read = |what, path: &Path| {
        files::read(path, LARGEST_BUNDLE).map_err(|error| TlsError::File {
            what,
            path: path.to_owned(),
            why: error.to_string(),
        })
    };
    let unusable = |what, path: &Path, why: &str| TlsError::File {
        what,
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let (cert, key) = ("client_cert", "client_key");
    let pem = read(cert, &client.cert)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable(cert, &client.cert, "a certificate in it is not PEM"))?;
    if chain.is_empty() {
        return Err(unusable(cert, &client.cert, "no PEM certificate in it"));
    }
    let pem = read(key, &client.key)?;
    // The error may quote the file, which is a key: only that it failed is told.
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| unusable(key, &client.key, "no PEM private key in it"))?;
    Ok((chain, key))
}

/// Why TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// A file cannot be used.
    File {
        /// What it is for: a setting's name.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has no roots.
    NoRoots,
    /// What rustls says.
    Rustls(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { what, path, why } => {
                write!(f, "{what}: {} cannot be used: {why}; it must hold PEM", path.display())
            }
            Self::NoRoots => f.write_str(
                "ca_cert: not set, and this system has no root certificates; set it, or install a CA bundle",
            ),
            Self::Rustls(why) => write!(f, "tls: it cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (text, said) in [
            ("", "no PEM certificate"),
            ("hello", "no PEM certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1"),
            ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "certificate 1"),
        ] {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, text).unwrap();
            let error = bundle(&path).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("ca_cert"), "{error}");
        }
        assert!(bundle(Path::new("/no/such/file")).is_err());
    }

    #[test]
    fn a_client_certificate_needs_its_own_key_which_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let pair = || rcgen::generate_simple_self_signed(vec!["app".to_owned()]).unwrap();
        let (one, other) = (pair(), pair());
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, one.cert.pem()).unwrap();
        let ca_cert = Some(cert.clone());
        let settings = Tls {
            ca_cert,
            client: Some(ClientCertificate { cert, key: key.clone() }),
            server_name: None,
        };
        for (text, good) in [
            (one.key_pair.serialize_pem(), true),
            (other.key_pair.serialize_pem(), false),
            ("hush".to_owned(), false),
        ] {
            std::fs::write(&key, &text).unwrap();
            let made = config(&settings);
            assert_eq!(made.is_ok(), good, "{text}");
            if let Err(error) = made {
                assert!(!error.to_string().contains("hush"), "{error}");
            }
        }
    }
}
