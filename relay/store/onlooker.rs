//! What those see of a profile who must not hold its secrets: nothing that an [`Onlooker`] gives has one, so that
//! whoever holds no other end of the store cannot tell one.

use std::sync::Arc;

use super::{Health, Plan, Reader, Served, View};
use crate::clock::Moment;
use crate::credential::{AccessKeyId, Principal, Validity};
use crate::failure::Failure;

/// What may be told of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The public half of the keys.
    pub access_key_id: AccessKeyId,
    /// Whose they are.
    pub principal: Principal,
    /// How long they live.
    pub validity: Validity,
}

impl Told {
    fn of(served: &Served) -> Self {
        let credential = served.credential();
        Self {
            access_key_id: credential.access_key_id.clone(),
            principal: credential.principal.clone(),
            validity: credential.validity,
        }
    }
}

/// The state of a profile at a given moment, as [`View`] has it.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The first fetch has not ended.
    Pending,
    /// This is handed out, and its renewal goes like that.
    Ready(Told, Health),
    /// The last credential has ended and its renewal is under way.
    Expired,
    /// Nothing valid, and why.
    Unavailable(Arc<Failure>),
}

/// An end of the store that sees and asks, but is given no secret.
#[derive(Clone, Debug)]
pub struct Onlooker(Reader);

impl From<Reader> for Onlooker {
    fn from(reader: Reader) -> Self {
        Self(reader)
    }
}

impl Onlooker {
    /// The state at `now`.
    pub fn look(&self, now: Moment) -> Sight {
        match self.0.borrow().view(now) {
            View::Pending => Sight::Pending,
            View::Ready(served, health) => Sight::Ready(Told::of(served), health.clone()),
            View::Expired => Sight::Expired,
            View::Unavailable(failure) => Sight::Unavailable(Arc::clone(failure)),
        }
    }

    /// What the rotation is about to do.
    pub fn plan(&self) -> Plan {
        self.0.plan()
    }

    /// Asks for a new credential, as [`Reader::rotate`] does.
    ///
    /// # Errors
    /// As [`Reader::rotate`].
    pub async fn rotate(&self) -> Result<Told, Arc<Failure>> {
        self.0.rotate().await.map(|served| Told::of(&served))
    }
}
