//! The private key: which kinds can sign for Roles Anywhere, how they are read, and whether one
//! belongs to a certificate.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

use crate::x509::der::{self, Elements};
use crate::x509::pem::Block;
use crate::x509::{Algorithm, Certificate};

/// Why there is no key to sign with. Nothing of the key is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// The file has none, or half of one: it may be in the middle of being written.
    Unreadable(String),
    /// There is one, which can never be used.
    Unusable(String),
    /// It is not the certificate's.
    Mismatch,
}

/// A private key that belongs to a certificate. ring does not wipe its own copy, so it is kept for one
/// signature alone.
pub(super) enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// The key among these blocks, if it is the certificate's.
    pub(super) fn read(blocks: &[Block], certificate: &Certificate) -> Result<Self, KeyError> {
        let block = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"));
        let block =
            block.ok_or_else(|| KeyError::Unreadable("no PEM private key is in it".to_owned()))?;
        if block.encrypted || block.label == "ENCRYPTED PRIVATE KEY" {
            return Err(KeyError::Unusable(
                "the key is encrypted, and the relay knows no passphrase; store it unencrypted where only the relay reads it (openssl pkey -in old.pem -out new.pem)"
                    .to_owned(),
            ));
        }
        let broken = || KeyError::Unreadable(format!("its {} cannot be read", block.label));
        let der = block.der.as_ref().ok_or_else(broken)?;
        let (algorithm, key) = match block.label.as_str() {
            "RSA PRIVATE KEY" => (Algorithm::Rsa, der.as_slice()),
            "EC PRIVATE KEY" => (sec1(der).ok_or_else(broken)?.0, der.as_slice()),
            "PRIVATE KEY" => pkcs8(der).ok_or_else(broken)?,
            other => {
                return Err(KeyError::Unusable(format!(
                    "a {other} is none that can be used; write it as PKCS#8 (openssl pkey -in old.pem -out new.pem)"
                )));
            }
        };
        check(algorithm, certificate.algorithm)?;
        match algorithm {
            Algorithm::Rsa => Self::rsa(key, certificate),
            _ => Self::ecdsa(sec1(key).ok_or_else(broken)?.1, certificate),
        }
    }

    fn rsa(key: &[u8], certificate: &Certificate) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_der(key).map_err(|error| {
            KeyError::Unusable(format!(
                "the RSA key cannot be used ({error}); it must have 2048 to 4096 bits"
            ))
        })?;
        if pair.public().as_ref() == certificate.public_key {
            Ok(Self::Rsa(Box::new(pair)))
        } else {
            Err(KeyError::Mismatch)
        }
    }

    /// ring compares the public key of the certificate with that of the private one.
    fn ecdsa(scalar: &[u8], certificate: &Certificate) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            scalar,
            &certificate.public_key,
            &SystemRandom::new(),
        )
        .map(|pair| Self::Ecdsa(Box::new(pair)))
        .map_err(|error| match error.to_string().as_str() {
            "InconsistentComponents" => KeyError::Mismatch,
            other => KeyError::Unusable(format!("the ECDSA key cannot be used ({other})")),
        })
    }

    /// The name of its signatures, as AWS has it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "AWS4-X509-RSA-SHA256",
            Self::Ecdsa(_) => "AWS4-X509-ECDSA-SHA256",
        }
    }

    /// Signs the SHA-256 of a text; none if no random numbers can be had.
    pub(super) fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ecdsa(pair) => Some(pair.sign(&random, text).ok()?.as_ref().to_vec()),
        }
    }
}

/// Whether a key of one kind can sign, and for a certificate of the other.
fn check(key: Algorithm, certificate: Algorithm) -> Result<(), KeyError> {
    for algorithm in [key, certificate] {
        if let Algorithm::Other(name) = algorithm {
            return Err(KeyError::Unusable(format!(
                "the key is {name}; Roles Anywhere takes signatures with SHA-256 by RSA and ECDSA alone, and the relay makes those by RSA of 2048 to 4096 bits and ECDSA over P-256: have a certificate issued for such a key"
            )));
        }
    }
    if key == certificate { Ok(()) } else { Err(KeyError::Mismatch) }
}

/// What a PKCS#8 key is for, and the key in it (RFC 5958, section 2).
fn pkcs8(der: &[u8]) -> Option<(Algorithm, &[u8])> {
    let mut fields = Elements::of(der).within(der::SEQUENCE)?;
    let _version = fields.take(der::INTEGER)?;
    let algorithm = Algorithm::read(&mut fields)?;
    Some((algorithm, fields.take(der::OCTET_STRING)?))
}

/// What a SEC1 key is for, where it says so, and its number (RFC 5915, section 3). Within PKCS#8
/// it need not.
fn sec1(der: &[u8]) -> Option<(Algorithm, &[u8])> {
    let mut fields = Elements::of(der).within(der::SEQUENCE)?;
    let _version = fields.take(der::INTEGER)?;
    let scalar = fields.take(der::OCTET_STRING)?;
    let curve = fields.within(der::explicit(0));
    let curve = curve.and_then(|mut within| within.take(der::OBJECT_IDENTIFIER));
    Some((Algorithm::of_curve(curve), scalar))
}
