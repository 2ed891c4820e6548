//! What is answered: a function of a profile's state.

use std::sync::Arc;

use crate::access::Shape;
use crate::failure::{Failure, Outlook};
use crate::store::{Served, View};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Decision<'a> {
    /// The credential is handed out.
    Issue(&'a Arc<Served>),
    /// It is not.
    Refuse(Refusal<'a>),
}

/// Why nothing is handed out.
#[derive(Debug)]
pub(super) enum Refusal<'a> {
    /// The Host is not one of the endpoint's names.
    Host,
    /// Somebody passed the request on.
    Forwarded,
    /// There is no such path.
    Path,
    /// The path has no such method.
    Method,
    /// No access token was presented.
    NoToken,
    /// More than one Authorization header was sent: whoever looked at the request before may have
    /// gone by the other one, so none of them counts.
    SeveralTokens,
    /// The access token is none of the profile's.
    WrongToken(Shape),
    /// There is no such profile; told only to who holds a valid token.
    Profile,
    /// The token belongs to several profiles and the path names none.
    Ambiguous,
    /// The first fetch has not ended.
    Pending,
    /// The last credential has ended before the next was there.
    Expired,
    /// Nothing valid is held, which may heal.
    Unavailable(&'a Failure),
    /// Nothing valid is held, and somebody must act.
    Denied(&'a Failure),
}

impl Decision<'_> {
    /// The short names of all decisions, as metrics tell them; [`Decision::index`] points here.
    pub(super) const NAMES: [&'static str; 9] = [
        "issued",
        "guard",
        "not_found",
        "method",
        "no_token",
        "wrong_token",
        "uninitialized",
        "unavailable",
        "denied",
    ];

    /// Its place in [`Decision::NAMES`].
    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Issue(_) => 0,
            Self::Refuse(refusal) => match refusal {
                Refusal::Host | Refusal::Forwarded => 1,
                Refusal::Path | Refusal::Profile | Refusal::Ambiguous => 2,
                Refusal::Method => 3,
                Refusal::NoToken => 4,
                Refusal::WrongToken(_) | Refusal::SeveralTokens => 5,
                Refusal::Pending => 6,
                Refusal::Expired | Refusal::Unavailable(_) => 7,
                Refusal::Denied(_) => 8,
            },
        }
    }

    /// Whether a rotation that is under way may turn it into another.
    pub(super) const fn may_change_soon(&self) -> bool {
        matches!(self, Self::Refuse(Refusal::Pending | Refusal::Expired | Refusal::Unavailable(_)))
    }
}

/// What a profile's state means for a request that may have its credential.
pub(super) fn decide(view: View<'_>) -> Decision<'_> {
    match view {
        View::Ready(served, _) => Decision::Issue(served),
        View::Pending => Decision::Refuse(Refusal::Pending),
        View::Expired => Decision::Refuse(Refusal::Expired),
        View::Unavailable(failure) => Decision::Refuse(match failure.cause.outlook() {
            Outlook::MayHeal => Refusal::Unavailable(failure),
            Outlook::Permanent => Refusal::Denied(failure),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Cause, Stage};

    #[test]
    fn only_what_may_heal_is_worth_a_wait() {
        let denied = Arc::new(Failure::new(Cause::Denied, Stage::Relay, "no"));
        let decision = decide(View::Unavailable(&denied));
        assert!(matches!(decision, Decision::Refuse(Refusal::Denied(_))));
        assert!(!decision.may_change_soon());

        let down = Arc::new(Failure::new(Cause::Unreachable, Stage::Relay, "down"));
        for view in [View::Pending, View::Expired, View::Unavailable(&down)] {
            assert!(decide(view).may_change_soon());
        }
    }
}
