//! A credential: keys that print as nothing and are wiped when dropped, and how long they live.

pub mod document;
mod scrub;
mod secret;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::arn::{AccountId, RoleArn};
use crate::clock::{Moment, Timestamp};

pub use scrub::{REDACTED, scrub, without};
pub use secret::{Secret, wiped};

/// An access key id: public (it stands in CloudTrail and in logs), but not just any text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AccessKeyId(Box<str>);

impl AccessKeyId {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKeyId {
    type Err = KeyIdError;

    /// 16 to 128 letters, digits and underscores: the bounds that the STS API gives.
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if legal && (16..=128).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(KeyIdError { len: text.len() })
        }
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be an access key id. It may be a secret in the wrong place, so only its
/// length is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdError {
    len: usize,
}

impl fmt::Display for KeyIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an access key id is 16 to 128 letters, digits or underscores (AKIA…, ASIA…); this one has {} characters or others among them",
            self.len
        )
    }
}

impl std::error::Error for KeyIdError {}

/// Whether the keys need a session token beside them.
#[derive(Clone, Debug)]
pub enum Session {
    /// Keys of a session: the token must be sent with them.
    Token(Secret),
    /// Long-lived keys of a user, which have none.
    None,
}

impl Session {
    /// With this token; without one, or with an empty one, there is no session.
    pub fn of(token: Option<Secret>) -> Self {
        match token.filter(|token| !token.is_empty()) {
            Some(token) => Self::Token(token),
            None => Self::None,
        }
    }

    /// Its token, if it is one.
    pub fn token(&self) -> Option<&Secret> {
        match self {
            Self::Token(token) => Some(token),
            Self::None => None,
        }
    }
}

/// How long a credential lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It ends.
    Until(Lifetime),
    /// Nothing is known of an end: static keys.
    Unlimited,
}

impl Validity {
    /// When AWS takes them no longer, if that is known.
    pub fn expiry(&self) -> Option<Moment> {
        match self {
            Self::Until(life) => Some(life.expiry()),
            Self::Unlimited => None,
        }
    }
}

/// The life of a credential that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    expiry: Moment,
    nominal: Duration,
    origin: Origin,
}

/// What is known of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The relay asked for it.
    Asked,
    /// Somebody else did, and put it where the relay finds it: only its end is known, and another
    /// may stand in its place at any time.
    Found,
    /// Another takes its place at that moment, and it lives on for a while.
    Replaced(Moment),
}

impl Lifetime {
    /// An answer may be this much off the lifetime that was asked for and still count as it:
    /// Vault floors its ttl, and a request takes time (endpoint-contract section 5).
    const SAME: Duration = Duration::from_secs(30);

    /// So long before its end a credential counts as expired, for clock skew and time in flight;
    /// or a tenth of its lifetime, if that is less (endpoint-contract section 4).
    const MARGIN: Duration = Duration::from_secs(15);

    /// A life of `lifetime` from the request's start, or until `upstream` if that is earlier.
    pub fn from_request(started: Moment, lifetime: Duration, upstream: Option<Timestamp>) -> Self {
        let by_request = started.wall + lifetime;
        let wall = upstream.map_or(by_request, |said| said.min(by_request));
        let granted = wall.saturating_since(started.wall);
        let expiry = Moment { wall, boot: started.boot.saturating_add(granted) };
        let nominal = if lifetime.abs_diff(granted) <= Self::SAME && granted > Self::SAME {
            lifetime
        } else {
            granted
        };
        Self { expiry, nominal, origin: Origin::Asked }
    }

    /// A life of which only the end is known.
    pub fn until(seen: Moment, upstream: Timestamp) -> Self {
        let left = upstream.saturating_since(seen.wall);
        let expiry = Moment { wall: upstream, boot: seen.boot.saturating_add(left) };
        Self { expiry, nominal: left, origin: Origin::Found }
    }

    /// A life that goes on for `overlap` after another credential takes its place.
    pub fn replaced(seen: Moment, at: Timestamp, overlap: Duration) -> Self {
        let ends = at + overlap;
        let left = |end: Timestamp| end.saturating_since(seen.wall);
        let moment = |end| Moment { wall: end, boot: seen.boot.saturating_add(left(end)) };
        let origin = Origin::Replaced(moment(at));
        Self { expiry: moment(ends), nominal: left(ends), origin }
    }

    /// When the credential ends.
    pub fn expiry(&self) -> Moment {
        self.expiry
    }

    /// The lifetime `L` of the schedule: what was asked for if the answer comes close to it, else
    /// what was granted.
    pub fn nominal(&self) -> Duration {
        self.nominal
    }

