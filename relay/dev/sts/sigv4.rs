//! The service's side of AWS Signature Version 4, written apart from any signer so that it can
//! find a signer's faults. Only the path `/` is served, which spares the encoding of paths.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::request::Parts;
use ring::{digest, hmac};

use super::Regions;
use super::answer::Refusal;
use super::query::hex_digit;
use crate::clock::{Moment, Timestamp};
use crate::credential::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "sts";
const TERMINATOR: &str = "aws4_request";

/// A signature is good for this long before and after its date.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// The header with a session's token.
pub(super) const TOKEN: &str = "x-amz-security-token";
const DATE: &str = "x-amz-date";

/// What a signature is made over.
pub(super) struct Signed {
    pub(super) head: Parts,
    /// The parameters in the URL, in SigV4's canonical form.
    pub(super) query: String,
    pub(super) body: Bytes,
}

/// A parsed `Authorization` header.
pub(super) struct Authorization<'a> {
    pub(super) key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
    signed_headers: &'a str,
    signature: Vec<u8>,
}

impl<'a> Authorization<'a> {
    /// Reads the header.
    pub(super) fn parse(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let header = headers.get(AUTHORIZATION).ok_or_else(|| {
            Refusal::forbidden(
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            )
        })?;
        let fields = header
            .to_str()
            .ok()
            .and_then(|text| text.trim().strip_prefix(ALGORITHM))
            .ok_or_else(|| incomplete("Authorization header requires AWS4-HMAC-SHA256."))?;
        let field = |name: &str| {
            fields
                .split(',')
                .filter_map(|field| field.trim().split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
                .ok_or_else(|| {
                    incomplete(format!("Authorization header requires '{name}' parameter."))
                })
        };
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let [key_id, date, region, service, terminator] = scope[..] else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            ));
        };
        let signature = unhex(field("Signature")?)
            .ok_or_else(|| incomplete("'Signature' must be hexadecimal."))?;
        Ok(Self {
            key_id,
            date,
            region,
            service,
            terminator,
            signed_headers: field("SignedHeaders")?,
            signature,
        })
    }

    /// Checks the request's signature by the key's secret.
    pub(super) fn verify(
        &self,
        signed: &Signed,
        secret: &Secret,
        regions: &Regions,
        now: Moment,
    ) -> Result<(), Refusal> {
        let date = header(&signed.head.headers, DATE).ok_or_else(|| {
            incomplete("Authorization header requires existence of a 'X-Amz-Date' header.")
        })?;
        self.check_scope(date, regions)?;
        check_date(date, now)?;
        self.check_signed_headers(&signed.head.headers)?;

        let canonical = self.canonical_request(signed);
        let scope = format!("{}/{}/{SERVICE}/{TERMINATOR}", self.date, self.region);
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hash(canonical.as_bytes()));
        let key = signing_key(secret, self.date, self.region, SERVICE);
        hmac::verify(&key, to_sign.as_bytes(), &self.signature).map_err(|_| {
            // As the real one does: what a caller logs of this must be scrubbed of its token.
            mismatch(format!(
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details.\n\nThe Canonical String for this request should have \
                 been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
            ))
        })
    }

    fn check_scope(&self, date: &str, regions: &Regions) -> Result<(), Refusal> {
        if !regions.contains(self.region) {
            return Err(mismatch(format!(
                "Credential should be scoped to a valid region, not '{}'.",
                self.region
            )));
        }
        if self.service != SERVICE {
            return Err(mismatch(format!(
                "Credential should be scoped to correct service: '{SERVICE}'."
            )));
        }
        if self.terminator != TERMINATOR {
            return Err(mismatch(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
                self.terminator
            )));
        }
        if !date.strip_prefix(self.date).is_some_and(|time| time.starts_with('T')) {
            return Err(mismatch(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}', from '{date}'.",
                self.date
            )));
        }
        Ok(())
    }

    /// What decides the meaning of a request must be under the signature.
    fn check_signed_headers(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let where_present =
            [TOKEN, CONTENT_TYPE.as_str()].into_iter().filter(|name| headers.contains_key(*name));
        for needed in [HOST.as_str(), DATE].into_iter().chain(where_present) {
            if !self.signed_headers.split(';').any(|name| name == needed) {
                return Err(mismatch(format!(
                    "'{needed}' must be a 'SignedHeader' in the AWS Authorization."
                )));
            }
        }
        match self.signed_headers.split(';').find(|name| !headers.contains_key(*name)) {
            Some(absent) => {
                Err(mismatch(format!("The signed header '{absent}' is not in the request.")))
            }
            None => Ok(()),
        }
    }

    fn canonical_request(&self, signed: &Signed) -> String {
        let mut text = format!("{}\n/\n{}\n", signed.head.method, signed.query);
        for name in self.signed_headers.split(';') {
            let values: Vec<String> = signed
                .head
                .headers
                .get_all(name)
                .iter()
                .map(|value| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
                })
                .collect();
            let _ = writeln!(text, "{name}:{}", values.join(","));
        }
        let _ = write!(text, "\n{}\n{}", self.signed_headers, hash(&signed.body));
        text
    }
}

