//! GetSessionToken: a session in the place of the long-lived keys of a user, on which several SDKs
//! fail (endpoint-contract section 3).

use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::config;
use crate::credential::{AccessKeyId, Credential, Principal};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sts::{Clients, Issued, Shared, options};
use crate::transport::TlsError;

const OPERATION: &str = "GetSessionToken";

/// STS grants no shorter session (the API reference's page on GetSessionToken).
const SHORTEST: Duration = Duration::from_secs(900);

/// One GetSessionToken, ready to be called.
pub struct Exchange {
    duration: Duration,
    sts: Shared,
    metrics: ProfileMetrics,
    /// The newest session of each of the last two sets of keys: a session dies with its user, and
    /// may still be served while that of the next user is tried out.
    sessions: [Option<Exchanged>; 2],
}

struct Exchanged {
    keys: AccessKeyId,
    session: AccessKeyId,
}

impl Exchange {
    /// An exchange for sessions of `duration`.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(
        duration: Duration,
        settings: &config::Sts,
        clients: &mut Clients,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let sts = clients.get(settings)?;
        Ok(Self { duration, sts, metrics, sessions: [None, None] })
    }

    /// A session of the user whose keys these are. It ends no later than they do, since the user
    /// goes with them, and AWS knows it no sooner than them.
    ///
    /// # Errors
    /// With STS's own words, scrubbed, as its reason.
    pub async fn exchange(
        &mut self,
        keys: &Credential,
        clock: &Clock,
    ) -> Result<Credential, Failure> {
        let asked =
            keys.remaining(clock.now()).map_or(self.duration, |left| left.min(self.duration));
        let seconds = options::seconds(asked.max(SHORTEST));
        let call = self.sts.client().get_session_token().duration_seconds(seconds).customize();
        let answer = self
            .sts
            .call(keys, clock, |signed| call.config_override(signed).send())
            .await
            .and_then(|(output, started)| {
                Issued::read(output.credentials, started)
                    .map(|issued| self.credential(issued, keys, started))
                    .map_err(|garbage| (Cause::Transient, garbage))
            });
        let label = answer.as_ref().map_or_else(|(cause, _)| cause.as_str(), |_| "success");
        self.metrics.upstream_call("sts", OPERATION, label);
        let session =
            answer.map_err(|(cause, reason)| Failure::new(cause, Stage::Sts(OPERATION), reason))?;
        self.remember(keys, &session);
        Ok(session)
    }

    fn credential(&self, issued: Issued, keys: &Credential, started: Moment) -> Credential {
        let longest = keys.remaining(started).map_or(self.duration, |left| left.min(self.duration));
        let session = issued.into_credential(longest, Principal::Unknown);
        Credential { propagation: keys.propagation, ..session }
    }

    fn remember(&mut self, keys: &Credential, session: &Credential) {
        let [newest, before] = &mut self.sessions;
        if newest.as_ref().is_some_and(|known| known.keys != keys.access_key_id) {
            *before = newest.take();
        }
        *newest = Some(Exchanged {
            keys: keys.access_key_id.clone(),
            session: session.access_key_id.clone(),
        });
    }

    /// The newest session that was had for these keys.
    pub fn session_of(&self, keys: &AccessKeyId) -> Option<&AccessKeyId> {
        let known = |exchanged: &&Exchanged| exchanged.keys == *keys;
        self.sessions.iter().flatten().find(known).map(|exchanged| &exchanged.session)
    }
}
