//! The session in an answer of STS, checked.

use std::time::Duration;

use aws_sdk_sts::types::Credentials;

use crate::clock::{Moment, Timestamp};
use crate::credential::{
    AccessKeyId, Credential, Lifetime, Principal, Propagation, Secret, Session, Validity,
};
use crate::failure::Stage;

/// An answer whose life differs by more than this from what was asked for points at a clock that is
/// wrong, or at an upstream that cuts lives short.
const SUSPICIOUS: Duration = Duration::from_secs(60);

/// A session that STS gave.
pub struct Issued {
    access_key_id: AccessKeyId,
    secret_access_key: Secret,
    session: Session,
    /// When it ends, as STS says.
    expiration: Timestamp,
    /// When the call began.
    started: Moment,
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
            started,
        })
    }

    /// The credentials of `principal`, which were `asked` to live so long.
    pub fn into_credential(self, asked: Duration, principal: Principal) -> Credential {
        let life = Lifetime::from_request(self.started, asked, Some(self.expiration));
        Credential {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session: self.session,
            validity: Validity::Until(life),
            principal,
            propagation: Propagation::Done,
        }
    }
}

/// Tells, once, that sessions of a role live for another time than was asked for.
#[derive(Default)]
pub struct OddLifetime {
    told: bool,
}

impl OddLifetime {
    /// Looks at a session that was `asked` for at `stage`.
    pub fn look(&mut self, issued: &Issued, asked: Duration, stage: &Stage) {
        let Issued { expiration, started, .. } = *issued;
        let wanted = started.wall + asked;
        let off = expiration.saturating_since(wanted).max(wanted.saturating_since(expiration));
        if off > SUSPICIOUS && !self.told {
            self.told = true;
            tracing::warn!(
                %stage,
                asked_s = asked.as_secs(),
                granted_s = expiration.saturating_since(started.wall).as_secs(),
                "the lifetime that was granted is not what was asked for; if the upstream did not choose it, this machine's clock is wrong"
            );
        }
    }
}
