//! What a key is for.

use super::der::{self, Elements};

/// Object identifiers, as DER has them.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rsa,
    EcdsaP256,
    /// One that cannot be used here: its name.
    Other(&'static str),
}

impl Algorithm {
    /// Reads an AlgorithmIdentifier; none if there is none.
    pub(crate) fn read(elements: &mut Elements<'_>) -> Option<Self> {
        let mut identifier = elements.within(der::SEQUENCE)?;
        Some(match identifier.take(der::OBJECT_IDENTIFIER)? {
            RSA => Self::Rsa,
            EC => Self::of_curve(identifier.take(der::OBJECT_IDENTIFIER)),
            RSA_PSS => Self::Other("RSASSA-PSS"),
            ED25519 => Self::Other("Ed25519"),
            _ => Self::Other("of another kind"),
        })
    }

    /// The curve of an EC key, by its object identifier.
    pub(crate) fn of_curve(curve: Option<&[u8]>) -> Self {
        match curve {
            Some(P256) => Self::EcdsaP256,
            Some(P384) => Self::Other("ECDSA over P-384"),
            Some(P521) => Self::Other("ECDSA over P-521"),
            _ => Self::Other("ECDSA over another curve"),
        }
    }
}
