//! The keys of an answer of STS, checked.

use aws_sdk_sts::types::Credentials;

use crate::clock::{Moment, Timestamp};
use crate::credential::{AccessKeyId, Secret, Session};

/// A session that STS gave.
pub struct Issued {
    /// The id of its key.
    pub access_key_id: AccessKeyId,
    /// The key.
    pub secret_access_key: Secret,
    /// Its token.
    pub session: Session,
    /// When it ends, as STS says.
    pub expiration: Timestamp,
}

impl Issued {
    /// What an answer to a call that began at `started` holds.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(keys: Option<Credentials>, started: Moment) -> Result<Self, String> {
        let garbage = |what: &str| format!("STS's answer has {what}");
        let keys = keys.ok_or_else(|| garbage("no Credentials"))?;
        let access_key_id = keys
            .access_key_id
            .parse()
            .map_err(|error| garbage(&format!("an AccessKeyId that cannot be right: {error}")))?;
        let expiration = keys
            .expiration
            .to_millis()
            .map(Timestamp::from_millis)
            .map_err(|_| garbage("an Expiration beyond the calendar"))?;
        if expiration <= started.wall {
            // The SDK takes an answer that was cut short for a whole one, with the epoch as its
            // Expiration and half a session token.
            return Err(garbage("an Expiration in the past; is this machine's clock right?"));
        }
        Ok(Self {
            access_key_id,
            secret_access_key: Secret::new(keys.secret_access_key),
            session: Session::Token(Secret::new(keys.session_token)),
            expiration,
        })
    }
}
