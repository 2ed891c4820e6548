//! A serving certificate with its key, ready to be shown.

use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::decide::Span;
use crate::x509;
use crate::x509::pem::{self, Block};

/// What PEM calls a certificate.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";
/// What PEM calls a key of PKCS#8.
pub(super) const KEY: &str = "PRIVATE KEY";

/// A certificate with those between it and its root, and its key.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) span: Span,
    /// As it was in its file, for whoever must write it again.
    pub(super) key: Arc<Key>,
}

impl Pair {
    /// Reads both as PEM.
    ///
    /// # Errors
    /// Which of the two is wrong, and how; nothing of the key.
    pub(super) fn read(cert: &[u8], key: &[u8]) -> Result<Self, (Part, &'static str)> {
        let chain = certificates(cert).map_err(|why| (Part::Certificate, why))?;
        let key = the_key(pem::blocks(key)).map_err(|why| (Part::Key, why))?;
        Self::of(chain, key)
    }

    /// From a chain and a key of any kind.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn of(
        chain: Vec<CertificateDer<'static>>,
        key: Key,
    ) -> Result<Self, (Part, &'static str)> {
        let leaf = chain.first().ok_or((Part::Certificate, "no PEM certificate is in it"))?;
        let span = span(leaf).ok_or((Part::Certificate, "the first certificate is not X.509"))?;
        let der = key.der.as_slice();
        let der = match key.label.as_str() {
            "RSA PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs1KeyDer::from(der)),
            "EC PRIVATE KEY" => PrivateKeyDer::from(PrivateSec1KeyDer::from(der)),
            _ => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der)),
        };
        let signing = any_supported_type(&der).map_err(|_| {
            (Part::Key, "it is no key of RSA (2048 bits or more), ECDSA (P-256, P-384) or Ed25519")
        })?;
        let certified = CertifiedKey::new(chain, signing);
        certified
            .keys_match()
            .map_err(|_| (Part::Key, "it is not the key of the first certificate"))?;
        Ok(Self { certified: Arc::new(certified), span, key: Arc::new(key) })
    }

    /// The certificate itself.
    pub(super) fn leaf(&self) -> &CertificateDer<'static> {
        &self.certified.cert[0]
    }
}

/// A private key.
pub(super) struct Key {
    /// What PEM calls it.
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl Key {
    pub(super) fn pkcs8(der: Zeroizing<Vec<u8>>) -> Self {
        Self { label: KEY.to_owned(), der }
    }

    pub(super) fn pem(&self) -> Zeroizing<String> {
        pem::written(&self.label, &self.der)
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Certificate,
    Key,
}

/// The life of a certificate; none if it is not X.509.
pub(super) fn span(der: &[u8]) -> Option<Span> {
    let read = x509::Certificate::read(der)?;
    Some(Span { from: read.not_before, until: read.not_after })
}

/// The certificates of a PEM text.
///
/// # Errors
/// If one of them cannot be read.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let blocks = pem::blocks(text).into_iter().filter(|block| block.label == CERTIFICATE);
    blocks
        .map(|block| block.der.map(|der| CertificateDer::from(der.to_vec())))
        .collect::<Option<_>>()
        .ok_or("a certificate in it cannot be read")
}

/// The private key of a PEM text.
///
/// # Errors
/// What is wrong with it; nothing of it.
pub(super) fn the_key(blocks: Vec<Block>) -> Result<Key, &'static str> {
    let key = blocks.into_iter().find(|block| block.label.ends_with("PRIVATE KEY"));
    let key = key.ok_or("no PEM private key is in it")?;
    if key.encrypted || key.label == "ENCRYPTED PRIVATE KEY" {
        return Err("the key is encrypted; store it unencrypted where only the injector reads it");
    }
    let der = key.der.ok_or("the key in it cannot be read")?;
    Ok(Key { label: key.label, der })
}