fn check_date(text: &str, now: Moment) -> Result<(), Refusal> {
    let date = parse_date(text).ok_or_else(|| {
        incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })?;
    let (earliest, latest) = (now.before(SKEW).wall, now.wall + SKEW);
    if date < earliest {
        return Err(mismatch(format!(
            "Signature expired: {text} is now earlier than {} ({} - 15 min.)",
            basic(earliest),
            basic(now.wall)
        )));
    }
    if date > latest {
        return Err(mismatch(format!(
            "Signature not yet current: {text} is still later than {} ({} + 15 min.)",
            basic(latest),
            basic(now.wall)
        )));
    }
    Ok(())
}

/// Reads `YYYYMMDDTHHMMSSZ`.
fn parse_date(text: &str) -> Option<Timestamp> {
    if text.len() != 16 || text.get(8..9) != Some("T") || !text.ends_with('Z') {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to);
    let extended = format!(
        "{}-{}-{}{}:{}:{}",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 11)?,
        part(11, 13)?,
        part(13, 16)?
    );
    Timestamp::parse_rfc3339(&extended)
}

fn basic(at: Timestamp) -> String {
    at.to_string().replace(['-', ':'], "")
}

fn signing_key(secret: &Secret, date: &str, region: &str, service: &str) -> hmac::Key {
    let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let first = zeroize::Zeroizing::new(format!("AWS4{}", secret.expose()));
    [date, region, service, TERMINATOR]
        .into_iter()
        .fold(key(first.as_bytes()), |by, part| key(hmac::sign(&by, part.as_bytes()).as_ref()))
}

fn hash(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?)).collect()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn incomplete(message: impl Into<String>) -> Refusal {
    Refusal::bad_request("IncompleteSignature", message)
}

fn mismatch(message: impl Into<String>) -> Refusal {
    Refusal::forbidden("SignatureDoesNotMatch", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in AWS's documentation of the signing key's derivation.
    #[test]
    fn the_signing_key_is_derived_as_documented() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into());
        let expected = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
        let expected = hmac::Key::new(hmac::HMAC_SHA256, &unhex(expected).unwrap());
        let derived = signing_key(&secret, "20150830", "us-east-1", "iam");
        assert_eq!(hmac::sign(&derived, b"x").as_ref(), hmac::sign(&expected, b"x").as_ref());
    }

    #[test]
    fn dates_are_read_in_the_basic_format_alone() {
        let at = Timestamp::from_secs(1_795_565_230);
        assert_eq!(parse_date("20261125T000710Z"), Some(at));
        assert_eq!(basic(at), "20261125T000710Z");
        for text in ["2026-11-25T00:07:10Z", "20261125T000710", "20261125 000710Zé", ""] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
