//! The leases of IAM users that live, so that they can be revoked when the relay ends.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use super::client::{Ask, Call, Operation};
use super::session::{Session, Token};
use crate::clock::Moment;
use crate::config::values::VaultNamespace;
use crate::credential::scrub;
use crate::metrics::ProfileMetrics;

/// A lease's id, which tells nothing but its role.
pub(super) type LeaseId = Arc<str>;

/// One that lives.
#[derive(Clone)]
struct Live {
    id: LeaseId,
    end: Moment,
    session: Session,
    token: Arc<Token>,
    namespace: VaultNamespace,
    metrics: ProfileMetrics,
}

/// All of them. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Leases(Arc<Mutex<Vec<Live>>>);

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leases")
    }
}

/// Who holds a lease.
pub(super) struct Holder<'a> {
    pub(super) session: &'a Session,
    pub(super) token: &'a Arc<Token>,
    pub(super) namespace: &'a VaultNamespace,
    pub(super) metrics: &'a ProfileMetrics,
}

impl Leases {
    /// Notes a lease, or its later end. Those that have ended are forgotten.
    pub(super) fn note(&self, id: &LeaseId, end: Moment, holder: &Holder<'_>, now: Moment) {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|lease| lease.id != *id && !lease.end.reached(now));
        live.push(Live {
            id: Arc::clone(id),
            end,
            session: holder.session.clone(),
            token: Arc::clone(holder.token),
            namespace: holder.namespace.clone(),
            metrics: holder.metrics.clone(),
        });
    }

    /// Revokes those that do not end with a token which the relay gives back.
    pub(super) async fn revoke_one_by_one(&self, now: Moment) {
        let live = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let left = live.into_iter().filter(|lease| !lease.token.is_to_be_revoked(now));
        join_all(left.map(|lease| async move { lease.revoke().await })).await;
    }
}

impl Live {
    async fn revoke(&self) {
        let call = Call {
            operation: Operation::RevokeLease,
            namespace: &self.namespace,
            token: Some(self.token.secret()),
            secrets: &[],
            metrics: &self.metrics,
        };
        let body = serde_json::json!({ "lease_id": &*self.id });
        let ask = Ask::post("sys/leases/revoke".to_owned(), &body);
        let lease = scrub(&self.id, [self.token.secret()]);
        match self.session.client().call::<serde::de::IgnoredAny>(&call, &ask).await {
            Ok(_) => tracing::info!(lease, "revoked"),
            Err(_) => tracing::warn!(lease, "could not be revoked: it ends by itself"),
        }
    }
}
