//! What the API server's refusals mean.

use std::fmt;

use hyper::StatusCode;
use serde::Deserialize;

use super::object::{Object, Verb};
use crate::credential::{Secret, scrub};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No answer came.
    Unsent(String),
    /// The answer is not what it should be: where.
    Unreadable(String),
    /// There is no such object.
    Missing,
    /// Somebody else changed or made it first.
    Conflict,
    /// The service account may not do this.
    Forbidden(String),
    /// Another refusal: the status, and the API server's words.
    Refused(u16, String),
}

/// As much as is read of a Status.
#[derive(Deserialize)]
struct Status {
    message: String,
}

impl Kind {
    pub(super) fn of(status: StatusCode, body: &[u8], token: &Secret) -> Self {
        let said = serde_json::from_slice::<Status>(body).map(|status| status.message);
        let said = scrub(said.as_deref().unwrap_or("(no message)"), [token]);
        match status {
            StatusCode::NOT_FOUND => Self::Missing,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::FORBIDDEN => Self::Forbidden(said),
            other => Self::Refused(other.as_u16(), said),
        }
    }
}

/// A request that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    verb: Verb,
    object: Object,
    kind: Kind,
}

impl Error {
    pub(super) fn new(verb: Verb, object: &Object, kind: Kind) -> Self {
        Self { verb, object: object.clone(), kind }
    }

    /// What went wrong.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether somebody else was first: another look tells what there is by now.
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, object, kind } = self;
        write!(f, "{} {object}: ", verb.as_str())?;
        match kind {
            Kind::Unsent(why) => f.write_str(why),
            Kind::Unreadable(place) => write!(f, "the answer cannot be read at {place}"),
            Kind::Missing => f.write_str("404: there is no such object"),
            Kind::Conflict => f.write_str("409: somebody else changed it first"),
            Kind::Forbidden(said) => {
                write!(f, "403: {said}; give the injector's service account {}", object.rule(*verb))
            }
            Kind::Refused(401, said) => write!(
                f,
                "401: {said}; the API server does not know the service account's token: was the service account deleted, or is the pod from another cluster?"
            ),
            Kind::Refused(status, said) => write!(f, "{status}: {said}"),
        }
    }
}

impl std::error::Error for Error {}
