//! The certificate and its key, read from their files at each call: whoever renews them need not
//! restart anything.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::fail;
use super::key::{KeyError, SigningKey};
use crate::clock::Timestamp;
use crate::config::ClientCertificate;
use crate::failure::{Cause, Failure};
use crate::files::{self, Aside};
use crate::x509::Certificate;
use crate::x509::pem::{self, Block};

/// A certificate with a few others after it, or a key: some kilobytes.
const LARGEST: u64 = 64 << 10;

/// A certificate, those that lead from it to the trust anchor's, and its key.
pub(super) struct Identity {
    pub(super) certificate: Certificate,
    /// DER; the certificate itself comes first.
    pub(super) chain: Vec<Zeroizing<Vec<u8>>>,
    pub(super) key: SigningKey,
}

impl Identity {
    /// Reads both files, and checks that they go together and that it is the certificate's time.
    ///
    /// # Errors
    /// Which file is not as it must be, and how; nothing of the key.
    pub(super) async fn read(
        files: &ClientCertificate,
        aside: &mut Aside,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let owned = files.clone();
        let both = aside.run(move || {
            let read = |path: &Path| files::read(path, LARGEST);
            (read(&owned.cert), read(&owned.key))
        });
        let (cert, key) = both.await.map_err(|error| unread("certificate", &files.cert, &error))?;
        let cert = pem::blocks(&cert.map_err(|error| unread("certificate", &files.cert, &error))?);
        let key = pem::blocks(&key.map_err(|error| unread("private_key", &files.key, &error))?);
        let identity = Self::of(cert, &key, files)?;
        in_its_time(&identity.certificate, &files.cert, now)?;
        Ok(identity)
    }

    fn of(cert: Vec<Block>, key: &[Block], files: &ClientCertificate) -> Result<Self, Failure> {
        let unfit = |why: &str| {
            let reason = format!("certificate {}: {why}", files.cert.display());
            fail(Cause::Transient, reason).advised(
                "certificate",
                "let roles_anywhere.certificate name a PEM file with the certificate first and those between it and the trust anchor's after it",
            )
        };
        let blocks = cert.into_iter().filter(|block| block.label == "CERTIFICATE");
        let chain: Option<Vec<_>> = blocks.map(|block| block.der).collect();
        let chain = chain.ok_or_else(|| unfit("a certificate in it cannot be read"))?;
        let leaf = chain.first().ok_or_else(|| unfit("no PEM certificate is in it"))?;
        let certificate = Certificate::read(leaf)
            .ok_or_else(|| unfit("the first certificate in it is not X.509"))?;
        let key = SigningKey::read(key, &certificate).map_err(|error| of_the_key(error, files))?;
        Ok(Self { certificate, chain, key })
    }
}

fn unread(setting: &'static str, path: &Path, error: &io::Error) -> Failure {
    let cause = match error.kind() {
        io::ErrorKind::NotFound => Cause::NotConfigured,
        _ => Cause::Transient,
    };
    fail(cause, format!("{setting} {}: it cannot be read: {error}", path.display())).advised(
        setting,
        "mount the file where roles_anywhere says that it is, readable for the relay's user; cert-manager and SPIFFE helpers write it when the first certificate is issued",
    )
}

fn of_the_key(error: KeyError, files: &ClientCertificate) -> Failure {
    let path = files.key.display();
    let told = |cause, why: &str| fail(cause, format!("private_key {path}: {why}"));
    match error {
        KeyError::Unreadable(why) => told(Cause::Transient, &why).advised(
            "private_key",
            "let roles_anywhere.private_key name a PEM file with the certificate's key: PKCS#8, PKCS#1 (RSA) or SEC1 (EC), unencrypted",
        ),
        KeyError::Unusable(why) => told(Cause::Misconfigured, &why).advised(
            "private_key",
            "have a certificate issued for a key of RSA (2048 to 4096 bits) or ECDSA over P-256, and store the key unencrypted",
        ),
        // Files that are replaced one after the other do not go together in between.
        KeyError::Mismatch => told(
            Cause::Transient,
            &format!("it is not the key of the first certificate in {}", files.cert.display()),
        )
        .advised(
            "private_key",
            "write the certificate that was issued for this key first into roles_anywhere.certificate; where both have just been renewed, the next attempt finds both",
        ),
    }
}

fn in_its_time(certificate: &Certificate, path: &Path, now: Timestamp) -> Result<(), Failure> {
    let Certificate { serial, not_before, not_after, .. } = certificate;
    let told = |why: String| {
        let reason =
            format!("certificate {} (serial {serial}): {why}; it is {now} here", path.display());
        fail(Cause::StaleCaller, reason)
    };
    if now > *not_after {
        return Err(told(format!("it has expired at {not_after}")).advised(
            "certificate",
            "renew the certificate, and look why whoever renews it did not (cert-manager: kubectl describe certificate); the files are read again at each attempt. Is this machine's clock right?",
        ));
    }
    if now < *not_before {
        return Err(told(format!("it is not valid before {not_before}"))
            .advised("certificate", "set this machine's clock, or that of the CA"));
    }
    Ok(())
}
