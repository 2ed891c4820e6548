//! What must never be told: checked of every text that a person may come to read.

use credential_relay::clock::Moment;
use credential_relay::credential::Credential;
use credential_relay::failure::Failure;
use credential_relay::store::Served;

/// A part of every secret in the corpus. Where an input has it in secret places alone, nothing may tell it.
pub const CANARY: &str = "S3CRET";

/// Far longer than any failure's reason is: upstreams' words are cut, and there are few of them.
const LONGEST_FAILURE: usize = 4096;

/// The members of upstreams' answers in JSON whose values may be told; any other may be a key.
const TOLD: [&str; 20] = [
    "AccessKeyId",
    "AccountId",
    "Code",
    "Expiration",
    "Message",
    "RoleArn",
    "accessKeyId",
    "access_key",
    "arn",
    "code",
    "creation_path",
    "errors",
    "expiration",
    "expire_time",
    "lease_id",
    "message",
    "request_id",
    "roleArn",
    "token_type",
    "type",
];

/// And those in XML that are secrets.
const SECRET: [&str; 2] = ["SecretAccessKey", "SessionToken"];

/// Fails the execution if a text has a part of a secret in it.
pub fn assert_untold(place: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{place} tells a secret: {text}");
    }
}

/// Whether the canary stands in an upstream's answers as the value of secret fields alone.
pub(crate) fn is_in_secret_fields_alone(text: &str) -> bool {
    text.match_indices(CANARY).all(|(at, _)| is_secret_value(&text[..at]))
}

/// Whether what comes next is within a value that may be a secret: `"name": "…` or `<name>…`.
fn is_secret_value(before: &str) -> bool {
    let Some(start) = before.rfind(['"', '>', '<', '\\', '\n', '\r']) else { return false };
    let (before, opening) = (&before[..start], before.as_bytes()[start]);
    match opening {
        b'"' => before
            .trim_end()
            .strip_suffix(':')
            .and_then(|rest| rest.trim_end().strip_suffix('"'))
            .and_then(|rest| rest.rsplit_once('"'))
            .is_some_and(|(_, name)| !TOLD.contains(&name)),
        b'>' => before.rsplit_once('<').is_some_and(|(_, name)| SECRET.contains(&name)),
        _ => false,
    }
}

/// What holds of every failure; with the secrets that it must not tell.
pub fn check_failure(failure: &Failure, secrets: &[&str]) {
    for text in [failure.to_string(), format!("{failure:?}")] {
        assert_untold("a failure", &text, secrets);
        assert!(text.len() <= LONGEST_FAILURE, "{} bytes: {text}", text.len());
        assert!(!text.contains(char::is_control), "a line's end or worse: {text:?}");
    }
}

/// What holds of every credential: it does not print its secrets, and its answer is what clients read.
pub fn check_credential(credential: Credential, now: Moment) {
    let printed = format!("{credential:?}");
    for secret in credential.secrets().filter(|secret| secret.expose().contains(CANARY)) {
        assert_untold("a credential's debug print", &printed, &[secret.expose()]);
    }
    let Ok(served) = Served::new(credential, now) else { return };
    let body = served.body();
    assert!(body.len() < 10_000, "{} bytes", body.len());
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&body).expect("the answer is an object");
    assert!(fields.values().all(|value| value.as_str().is_some_and(|text| !text.is_empty())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_places_are_known() {
        for (text, alone) in [
            (r#"{"data":{"secret_key": "xS3CRET","n":1}}"#, true),
            ("<SecretAccessKey>S3CRETx</SecretAccessKey>", true),
            (r#"{"auth":"S3CRET"}"#, true),
            (r#"{"errors":["S3CRET"]}"#, false),
            (r#"{"arn":"S3CRET"}"#, false),
            (r#"{"errors":["\"token\":\"S3CRET"]}"#, false),
            ("<Message>S3CRET</Message>", false),
            (r#"{"token":"S3CRET"} S3CRET"#, false),
        ] {
            assert_eq!(is_in_secret_fields_alone(text), alone, "{text}");
        }
    }
}
