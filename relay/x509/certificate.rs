//! A certificate, as far as signing with its key and renewing it need to know it.

use std::time::Duration;

use super::algorithm::Algorithm;
use super::der::{self, Elements};
use crate::clock::Timestamp;

/// The longest serial number that is legal (RFC 5280, section 4.1.2.2).
const LONGEST_SERIAL: usize = 20;

/// What of a certificate is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Its serial number in decimal digits: what stands in the place of an access key id.
    pub(crate) serial: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// What its key is for.
    pub(crate) algorithm: Algorithm,
    /// The public key: a point for ECDSA, PKCS#1 for RSA.
    pub(crate) public_key: Vec<u8>,
}

impl Certificate {
    /// Reads one; none if it is not one that DER and RFC 5280 allow.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Elements::of(der).within(der::SEQUENCE)?;
        let mut fields = certificate.within(der::SEQUENCE)?;
        // Version 1 has no such field.
        let _version = fields.take(der::explicit(0));
        let serial = decimal(fields.take(der::INTEGER)?)?;
        let _signature = fields.take(der::SEQUENCE)?;
        let _issuer = fields.take(der::SEQUENCE)?;
        let mut validity = fields.within(der::SEQUENCE)?;
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let _subject = fields.take(der::SEQUENCE)?;
        let mut key = fields.within(der::SEQUENCE)?;
        let algorithm = Algorithm::read(&mut key)?;
        let public_key = key.bits()?.to_vec();
        Some(Self { serial, not_before, not_after, algorithm, public_key })
    }

    /// Whether so little of its life is left that whoever renews it is late: less than a tenth.
    /// cert-manager renews with a third left, SPIRE with half.
    pub(crate) fn renewal_is_late(&self, now: Timestamp) -> bool {
        self.left(now) < self.not_after.saturating_since(self.not_before) / 10
    }

    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        self.not_after.saturating_since(now)
    }
}

/// A positive integer in decimal digits.
fn decimal(integer: &[u8]) -> Option<String> {
    let bytes = match integer {
        [0, rest @ ..] if !rest.is_empty() => rest,
        // The highest bit is a sign.
        [first, ..] if *first < 0x80 => integer,
        _ => return None,
    };
    if bytes.len() > LONGEST_SERIAL {
        return None;
    }
    // The digits, lowest first.
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u16::from(*byte);
        for digit in &mut digits {
            carry += u16::from(*digit) << 8;
            // Below 10, by the remainder.
            *digit = (carry % 10) as u8;
            carry /= 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    Some(digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect())
}

/// A time, in one of the two forms that RFC 5280 (section 4.1.2.5) allows.
fn time(elements: &mut Elements<'_>) -> Option<Timestamp> {
    let (tag, text) = elements.next()?;
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (der::UTC_TIME, 12) => {
            let (year, rest) = text.split_at(2);
            // Two digits mean 1950 to 2049.
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        (der::GENERALIZED_TIME, 14) => (text[..4].to_owned(), &text[4..]),
        _ => return None,
    };
    let part = |at: usize| &rest[at..at + 2];
    Timestamp::parse_rfc3339(&format!(
        "{year}-{}-{}T{}:{}:{}Z",
        part(0),
        part(2),
        part(4),
        part(6),
        part(8)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_told_in_decimal() {
        for (bytes, digits) in [
            (&[0][..], Some("0")),
            (&[9], Some("9")),
            (&[1, 0], Some("256")),
            (&[0, 0xff], Some("255")),
            (&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some("18446744073709551615")),
            (&[0x7f; 20], Some("727885129180488904360266563744972327436484050815")),
            (&[0x80], None),
            (&[], None),
            (&[1; 21], None),
        ] {
            assert_eq!(decimal(bytes).as_deref(), digits, "{bytes:?}");
        }
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let read = |tag: u8, text: &str| {
            let mut element = vec![tag, u8::try_from(text.len()).unwrap()];
            element.extend(text.bytes());
            time(&mut Elements::of(&element)).map(|at| at.to_string())
        };
        let utc = |text| read(der::UTC_TIME, text);
        assert_eq!(utc("491231235959Z").as_deref(), Some("2049-12-31T23:59:59Z"));
        assert_eq!(utc("500101000000Z").as_deref(), Some("1950-01-01T00:00:00Z"));
        let generalized = read(der::GENERALIZED_TIME, "20500101000000Z");
        assert_eq!(generalized.as_deref(), Some("2050-01-01T00:00:00Z"));
        for wrong in ["", "Z", "491231235959", "4912312359Z", "49123123595äZ", "491331235959Z"] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }

    /// A certificate for `days`, made now.
    fn made(algorithm: &'static rcgen::SignatureAlgorithm) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["app".to_owned()]).unwrap();
        parameters.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xff; 20]));
        parameters.not_before = rcgen::date_time_ymd(2026, 11, 25);
        parameters.not_after = rcgen::date_time_ymd(2056, 12, 25);
        (parameters.self_signed(&key).unwrap(), key)
    }

    #[test]
    fn what_is_needed_is_found_in_a_certificate() {
        let (certificate, key) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let read = Certificate::read(certificate.der()).unwrap();
        assert_eq!(read.serial, "1461501637330902918203684832716283019655932542975");
        assert_eq!(read.not_before.to_string(), "2026-11-25T00:00:00Z");
        assert_eq!(read.not_after.to_string(), "2056-12-25T00:00:00Z");
        assert_eq!(read.public_key, key.public_key_raw());
        assert_eq!(read.algorithm, Algorithm::EcdsaP256);
        let (other, _) = made(&rcgen::PKCS_ED25519);
        let other = Certificate::read(other.der()).unwrap();
        assert_eq!(other.algorithm, Algorithm::Other("Ed25519"));
    }

    #[test]
    fn a_renewal_is_late_in_the_last_tenth() {
        let (certificate, _) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let read = Certificate::read(certificate.der()).unwrap();
        let days = read.not_after.saturating_since(read.not_before).as_secs() / 86_400;
        let before = |n: u64| {
            Timestamp::from_secs(read.not_after.as_secs() - i64::try_from(n * 86_400).unwrap())
        };
        assert!(!read.renewal_is_late(before(days / 10 + 1)));
        assert!(read.renewal_is_late(before(days / 10 - 1)));
    }

    #[test]
    fn neither_half_a_certificate_nor_a_spoilt_one_can_make_it_panic() {
        let (certificate, _) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let whole = certificate.der();
        for end in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..end]), None, "{end}");
        }
        let mut spoilt = whole.to_vec();
        for at in 0..spoilt.len() {
            for flip in [0x01, 0x80, 0xff] {
                spoilt[at] ^= flip;
                // Most are none; some differ where nobody looks.
                let _ = Certificate::read(&spoilt);
                spoilt[at] ^= flip;
            }
        }
    }
}