    /// What is known of it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// From here on the credential counts as expired. Where only the end is known the margin is
    /// whole: a share of what is left would shrink at each look.
    pub fn serve_until(&self) -> Moment {
        let margin = match self.origin {
            Origin::Asked | Origin::Replaced(_) => Self::MARGIN.min(self.nominal / 10),
            Origin::Found => Self::MARGIN,
        };
        // What is told is cut to whole seconds, and nothing is served past that.
        let cut =
            self.expiry.wall.saturating_since(Timestamp::from_secs(self.expiry.wall.as_secs()));
        self.expiry.before(cut).before(margin)
    }
}

/// Who a credential is, where that is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A session of this role.
    Role(RoleArn),
    /// A session of some role in this account.
    Account(AccountId),
    /// Keys that do not say whose they are.
    Unknown,
}

impl Principal {
    /// The role, if it is certain.
    pub fn role(&self) -> Option<&RoleArn> {
        match self {
            Self::Role(arn) => Some(arn),
            Self::Account(_) | Self::Unknown => None,
        }
    }
}

/// Whether AWS knows the keys everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Keys of a session, which are known at once, or keys that are old.
    Done,
    /// Keys that were made for a user, or may have been, a moment ago: IAM takes seconds to know
    /// them everywhere (upstreams section 1).
    Pending,
}

/// One set of AWS keys.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The public half.
    pub access_key_id: AccessKeyId,
    /// The secret half.
    pub secret_access_key: Secret,
    /// The session token, if the keys need one.
    pub session: Session,
    /// How long they live.
    pub validity: Validity,
    /// Who they are.
    pub principal: Principal,
    /// Whether AWS knows them everywhere.
    pub propagation: Propagation,
}

impl Credential {
    /// Whether it may still be handed out at `now`.
    pub fn usable(&self, now: Moment) -> bool {
        match &self.validity {
            Validity::Until(life) => !life.serve_until().reached(now),
            Validity::Unlimited => true,
        }
    }

    /// Time left until its expiry, if it has one.
    pub fn remaining(&self, now: Moment) -> Option<Duration> {
        self.validity.expiry().map(|expiry| expiry.remaining(now))
    }

    /// Every secret in it, for scrubbing a text that an upstream wrote about it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.secret_access_key).chain(self.session.token())
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// A session of a role that was issued at `started` and lives for `lifetime`.
    pub(crate) fn session(n: u32, started: Moment, lifetime: Duration) -> Credential {
        Credential {
            access_key_id: format!("ASIATESTTESTTES{n:05}").parse().unwrap(),
            secret_access_key: Secret::new(format!("secret-key-of-test-{n}")),
            session: Session::Token(Secret::new(format!("session-token-of-test-{n}"))),
            validity: Validity::Until(Lifetime::from_request(started, lifetime, None)),
            principal: Principal::Unknown,
            propagation: Propagation::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn expiry_is_the_earlier_of_upstream_and_request_start_plus_lifetime() {
        let later = Lifetime::from_request(START, secs(3600), Some(START.wall + secs(3700)));
        assert_eq!(later.expiry(), START + secs(3600));
        let earlier = Lifetime::from_request(START, secs(3600), Some(START.wall + secs(1000)));
        assert_eq!(earlier.expiry(), START + secs(1000));
        assert_eq!(earlier.nominal(), secs(1000));
        let past = Lifetime::from_request(START, secs(3600), Some(Timestamp::from_secs(5)));
        assert!(past.expiry().reached(START));
    }

    #[test]
    fn a_floored_answer_counts_as_the_lifetime_that_was_asked_for() {
        let floored = Lifetime::from_request(START, secs(3600), Some(START.wall + secs(3571)));
        assert_eq!(floored.nominal(), secs(3600));
        assert_eq!(floored.expiry(), START + secs(3571));
    }

    #[test]
    fn it_is_withheld_15_s_or_a_tenth_before_its_end() {
        for (lifetime, margin) in [(3600, 15_000), (150, 15_000), (20, 2_000), (2, 200)] {
            let life = Lifetime::from_request(START, secs(lifetime), None);
            let usable_for = life.serve_until().remaining(START);
            assert_eq!(usable_for, secs(lifetime) - Duration::from_millis(margin));
        }
    }

    #[test]
    fn looking_again_near_the_end_does_not_shrink_the_margin() {
        let end = START + secs(3600);
        for left in [3600, 45, 16] {
            let seen = end.before(secs(left));
            assert_eq!(Lifetime::until(seen, end.wall).serve_until(), end.before(secs(15)));
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let printed = format!("{:?}", fixtures::session(7, START, secs(60)));
        assert!(printed.contains("ASIATESTTESTTES00007"));
        assert!(!printed.contains("of-test"), "{printed}");
    }
}
