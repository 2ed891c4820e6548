//! What the endpoint serves, and to whom: the profiles with their access tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::HOLD;
use super::answer::{self, Decision, Refusal};
use crate::access::{AccessToken, Shape, digest_presented};
use crate::clock::{Clock, Moment};
use crate::config::values::{ProfileName, TokenDigest};
use crate::metrics::{Metrics, RequestMetrics};
use crate::store::Reader;

/// One profile as the endpoint serves it.
#[derive(Debug)]
pub struct Profile {
    pub(super) name: ProfileName,
    pub(super) reader: Reader,
    keyring: Keyring,
    pub(super) requests: Requests,
}

/// What opens a profile.
#[derive(Debug, Default)]
pub struct Keyring {
    /// Tokens; while one is being changed there are two.
    pub tokens: Vec<AccessToken>,
    /// What further tokens are known by.
    pub digests: Vec<TokenDigest>,
}

impl Keyring {
    /// Compares with everything, so that the time it takes does not tell which was right. What a digest's
    /// comparison may tell is of the digest, of which no token can be made.
    fn opens_to(&self, presented: &[u8], digest: Option<&TokenDigest>) -> bool {
        let by_token =
            self.tokens.iter().fold(false, |found, token| token.matches(presented) | found);
        by_token | digest.is_some_and(|digest| self.digests.contains(digest))
    }
}

impl Profile {
    /// A profile whose state `reader` tells, for whoever presents what opens it.
    pub fn new(name: ProfileName, reader: Reader, keyring: Keyring, metrics: &Metrics) -> Self {
        Self { requests: Requests::new(name.as_str(), metrics), name, reader, keyring }
    }

    /// Its state.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Waits for its state to become one that can be answered, or until [`HOLD`] is over. It says no as soon as
    /// `directory` is another one, where another profile may have taken its place.
    pub(super) async fn settled(
        &self,
        directory: &mut watch::Receiver<Arc<Directory>>,
        clock: &Clock,
        asked_at: Instant,
    ) -> bool {
        let mut reader = self.reader.clone();
        let settled =
            reader.until(|snapshot| !answer::decide(snapshot.view(clock.now())).may_change_soon());
        tokio::select! {
            // Either way the state of then is what is answered.
            _ = tokio::time::timeout_at(asked_at + HOLD, settled) => true,
            Ok(()) = directory.changed() => false,
        }
    }
}

/// All that the endpoint serves. It is replaced as a whole when a profile comes, changes or goes.
#[derive(Debug, Default)]
pub struct Directory(Vec<Arc<Profile>>);

impl Directory {
    /// A directory of these profiles; their names must differ.
    pub fn new(profiles: Vec<Arc<Profile>>) -> Self {
        Self(profiles)
    }

    /// The profile of that name, if there is one.
    pub(super) fn named(&self, wanted: Option<&str>) -> Option<&Profile> {
        let wanted = wanted?;
        self.0.iter().find(|profile| profile.name.as_str() == wanted).map(Arc::as_ref)
    }

    /// The profile, where there is one alone.
    pub(super) fn only(&self) -> Option<&Arc<Profile>> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The profile that a token opens: the wanted one, or else the one that the token belongs to.
    ///
    /// The token is compared with those of all profiles whatever is wanted, so that neither the
    /// answer nor the time it takes tells a stranger which profiles there are.
    pub(super) fn grant(
        &self,
        wanted: Option<&str>,
        presented: Option<&[u8]>,
    ) -> Result<&Arc<Profile>, Refusal<'static>> {
        let presented = presented.ok_or(Refusal::NoToken)?;
        let has_digests = self.0.iter().any(|profile| !profile.keyring.digests.is_empty());
        let digest = has_digests.then(|| digest_presented(presented)).flatten();
        let mut opened = None;
        let mut count = 0_usize;
        let mut exists = false;
        for profile in &self.0 {
            let is_wanted = wanted.is_none_or(|name| name == profile.name.as_str());
            exists |= is_wanted;
            if profile.keyring.opens_to(presented, digest.as_ref()) {
                count += 1;
                if is_wanted {
                    opened = Some(profile);
                }
            }
        }
        match opened {
            Some(_) if wanted.is_none() && count > 1 => Err(Refusal::Ambiguous),
            Some(profile) => Ok(profile),
            None if count > 0 && !exists => Err(Refusal::Profile),
            None => Err(Refusal::WrongToken(Shape::of(presented))),
        }
    }
}

