//! What Vault answers, as far as the relay reads it. Every field may be missing: versions differ
//! (upstreams section 1), and what is needed is checked where it is needed.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::credential::Secret;

/// What stands around every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<T> {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) lease_id: String,
    /// Seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) lease_duration: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) renewable: bool,
    pub(super) data: Option<T>,
    pub(super) auth: Option<Auth>,
}

/// A token that was given or renewed.
#[derive(Debug, Deserialize)]
pub(super) struct Auth {
    pub(super) client_token: Secret,
    /// Seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) lease_duration: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) renewable: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) token_type: String,
    /// Zero where the uses are not counted.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) num_uses: u64,
}

/// What a token says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct TokenData {
    /// Seconds; zero for a token without an end.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ttl: u64,
    /// Nothing for a token without an end.
    #[serde(default)]
    pub(super) expire_time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) renewable: bool,
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    pub(super) token_type: String,
    /// Zero where the uses are not counted.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) num_uses: u64,
}

/// Where a wrapping token was made.
#[derive(Debug, Deserialize)]
pub(super) struct WrappingData {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) creation_path: String,
}

/// A secret id that was unwrapped.
#[derive(Debug, Deserialize)]
pub(super) struct SecretIdData {
    pub(super) secret_id: Secret,
}

/// Keys of any kind; upstreams section 1 says which fields each has.
#[derive(Debug, Deserialize)]
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    #[serde(default)]
    pub(super) session_token: Option<Secret>,
    /// The same token once more: assumed_role and federation_token have it.
    #[serde(default)]
    pub(super) security_token: Option<Secret>,
    /// The session's ARN: assumed_role alone has it.
    #[serde(default)]
    pub(super) arn: Option<String>,
    /// Seconds that STS granted.
    #[serde(default)]
    pub(super) ttl: Option<u64>,
    /// When Vault rotates static keys, RFC 3339; since 1.19.
    #[serde(default)]
    pub(super) expiration: Option<String>,
}

/// What an error says. Every one of Vault's has the list, if an empty one.
#[derive(Debug, Deserialize)]
pub(super) struct Errors {
    pub(super) errors: Vec<String>,
}

/// No life is longer, whatever an answer says: it must not lead beyond the calendar.
const LONGEST: u64 = 10 * 365 * 86_400;

/// A life that an answer gives in seconds.
pub(super) fn seconds(said: u64) -> Duration {
    Duration::from_secs(said.min(LONGEST))
}

/// A null counts as a field that is missing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
