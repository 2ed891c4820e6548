//! The keys that the upstream knows: its user's, and the sessions that it issued.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use ring::rand::SystemRandom;

use super::super::upstream::{BASE32, draw};
use super::answer::Refusal;
use crate::arn::{AccountId, RoleArn};
use crate::clock::Moment;
use crate::credential::{AccessKeyId, Secret};

/// Sessions that are held at once. Beyond it the one that ends first is forgotten: at 1 kB each
/// this bounds the memory of a development tool, and a fleet test stays well below it.
const MOST_SESSIONS: usize = 10_000;

/// For this long an ended session is still answered with ExpiredToken, not as unknown.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// What a secret access key is made of.
pub(super) const BASE64: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The tags that travel down a chain, by their key in lower case: STS compares keys so.
pub(super) type Tags = BTreeMap<String, (String, String)>;

/// Freshly made keys of a session.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) access_key_id: AccessKeyId,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Secret,
}

impl Issued {
    /// Draws new keys.
    pub(super) fn draw(random: &SystemRandom) -> Option<Self> {
        let id = format!("ASIA{}", draw(random, BASE32, 16)?);
        // "CredentialRelayDev" in base64, so that a token that leaks can be told for what it is;
        // then the two characters that careless encoding breaks, and the padding.
        let body = draw(random, BASE64, 471)?;
        let token = format!("Q3JlZGVudGlhbFJlbGF5RGV2/+{body}A==");
        Some(Self {
            access_key_id: id.parse().ok()?,
            secret_access_key: Secret::new(draw(random, BASE64, 40)?),
            session_token: Secret::new(token),
        })
    }
}

/// Who signed a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// A user, by its own keys or by a session from GetSessionToken.
    User { name: String, session: bool },
    /// A session from GetFederationToken, which may ask for nothing but who it is.
    Federated { name: String },
    /// A session of a role: what it assumes is a chain.
    Role(RoleSession),
}

/// What a role's session passes on.
#[derive(Clone, Debug)]
pub(super) struct RoleSession {
    pub(super) role: RoleArn,
    pub(super) name: String,
    pub(super) transitive_tags: Tags,
    pub(super) source_identity: Option<String>,
}

impl RoleSession {
    /// The ARN that GetCallerIdentity tells.
    pub(super) fn arn(&self) -> String {
        let (partition, account) = (self.role.partition().as_str(), self.role.account());
        let role = role_name(&self.role);
        format!("arn:{partition}:sts::{account}:assumed-role/{role}/{}", self.name)
    }

    /// The role's unique id and the session's name.
    pub(super) fn id(&self) -> String {
        format!("{}:{}", unique_id("AROA", self.role.as_str()), self.name)
    }
}

impl Caller {
    /// Its ARN; users are of `account`.
    pub(super) fn arn(&self, account: &AccountId) -> String {
        match self {
            Self::User { name, .. } => format!("arn:aws:iam::{account}:user/{name}"),
            Self::Federated { name } => format!("arn:aws:sts::{account}:federated-user/{name}"),
            Self::Role(session) => session.arn(),
        }
    }
}

/// A role's name without its path.
fn role_name(role: &RoleArn) -> &str {
    role.as_str().rsplit('/').next().unwrap_or_default()
}

/// The kind's prefix and 17 characters that always are the same for `arn`, as IAM's ids are.
pub(super) fn unique_id(kind: &str, arn: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, arn.as_bytes());
    let id = digest.as_ref().iter().take(17);
    kind.chars().chain(id.map(|byte| char::from(BASE32[usize::from(*byte) % 32]))).collect()
}

/// The sessions that were issued, each until an hour after its end.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_key: HashMap<String, Held>,
    by_end: BTreeSet<(Duration, String)>,
}

#[derive(Debug)]
struct Held {
    keys: Issued,
    caller: Caller,
    expiry: Moment,
}

impl Sessions {
    /// Remembers a session until `expiry`.
    pub(super) fn hold(&mut self, keys: Issued, caller: Caller, expiry: Moment, now: Moment) {
        while let Some((end, key)) = self.by_end.first() {
            let forgotten = end.saturating_add(REMEMBERED) <= now.boot;
            if !forgotten && self.by_end.len() < MOST_SESSIONS {
                break;
            }
            self.by_key.remove(key);
            self.by_end.pop_first();
        }
        let key = keys.access_key_id.to_string();
        self.by_end.insert((expiry.boot, key.clone()));
        let held = Held { keys, caller, expiry };
        self.by_key.insert(key, held);
    }

