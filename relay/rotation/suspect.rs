//! Keys that may have died before their time: they are served until AWS says that they are dead,
//! and never again from then on.

use std::sync::Arc;

use super::Rotation;
use crate::credential::{AccessKeyId, Credential};
use crate::failure::{Cause, Failure, Stage};
use crate::store::Snapshot;

/// What is feared of keys that were served.
#[derive(Debug, Default)]
pub enum Suspicion {
    /// Nothing.
    #[default]
    None,
    /// The source said that these may be dead.
    Of(AccessKeyId),
    /// AWS said that these are.
    Dead(AccessKeyId),
}

impl Rotation {
    /// Notes that keys may be dead, and says whether they are those that are held.
    pub(super) fn suspects(&mut self, id: AccessKeyId) -> bool {
        let held = match self.publisher.held() {
            Snapshot::Available(held, _) => held.credential().access_key_id == id,
            Snapshot::Pending | Snapshot::Unavailable(_) => false,
        };
        if held {
            tracing::warn!(
                profile = %self.profile,
                access_key_id = %id,
                "the key may be dead before its time: fetching another"
            );
            self.suspicion = Suspicion::Of(id);
        }
        held
    }

    /// Asks about the keys that are held, if they are suspect, and withdraws them if they are dead.
    pub(super) async fn judge(&mut self) {
        let (Suspicion::Of(id), Some(proof)) = (&self.suspicion, &self.proof) else {
            return;
        };
        let held = match self.publisher.held() {
            Snapshot::Available(held, _) if held.credential().access_key_id == *id => held,
            Snapshot::Available(..) | Snapshot::Pending | Snapshot::Unavailable(_) => {
                self.suspicion = Suspicion::None;
                return;
            }
        };
        match proof.ask(held.credential()).await {
            Err(failure) if failure.cause == Cause::StaleCaller => {
                let id = id.clone();
                tracing::warn!(
                    profile = %self.profile,
                    access_key_id = %id,
                    reason = failure.reason,
                    "the key is dead before its time: withdrawn"
                );
                let reason = format!("the key {id} is dead before its time: {}", failure.reason);
                self.publisher.withdraw(Arc::new(Failure { reason, ..failure }));
                self.metrics.withdrawn();
                self.audit.withdrawn(&self.profile, &id);
                self.suspicion = Suspicion::Dead(id);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Refuses keys that AWS said are dead, whatever the source says of them.
    pub(super) fn alive(&self, keys: Credential) -> Result<Credential, Failure> {
        match &self.suspicion {
            Suspicion::Dead(id) if *id == keys.access_key_id => Err(Failure::new(
                Cause::StaleCaller,
                Stage::Relay,
                format!("the source gave the key {id} again, which is dead"),
            )),
            Suspicion::Dead(_) | Suspicion::Of(_) | Suspicion::None => Ok(keys),
        }
    }
}
