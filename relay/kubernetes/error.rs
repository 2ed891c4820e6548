//! What the API server's refusals mean.

use std::fmt;

use hyper::StatusCode;
use serde::Deserialize;

use super::object::{Object, Verb};
use crate::credential::{REDACTED, Secret, scrub};

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
    /// What the API server's answer to a request with this `token` is; `may_quote` says what of the request may stand in it.
    pub(super) fn of(status: StatusCode, body: &[u8], token: &Secret, may_quote: Quoted) -> Self {
        let said = serde_json::from_slice::<Status>(body).map(|status| status.message);
        let said = said.as_deref().unwrap_or("(no message)");
        let said = match may_quote {
            Quoted::Names => scrub(said, [token]),
            Quoted::Keys => scrub(&without_long_runs(said), [token]),
        };
        match status {
            StatusCode::NOT_FOUND => Self::Missing,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::FORBIDDEN => Self::Forbidden(said),
            other => Self::Refused(other.as_u16(), said),
        }
    }
}

/// What of a request an answer may quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoted {
    /// No more than names.
    Names,
    /// Private keys: an admission policy that looks for secrets tells what it has found.
    Keys,
}

/// A line of a key in PEM has 64 characters of base64. No name has that many without a hyphen or a dot.
const LONGEST_RUN: usize = 32;

/// A text without what may be a part of a key.
fn without_long_runs(text: &str) -> String {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let runs = text.split_inclusive(|c| !of_base64(c));
    runs.map(|run| match run.trim_end_matches(|c| !of_base64(c)) {
        word if word.len() > LONGEST_RUN => format!("{REDACTED}{}", &run[word.len()..]),
        _ => run.to_owned(),
    })
    .collect()
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