    /// The session of a key, and its secret, if the token is its own and it has not ended.
    pub(super) fn find(
        &self,
        key_id: &str,
        token: Option<&[u8]>,
        now: Moment,
    ) -> Result<(Caller, Secret), Refusal> {
        let held = self
            .by_key
            .get(key_id)
            .filter(|held| token.is_some_and(|token| held.keys.session_token.matches(token)))
            .ok_or_else(Refusal::invalid_token)?;
        if held.expiry.reached(now) {
            return Err(Refusal::expired());
        }
        Ok((held.caller.clone(), held.keys.secret_access_key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn at(secs: u64) -> Moment {
        Moment {
            wall: Timestamp::from_secs(1_000_000) + Duration::from_secs(secs),
            boot: Duration::from_secs(secs),
        }
    }

    fn issue(sessions: &mut Sessions, now: u64, lifetime: u64) -> Issued {
        let keys = Issued::draw(&SystemRandom::new()).unwrap();
        let caller = Caller::User { name: "u".into(), session: true };
        sessions.hold(keys.clone(), caller, at(now + lifetime), at(now));
        keys
    }

    fn find(sessions: &Sessions, keys: &Issued, now: u64) -> Result<(), &'static str> {
        let token = keys.session_token.expose().as_bytes();
        sessions
            .find(keys.access_key_id.as_str(), Some(token), at(now))
            .map(drop)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn keys_have_the_shape_of_the_real_ones() {
        let keys = Issued::draw(&SystemRandom::new()).unwrap();
        assert!(keys.access_key_id.as_str().starts_with("ASIA"));
        assert_eq!(keys.access_key_id.as_str().len(), 20);
        assert_eq!(keys.secret_access_key.len(), 40);
        assert_eq!(keys.session_token.len() % 4, 0);
        for awkward in ["/", "+", "="] {
            assert!(keys.session_token.expose().contains(awkward));
        }
    }

    #[test]
    fn an_ended_session_is_told_from_an_unknown_one_for_an_hour() {
        let mut sessions = Sessions::default();
        let keys = issue(&mut sessions, 0, 60);
        assert_eq!(find(&sessions, &keys, 59), Ok(()));
        assert_eq!(find(&sessions, &keys, 60), Err("ExpiredToken"));
        issue(&mut sessions, 3_659, 60);
        assert_eq!(find(&sessions, &keys, 3_659), Err("ExpiredToken"));
        issue(&mut sessions, 3_660, 60);
        assert_eq!(find(&sessions, &keys, 3_660), Err("InvalidClientTokenId"));
    }

    #[test]
    fn what_ends_first_is_forgotten_when_there_are_too_many() {
        let mut sessions = Sessions::default();
        let long = issue(&mut sessions, 0, 1_000);
        let short = issue(&mut sessions, 0, 10);
        for _ in 2..=MOST_SESSIONS {
            issue(&mut sessions, 0, 100);
        }
        assert_eq!(sessions.by_key.len(), MOST_SESSIONS);
        assert_eq!(sessions.by_end.len(), MOST_SESSIONS);
        assert_eq!(find(&sessions, &short, 0), Err("InvalidClientTokenId"));
        assert_eq!(find(&sessions, &long, 0), Ok(()));
    }

    #[test]
    fn a_token_of_another_session_opens_nothing() {
        let mut sessions = Sessions::default();
        let (one, other) = (issue(&mut sessions, 0, 60), issue(&mut sessions, 0, 60));
        let mixed = Issued { session_token: other.session_token, ..one };
        assert_eq!(find(&sessions, &mixed, 1), Err("InvalidClientTokenId"));
    }

    #[test]
    fn a_role_s_path_is_not_part_of_its_sessions_arn() {
        let session = RoleSession {
            role: "arn:aws-cn:iam::111122223333:role/team/a/hub".parse().unwrap(),
            name: "s".into(),
            transitive_tags: Tags::new(),
            source_identity: None,
        };
        assert_eq!(session.arn(), "arn:aws-cn:sts::111122223333:assumed-role/hub/s");
    }
}
