//! New certificates. Keys are of ECDSA over P-256, which every API server accepts, and each
//! certificate has a key of its own.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::{Zeroize, Zeroizing};

use super::decide::Span;
use crate::clock::Timestamp;

/// All have the same name: which one signed a certificate is told by the identifier of its key.
const AUTHORITY: &str = "credential-relay injector CA";
const SERVING: &str = "credential-relay injector";

/// So much of a certificate's life lies before it was made, since the clocks of an API server and of
/// a replica differ; at most a tenth of it.
const BACKDATED: Duration = Duration::from_secs(300);

/// The CA lives so many times as long as a serving certificate.
const LIVES: u32 = 10;

/// The key of a CA. What of it can be written is wiped when it is dropped; ring does not wipe its own
/// copy.
pub(super) struct SigningKey(KeyPair);

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SigningKey {
    /// From PKCS#8.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from(der);
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).ok().map(Self)
    }

    /// As PKCS#8.
    pub(super) fn der(&self) -> &[u8] {
        self.0.serialized_der()
    }
}

/// A serving certificate, and its key as PKCS#8.
pub(super) struct Issued {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// A new CA for serving certificates of this lifetime.
///
/// # Errors
/// What rcgen says: there are no random numbers, or the clock is beyond the calendar.
pub(super) fn authority(
    lifetime: Duration,
    now: Timestamp,
) -> Result<(CertificateDer<'static>, SigningKey), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut wanted = authority_params();
    (wanted.not_before, wanted.not_after) = life(lifetime * LIVES, lifetime, now)?;
    Ok((wanted.self_signed(&key)?.der().clone(), SigningKey(key)))
}

/// A new serving certificate for these DNS names, which ends no later than its CA.
///
/// # Errors
/// As [`authority`].
pub(super) fn serving(
    names: &[String],
    lifetime: Duration,
    now: Timestamp,
    authority: (&SigningKey, Span),
) -> Result<Issued, rcgen::Error> {
    let (SigningKey(signing), span) = authority;
    let key = SigningKey(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?);
    let mut wanted = CertificateParams::new(names)?;
    (wanted.not_before, wanted.not_after) = life(lifetime, lifetime, now)?;
    wanted.not_after = wanted.not_after.min(date(span.until)?);
    wanted.distinguished_name = name(SERVING);
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    wanted.use_authority_key_identifier_extension = true;
    // Of the CA's own certificate nothing counts here but its name and its key.
    let issuer = authority_params().self_signed(signing)?;
    let certificate = wanted.signed_by(&key.0, &issuer, signing)?.der().clone();
    Ok(Issued { certificate, key: Zeroizing::new(key.der().to_vec()) })
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn life(
    life: Duration,
    shortest: Duration,
    now: Timestamp,
) -> Result<(OffsetDateTime, OffsetDateTime), rcgen::Error> {
    let backdated = BACKDATED.min(shortest / 10);
    Ok((date(now)? - backdated, date(now + life)?))
}

fn date(at: Timestamp) -> Result<OffsetDateTime, rcgen::Error> {
    OffsetDateTime::from_unix_timestamp(at.as_secs()).map_err(|_| rcgen::Error::Time)
}