/// How the requests for one profile are counted, and how often they are logged.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) metrics: RequestMetrics<{ Decision::NAMES.len() }>,
    /// Milliseconds since boot from which on the next line may be logged.
    next_log: AtomicU64,
}

impl Requests {
    const LOG_INTERVAL: Duration = Duration::from_secs(60);

    /// Those for `profile`, which is empty for requests that name none.
    pub(super) fn new(profile: &str, metrics: &Metrics) -> Self {
        Self { metrics: metrics.requests(profile, Decision::NAMES), next_log: AtomicU64::new(0) }
    }

    /// Whether a refusal may be logged now: once a minute, so that a client in a loop cannot flood
    /// the log.
    pub(super) fn may_log(&self, now: Moment) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if millis(now.boot) < self.next_log.load(Ordering::Relaxed) {
            return false;
        }
        let next = now.boot.saturating_add(Self::LOG_INTERVAL);
        self.next_log.store(millis(next), Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn token(text: &str) -> AccessToken {
        text.parse().unwrap()
    }

    fn directory() -> Directory {
        let metrics = Metrics::new();
        let profile = |name: &str, tokens: &[&str], inline: &[&str]| {
            let (_, reader) = crate::store::channel(crate::clock::Timestamp::from_secs(0));
            let tokens = tokens.iter().map(|text| token(text)).collect();
            let digests = inline.iter().map(|text| token(text).digest()).collect();
            let keyring = Keyring { tokens, digests };
            Arc::new(Profile::new(name.parse().unwrap(), reader, keyring, &metrics))
        };
        Directory::new(vec![
            profile("payments", &["token-of-payments-1", "token-of-payments-2"], &[]),
            profile(
                "reports",
                &["token-of-reports-01", "token-of-both-0001"],
                &["inline-of-reports-1"],
            ),
            profile(
                "ledger",
                &["token-of-both-0001"],
                &["inline-of-ledger-1", "inline-of-ledger-2"],
            ),
        ])
    }

    /// The name that was granted, or the refusal's.
    fn granted(wanted: Option<&str>, presented: Option<&str>) -> String {
        match directory().grant(wanted, presented.map(str::as_bytes)) {
            Ok(profile) => profile.name.to_string(),
            Err(Refusal::WrongToken(_)) => "wrong".to_owned(),
            Err(refusal) => format!("{refusal:?}"),
        }
    }

    #[test]
    fn a_token_opens_its_own_profile_and_no_other() {
        for (wanted, presented, expected) in [
            (None, Some("token-of-payments-1"), "payments"),
            (None, Some("token-of-payments-2"), "payments"),
            (None, Some("token-of-both-0001"), "Ambiguous"),
            (None, Some("token-of-nobody-00"), "wrong"),
            (None, None, "NoToken"),
            (Some("payments"), Some("token-of-payments-2"), "payments"),
            (Some("payments"), Some("token-of-reports-01"), "wrong"),
            (Some("ledger"), Some("token-of-both-0001"), "ledger"),
            (Some("reports"), Some("token-of-both-0001"), "reports"),
            (None, Some("inline-of-ledger-2"), "ledger"),
            (Some("reports"), Some("inline-of-reports-1"), "reports"),
            (Some("payments"), Some("inline-of-reports-1"), "wrong"),
            (Some("ledger"), Some("inline-of-ledger-3"), "wrong"),
            (Some("missing"), Some("token-of-reports-01"), "Profile"),
            (Some("missing"), Some("token-of-nobody-00"), "wrong"),
            (Some("missing"), None, "NoToken"),
        ] {
            assert_eq!(granted(wanted, presented), expected, "{wanted:?} {presented:?}");
        }
    }

    #[test]
    fn refusals_are_logged_once_a_minute() {
        let requests = Requests::new("payments", &Metrics::new());
        let start = Moment { wall: Timestamp::from_secs(1_000), boot: Duration::from_secs(5) };
        assert!(requests.may_log(start));
        assert!(!requests.may_log(start + Duration::from_secs(59)));
        assert!(requests.may_log(start + Duration::from_secs(60)));
    }
}
