//! A static role: the keys of one user, which Vault rotates by its own clock.
//!
//! When Vault rotates, the key from before normally lives through one more rotation. So it is served
//! on past the rotation, and Vault is asked from then on until another key is there (upstreams
//! section 1).

use std::time::Duration;

use super::client::{Ask, Operation};
use super::errors::fail;
use super::reader::{Read, Reader};
use super::session::Need;
use super::wire::Keys;
use crate::clock::{Moment, Timestamp};
use crate::config::values::{VaultName, VaultPath};
use crate::credential::{
    AccessKeyId, Credential, KeyIdError, Lifetime, Principal, Propagation, Session, Validity,
};
use crate::failure::{Cause, Failure};
use crate::sources::{Fetch, Freshness, Source, Suspect};

/// How long a key is served past the rotation that replaces it, at most: every client has it no
/// longer than that, and a rotation and the check of the new key fit in.
const OVERLAP: Duration = Duration::from_secs(900);

/// Vault rotates no more often, and looks every minute for what is due (upstreams section 1).
const TICK: Duration = Duration::from_secs(60);

/// A Vault before 1.19 does not say when it rotates: it is asked this often.
const UNSAID: Duration = Duration::from_secs(300);

/// The source.
pub(super) struct StaticRole {
    reader: Reader,
    mount: VaultPath,
    name: VaultName,
    /// The key that was seen last.
    key: Option<AccessKeyId>,
    /// The longest time to the rotation of that key that was seen: the period is at least that long.
    period: Duration,
}

impl StaticRole {
    pub(super) fn new(reader: Reader, mount: VaultPath, name: VaultName) -> Self {
        Self { reader, mount, name, key: None, period: TICK }
    }

    async fn give(&mut self) -> Result<Credential, Failure> {
        let ask = Ask::get(format!("{}/static-creds/{}", self.mount, self.name));
        let read = self.reader.read(Need::Read, Operation::ReadStatic, &ask).await?;
        let Read { answer, started, .. } = read.map_err(|refusal| self.reader.explain(&refusal))?;
        let garbage = |what: String| fail(Cause::Transient, format!("Vault's answer has {what}"));
        let keys: Keys = answer.data.ok_or_else(|| garbage("no data".to_owned()))?;
        let access_key_id: AccessKeyId =
            keys.access_key.trim().parse().map_err(|error: KeyIdError| {
                garbage(format!("an access_key that cannot be right: {error}"))
            })?;
        if self.key.as_ref() != Some(&access_key_id) {
            // The period may be another by now.
            self.key = Some(access_key_id.clone());
            self.period = TICK;
        }
        Ok(Credential {
            access_key_id,
            secret_access_key: keys.secret_key,
            session: Session::None,
            validity: self.validity(keys.expiration.as_deref(), started),
            principal: Principal::Unknown,
            propagation: Propagation::Pending,
        })
    }

    fn validity(&mut self, expiration: Option<&str>, now: Moment) -> Validity {
        let said = expiration.and_then(Timestamp::parse_rfc3339);
        let (rotated, overlap) = match said {
            Some(at) => {
                self.period = self.period.max(at.saturating_since(now.wall));
                // One that is past is a rotation that is late: the key is still the latest.
                (at.max(now.wall), OVERLAP.min(self.period))
            }
            None => (now.wall + UNSAID, OVERLAP - UNSAID),
        };
        Validity::Until(Lifetime::replaced(now, rotated, overlap))
    }
}

impl Source for StaticRole {
    fn kind(&self) -> &'static str {
        "vault"
    }

    /// Whatever is wanted: Vault alone makes new ones.
    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.give())
    }

    /// Static keys outlive every token, but the session is kept alive by all who use it.
    fn suspect(&mut self) -> Suspect<'_> {
        let Reader { session, metrics, .. } = &self.reader;
        Box::pin(async {
            session.keep_alive(metrics).await;
            std::future::pending().await
        })
    }
}
