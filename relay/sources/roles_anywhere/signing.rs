//! The signature of CreateSession: SigV4 with the certificate's key in the place of a secret key
//! (AWS's user guide of IAM Roles Anywhere, "Signing process").
//!
//! The ARNs stand in the query and the rest in the body, as AWS's own helper has it; its signatures
//! and these are compared in tests/e2e/test_anywhere_signing.py.

use std::fmt::Write;

use aws_smithy_types::base64;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Uri};
use ring::digest::{SHA256, digest};

use super::identity::Identity;
use crate::clock::Timestamp;

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_X509: HeaderName = HeaderName::from_static("x-amz-x509");
const X_AMZ_X509_CHAIN: HeaderName = HeaderName::from_static("x-amz-x509-chain");

/// A POST that is to be signed.
pub(super) struct Request<'a> {
    /// Where it goes; its query is [`query`]'s.
    pub(super) uri: &'a Uri,
    pub(super) region: &'a str,
    pub(super) body: &'a [u8],
}

impl Request<'_> {
    /// All its headers. None are there if one cannot be made of what it holds, or if nothing can
    /// be signed, for want of random numbers.
    pub(super) fn sign(&self, identity: &Identity, now: Timestamp) -> Option<HeaderMap> {
        let mut headers = self.headers(identity, now)?;
        let to_sign = self.string_to_sign(identity.key.algorithm(), &headers, now);
        let signature = hex(&identity.key.sign(to_sign.as_bytes())?);
        let authorization = format!(
            "{} Credential={}/{}, SignedHeaders={}, Signature={signature}",
            identity.key.algorithm(),
            identity.certificate.serial,
            self.scope(now),
            names(&headers)
        );
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).ok()?);
        Some(headers)
    }

    /// Every header that is signed.
    fn headers(&self, identity: &Identity, now: Timestamp) -> Option<HeaderMap> {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HOST, value(self.uri.authority()?.as_str())?);
        headers.insert(X_AMZ_DATE, value(&compact(now))?);
        let (leaf, chain) = identity.chain.split_first()?;
        headers.insert(X_AMZ_X509, value(&base64::encode(leaf))?);
        if !chain.is_empty() {
            let chain: Vec<_> = chain.iter().map(base64::encode).collect();
            headers.insert(X_AMZ_X509_CHAIN, value(&chain.join(","))?);
        }
        Some(headers)
    }

    fn string_to_sign(&self, algorithm: &str, headers: &HeaderMap, now: Timestamp) -> String {
        let canonical = hex(digest(&SHA256, self.canonical(headers).as_bytes()).as_ref());
        format!("{algorithm}\n{}\n{}\n{canonical}", compact(now), self.scope(now))
    }

    fn canonical(&self, headers: &HeaderMap) -> String {
        let mut text =
            format!("POST\n{}\n{}\n", self.uri.path(), self.uri.query().unwrap_or_default());
        for name in sorted(headers) {
            // Every one was made of a text above.
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}:{}", value.unwrap_or_default());
        }
        let body = hex(digest(&SHA256, self.body).as_ref());
        let _ = write!(text, "\n{}\n{body}", names(headers));
        text
    }

    fn scope(&self, now: Timestamp) -> String {
        let now = compact(now);
        let day = now.split('T').next().unwrap_or_default();
        format!("{day}/{}/rolesanywhere/aws4_request", self.region)
    }
}

/// A query in the form that is signed: sorted by name, everything but unreserved characters in
/// percent.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let mut parameters: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    parameters.sort_unstable();
    parameters.join("&")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn sorted(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn names(headers: &HeaderMap) -> String {
    sorted(headers).join(";")
}

/// `20261125T000710Z`.
fn compact(at: Timestamp) -> String {
    at.to_string().replace(['-', ':'], "")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
