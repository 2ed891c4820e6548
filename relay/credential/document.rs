//! A credential in the JSON forms that AWS's clients read.

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

use super::secret::wiped;
use super::{Credential, Principal, Secret};

/// AWS's container-credentials document; endpoint-contract section 3 says why each field is as it
/// is. A field that is not known is left out: no client bears an empty string or a null.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Container<'a> {
    code: &'static str,
    /// In the document of the instance metadata service alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated: Option<String>,
    #[serde(rename = "Type")]
    kind: &'static str,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

impl<'a> Container<'a> {
    /// Its keys, and nothing of whose they are.
    fn of(credential: &'a Credential) -> Self {
        Self {
            code: "Success",
            last_updated: None,
            kind: "AWS-HMAC",
            access_key_id: credential.access_key_id.as_str(),
            secret_access_key: credential.secret_access_key.expose(),
            token: credential.session.token().map(Secret::expose),
            expiration: expiration(credential),
            role_arn: None,
            account_id: None,
        }
    }
}

/// The body of the endpoint's 200 answer, rendered once per credential.
pub fn container(credential: &Credential) -> Bytes {
    let (role_arn, account_id) = match &credential.principal {
        Principal::Role(arn) => (Some(arn.as_str()), Some(arn.account().as_str())),
        Principal::Account(account) => (None, Some(account.as_str())),
        Principal::Unknown => (None, None),
    };
    render(&Container { role_arn, account_id, ..Container::of(credential) })
}

/// The body by which the instance metadata service tells a role's credentials (endpoint-contract
/// section 6).
pub fn metadata(credential: &Credential, last_updated: Timestamp) -> Bytes {
    let last_updated = Some(last_updated.to_string());
    render(&Container { last_updated, ..Container::of(credential) })
}

/// What a `credential_process` prints: version 1 of the AWS CLI's format.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Process<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<&'a str>,
}

/// The output of a `credential_process`, from the parts that the endpoint's document has too.
pub fn process(
    access_key_id: &str,
    secret_access_key: &Secret,
    session_token: Option<&Secret>,
    expiration: Option<&str>,
) -> Bytes {
    render(&Process {
        version: 1,
        access_key_id,
        secret_access_key: secret_access_key.expose(),
        session_token: session_token.map(Secret::expose),
        expiration,
    })
}

fn expiration(credential: &Credential) -> Option<String> {
    credential.validity.expiry().map(|expiry| expiry.wall.to_string())
}

/// More than any document has: what a growing vector leaves behind would not be wiped.
const ROOM: usize = 8 << 10;

fn render(document: &impl Serialize) -> Bytes {
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    // A flat struct of strings has no map key and no number that JSON cannot hold: serde_json
    // can fail on those alone when it writes to memory.
    let written = serde_json::to_writer(&mut *text, document);
    written.map(|()| wiped(text.to_vec())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Moment, Timestamp};
    use crate::credential::Validity;
    use crate::credential::{Session, fixtures};

    fn issued() -> Moment {
        Moment { wall: Timestamp::from_secs(1_795_561_630), boot: Duration::ZERO }
    }

    #[test]
    fn the_container_document_is_the_contracts() {
        let mut credential = fixtures::session(1, issued(), Duration::from_secs(3600));
        credential.principal =
            Principal::Role("arn:aws:iam::111122223333:role/hub".parse().unwrap());
        assert_eq!(
            container(&credential),
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIATESTTESTTES00001","SecretAccessKey":"secret-key-of-test-1","Token":"session-token-of-test-1","Expiration":"2026-11-25T00:07:10Z","RoleArn":"arn:aws:iam::111122223333:role/hub","AccountId":"111122223333"}"#
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut credential = fixtures::session(1, issued(), Duration::from_secs(3600));
        credential.session = Session::None;
        credential.validity = Validity::Unlimited;
        assert_eq!(
            container(&credential),
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIATESTTESTTES00001","SecretAccessKey":"secret-key-of-test-1"}"#
        );
    }
}
