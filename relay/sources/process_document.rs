//! The JSON form that a `credential_process` prints: version 1 of the AWS CLI's.

use std::fmt;

use serde::Deserialize;

use crate::clock::{Moment, Timestamp};
use crate::credential::{
    AccessKeyId, Credential, KeyIdError, Lifetime, Principal, Propagation, Secret, Session,
    Validity,
};
use crate::failure::Cause;

/// A document has five short fields, of which the session token is the longest: some kilobytes.
pub(super) const LARGEST: u64 = 64 << 10;

/// What the SDKs read; other fields are let pass, as they do.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: u64,
    access_key_id: String,
    secret_access_key: Secret,
    #[serde(default)]
    session_token: Option<Secret>,
    #[serde(default)]
    expiration: Option<String>,
}

/// Why no keys could be had: the class, and words without any of the text that was read.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) cause: Cause,
    pub(super) reason: String,
}

impl Unfit {
    pub(super) fn new(cause: Cause, reason: impl fmt::Display) -> Self {
        Self { cause, reason: reason.to_string() }
    }
}

/// Reads a document, at `now`.
///
/// # Errors
/// What is wrong with it, or that its keys have expired.
pub(super) fn parse(content: &[u8], now: Moment) -> Result<Credential, Unfit> {
    let misconfigured = |reason: &dyn fmt::Display| Unfit::new(Cause::Misconfigured, reason);
    let document: Document = serde_json::from_slice(content).map_err(|error| {
        // Half a document is one that is being written. serde_json quotes what it did not
        // expect, which may be a key: only the place is told.
        let cause = if error.is_data() { Cause::Misconfigured } else { Cause::Transient };
        let (line, column) = (error.line(), error.column());
        Unfit::new(
            cause,
            format!(
                "line {line} column {column} is not as it must be; write {{\"Version\":1,\"AccessKeyId\":\"…\",\"SecretAccessKey\":\"…\"}}, with SessionToken and Expiration if there are any"
            ),
        )
    })?;
    if document.version != 1 {
        let said = format!("Version is {}; 1 is the only one known", document.version);
        return Err(misconfigured(&said));
    }
    let access_key_id: AccessKeyId = document
        .access_key_id
        .trim()
        .parse()
        .map_err(|error: KeyIdError| misconfigured(&format!("AccessKeyId: {error}")))?;
    let validity = match &document.expiration {
        None => Validity::Unlimited,
        Some(text) => {
            let end = Timestamp::parse_rfc3339(text).ok_or_else(|| {
                misconfigured(&"Expiration is not an RFC 3339 time such as 2026-11-25T00:07:10Z")
            })?;
            Validity::Until(Lifetime::until(now, end))
        }
    };
    let credential = Credential {
        access_key_id,
        secret_access_key: document.secret_access_key.trimmed(),
        session: Session::of(document.session_token.map(|token| token.trimmed())),
        validity,
        principal: Principal::Unknown,
        propagation: Propagation::Done,
    };
    if credential.usable(now) {
        Ok(credential)
    } else {
        Err(Unfit::new(Cause::StaleCaller, "the credentials in it have expired"))
    }
}
