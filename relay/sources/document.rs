//! The document by which AWS's agents hand out credentials: the container endpoints' and the
//! metadata service's.

use serde::Deserialize;

use crate::clock::{Moment, Timestamp};
use crate::credential::{
    Credential, KeyIdError, Lifetime, Principal, Propagation, Secret, Session, Validity, scrub,
};

/// Its fields; others are let pass.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    code: Option<String>,
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    token: Option<Secret>,
    expiration: Option<String>,
    role_arn: Option<String>,
    account_id: Option<String>,
}

/// Why a document gives no credentials. No text of it holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It says that there are none.
    Refused { code: String, message: String },
    /// It is not what it must be.
    Garbled(String),
    /// They have ended, or will before they could be used.
    Expired(Timestamp),
}

/// Reads a document that came at `now`. The secrets that were `sent` for it may come back in what it says.
///
/// # Errors
/// Why it gives no credentials that can be used.
pub(super) fn read(body: &[u8], now: Moment, sent: &[&Secret]) -> Result<Credential, Unfit> {
    let document: Document = serde_json::from_slice(body).map_err(|error| {
        // serde_json quotes what it did not expect, which may be a key: only the place is told.
        let (line, column, bytes) = (error.line(), error.column(), body.len());
        let at = format!("line {line} column {column} of {bytes} bytes");
        Unfit::Garbled(format!("the answer is not a credentials document: {at}"))
    })?;
    if let Some(code) = document.code.as_deref().filter(|code| *code != "Success") {
        let message = document.message.unwrap_or_default();
        let told = |text: &str| scrub(text, sent.iter().copied());
        return Err(Unfit::Refused { code: told(code), message: told(&message) });
    }
    let credential = document.credential(now).map_err(Unfit::Garbled)?;
    match &credential.validity {
        Validity::Until(life) if !credential.usable(now) => Err(Unfit::Expired(life.expiry().wall)),
        Validity::Until(_) | Validity::Unlimited => Ok(credential),
    }
}

impl Document {
    /// # Errors
    /// Which field is not as it must be.
    fn credential(self, now: Moment) -> Result<Credential, String> {
        let missing = |name| move || format!("the answer has no {name}");
        let access_key_id = self.access_key_id.ok_or_else(missing("AccessKeyId"))?;
        let access_key_id = access_key_id
            .parse()
            .map_err(|error: KeyIdError| format!("the answer's AccessKeyId: {error}"))?;
        let secret_access_key = self.secret_access_key.filter(|key| !key.is_empty());
        // These are sessions: one without an end is half an answer.
        let expiration = self.expiration.ok_or_else(missing("Expiration"))?;
        let end = Timestamp::parse_rfc3339(&expiration)
            .ok_or("the answer's Expiration is not an RFC 3339 time")?;
        let role = self.role_arn.and_then(|arn| arn.parse().ok()).map(Principal::Role);
        let account = || self.account_id.and_then(|id| id.parse().ok()).map(Principal::Account);
        Ok(Credential {
            access_key_id,
            secret_access_key: secret_access_key.ok_or_else(missing("SecretAccessKey"))?,
            session: Session::of(self.token),
            validity: Validity::Until(Lifetime::until(now, end)),
            principal: role.or_else(account).unwrap_or(Principal::Unknown),
            propagation: Propagation::Done,
        })
    }
}

#[cfg(test)]
pub(super) mod fixtures {
    pub(crate) const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    pub(crate) const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLETOKEN";

    /// A document with this expiry, and more fields.
    pub(crate) fn document(expiration: &str, more: &str) -> String {
        format!(
            r#"{{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{KEY}","Token":"{TOKEN}","Expiration":"{expiration}"{more}}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;
    use std::time::Duration;

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_795_565_230), boot: Duration::from_secs(50) };

    fn after(secs: u64) -> String {
        (NOW.wall + Duration::from_secs(secs)).to_string()
    }

    #[test]
    fn a_document_of_any_agent_is_read() {
        let ecs = document(&after(3600), r#","RoleArn":"arn:aws:iam::111122223333:role/task""#);
        let credential = read(ecs.as_bytes(), NOW, &[]).unwrap();
        assert_eq!(credential.secret_access_key.expose(), KEY);
        assert!(matches!(&credential.session, Session::Token(token) if token.expose() == TOKEN));
        assert_eq!(credential.remaining(NOW), Some(Duration::from_secs(3600)));
        assert!(matches!(&credential.principal, Principal::Role(arn)
            if arn.as_str() == "arn:aws:iam::111122223333:role/task"));

        let eks = document("2026-11-25T02:00:00.123456789Z", r#","AccountId":"111122223333""#);
        let credential = read(eks.as_bytes(), NOW, &[]).unwrap();
        assert!(matches!(&credential.principal, Principal::Account(id)
            if id.as_str() == "111122223333"));

        let imds = document(&after(3600), r#","Code":"Success","Type":"AWS-HMAC""#);
        assert!(matches!(read(imds.as_bytes(), NOW, &[]).unwrap().principal, Principal::Unknown));
    }

    #[test]
    fn what_has_ended_or_is_about_to_is_not_given_out() {
        for left in [0, 15] {
            let refused = read(document(&after(left), "").as_bytes(), NOW, &[]).unwrap_err();
            assert_eq!(refused, Unfit::Expired(NOW.wall + Duration::from_secs(left)));
        }
        assert!(read(document(&after(17), "").as_bytes(), NOW, &[]).is_ok());
        assert!(read(document("2001-01-01T00:00:00Z", "").as_bytes(), NOW, &[]).is_err());
    }

    #[test]
    fn another_code_than_success_is_a_refusal() {
        let said = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume"}"#;
        assert_eq!(
            read(said.as_bytes(), NOW, &[]).unwrap_err(),
            Unfit::Refused {
                code: "AssumeRoleUnauthorizedAccess".to_owned(),
                message: "EC2 cannot assume".to_owned()
            }
        );
    }

    #[test]
    fn a_garbled_one_is_explained_without_its_text() {
        let whole = document(&after(3600), "");
        for (text, said) in [
            (String::new(), "line 1 column 0 of 0 bytes"),
            (KEY.to_owned(), "not a credentials document"),
            (whole[..whole.len() / 2].to_owned(), "not a credentials document"),
            (whole.replace("ASIAIOSFODNN7EXAMPLE", KEY), "AccessKeyId: an access key id is 16"),
            (whole.replace("AccessKeyId", "Id"), "has no AccessKeyId"),
            (whole.replace("SecretAccessKey", "Key"), "has no SecretAccessKey"),
            (whole.replace("Expiration", "Ends"), "has no Expiration"),
            (whole.replace(&format!("\"{}\"", after(3600)), "null"), "has no Expiration"),
            (whole.replace(KEY, ""), "has no SecretAccessKey"),
            (whole.replace(&format!("\"{KEY}\""), "7"), "not a credentials document"),
            (whole.replace(&after(3600), KEY), "Expiration is not an RFC 3339 time"),
            ("[]".to_owned(), "not a credentials document"),
            ("{}".to_owned(), "has no AccessKeyId"),
        ] {
            let Err(Unfit::Garbled(why)) = read(text.as_bytes(), NOW, &[]) else {
                panic!("{text} was not refused as garbled");
            };
            assert!(why.contains(said) && !why.contains(&KEY[..16]), "{why}");
        }
    }
}
