//! A user of IAM that Vault made, its lease, and the lease's renewal.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Ask, Operation, Refusal, Why};
use super::leases::LeaseId;
use super::reader::{Read, Reader};
use super::session::{End, Need, Token};
use super::wire::seconds;
use crate::clock::Moment;
use crate::credential::{Credential, Lifetime, Validity, scrub};
use crate::failure::Failure;

/// A user of IAM that Vault made.
pub(super) struct User {
    pub(super) credential: Credential,
    pub(super) lease: Lease,
    pub(super) token: Arc<Token>,
    /// The life that it began with: what a new one would have.
    pub(super) nominal: Duration,
}

pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) end: Moment,
    /// What it was given at first.
    pub(super) duration: Duration,
    pub(super) renewable: bool,
}

impl User {
    /// The earlier of the lease's end and the token's.
    pub(super) fn end(&self) -> Moment {
        match self.token.end() {
            End::At(end) => Moment {
                wall: end.wall.min(self.lease.end.wall),
                boot: end.boot.min(self.lease.end.boot),
            },
            End::Never => self.lease.end,
        }
    }

    /// Whether the token ends before the lease does.
    pub(super) fn ends_with_token(&self) -> bool {
        matches!(self.token.end(), End::At(end) if end.boot < self.lease.end.boot)
    }
}

/// A life from `from` until `end`.
pub(super) fn until(from: Moment, end: Moment) -> Validity {
    Validity::Until(Lifetime::from_request(from, end.remaining(from), None))
}

pub(super) enum Renewed {
    Until(Moment),
    Not,
}

/// Renews a user's lease.
pub(super) async fn renew(reader: &Reader, user: &User) -> Result<Renewed, Failure> {
    let increment = user.lease.duration.as_secs();
    let body = serde_json::json!({ "lease_id": &*user.lease.id, "increment": increment });
    let ask = Ask::post("sys/leases/renew".to_owned(), &body);
    let need = Need::Read;
    match reader.read::<serde::de::IgnoredAny>(need, Operation::RenewLease, &ask).await? {
        Ok(Read { answer, started, .. }) if answer.lease_duration > 0 => {
            Ok(Renewed::Until(started + seconds(answer.lease_duration)))
        }
        Ok(_) => Ok(Renewed::Not),
        // The lease is gone, may not be renewed, or no policy allows it: a new user is the answer.
        Err(Refusal { why: Why::Status { status: 400 | 403 | 404, errors, .. }, .. }) => {
            let lease = scrub(&user.lease.id, [user.token.secret()]);
            tracing::debug!(lease, ?errors, "the lease is not renewed");
            Ok(Renewed::Not)
        }
        Err(refusal) => Err(reader.explain(&refusal)),
    }
}
