//! The SDKs' own order: the first way that is configured gives the credentials.

use super::{Fetch, Freshness, Source};
use crate::credential::Credential;
use crate::failure::{Cause, Failure, Stage};

const KIND: &str = "auto";

/// Several sources, in order.
pub struct Auto {
    ways: Box<[Box<dyn Source>]>,
    /// The kind of the one that gave the last credentials.
    chosen: Option<&'static str>,
}

impl Auto {
    /// These, in their order.
    pub fn new(ways: Vec<Box<dyn Source>>) -> Self {
        Self { ways: ways.into(), chosen: None }
    }

    /// Only one that is not configured gives way to the next: trouble with the one that is meant
    /// must not end in another identity.
    async fn first(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        let mut reasons = Vec::new();
        for way in &mut self.ways {
            match way.fetch(freshness).await {
                Err(failure) if failure.cause == Cause::NotConfigured => {
                    reasons.push(format!("{}: {}", way.kind(), failure.reason));
                }
                Ok(credential) => {
                    let before = self.chosen.replace(way.kind());
                    if before != self.chosen {
                        tracing::info!(
                            way = way.kind(),
                            before,
                            "auto: this way gives credentials"
                        );
                    }
                    return Ok(credential);
                }
                Err(failure) => return Err(failure),
            }
        }
        let reason = format!("none of the SDKs' ways is configured ({})", reasons.join("; "));
        Err(Failure::new(Cause::NotConfigured, Stage::Base(KIND), reason))
    }
}

impl Source for Auto {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(self.first(freshness))
    }

    fn way(&self) -> Option<&'static str> {
        self.chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Moment, Timestamp};
    use crate::credential::fixtures::session;
    use std::time::Duration;

    struct Way(&'static str, Result<Credential, Cause>);

    impl Source for Way {
        fn kind(&self) -> &'static str {
            self.0
        }

        fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
            let outcome = self.1.clone();
            let fail = |cause| Failure::new(cause, Stage::Base(self.0), format!("no {}", self.0));
            Box::pin(std::future::ready(outcome.map_err(fail)))
        }
    }

    fn keys(n: u32) -> Result<Credential, Cause> {
        let now = Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::ZERO };
        Ok(session(n, now, Duration::from_secs(3600)))
    }

    async fn fetch(ways: Vec<Box<dyn Source>>) -> (Result<String, Failure>, Option<&'static str>) {
        let mut auto = Auto::new(ways);
        let outcome = auto.fetch(Freshness::Reuse).await;
        (outcome.map(|keys| keys.access_key_id.to_string()), auto.way())
    }

    #[tokio::test]
    async fn the_first_that_is_configured_gives_them() {
        let ways: Vec<Box<dyn Source>> = vec![
            Box::new(Way("profile", Err(Cause::NotConfigured))),
            Box::new(Way("container", keys(2))),
            Box::new(Way("imds", keys(3))),
        ];
        let (outcome, way) = fetch(ways).await;
        assert_eq!(outcome.unwrap(), "ASIATESTTESTTES00002");
        assert_eq!(way, Some("container"));
    }

    #[tokio::test]
    async fn trouble_of_any_kind_does_not_end_in_another_identity() {
        for cause in [
            Cause::Unreachable,
            Cause::Tls,
            Cause::Throttled { retry_after: None },
            Cause::Transient,
            Cause::StaleCaller,
            Cause::Denied,
            Cause::Misconfigured,
            Cause::Internal,
        ] {
            let ways: Vec<Box<dyn Source>> =
                vec![Box::new(Way("web_identity", Err(cause))), Box::new(Way("imds", keys(2)))];
            let (outcome, way) = fetch(ways).await;
            let failure = outcome.unwrap_err();
            assert_eq!(failure.cause, cause);
            assert_eq!(failure.stage, Stage::Base("web_identity"));
            assert_eq!(way, None);
        }
    }

    #[tokio::test]
    async fn where_none_is_configured_each_says_why() {
        let ways: Vec<Box<dyn Source>> = vec![
            Box::new(Way("profile", Err(Cause::NotConfigured))),
            Box::new(Way("imds", Err(Cause::NotConfigured))),
        ];
        let failure = fetch(ways).await.0.unwrap_err();
        assert_eq!(failure.cause, Cause::NotConfigured);
        assert!(failure.reason.contains("profile: no profile; imds: no imds"), "{failure}");
    }

    #[tokio::test]
    async fn half_a_pair_of_keys_is_a_mistake() {
        let half = crate::sources::fixed::Environment::new(|name| {
            (name == "AWS_ACCESS_KEY_ID").then(|| "AKIAIOSFODNN7EXAMPLE".to_owned())
        });
        let ways: Vec<Box<dyn Source>> = vec![Box::new(half), Box::new(Way("imds", keys(2)))];
        assert_eq!(fetch(ways).await.0.unwrap_err().cause, Cause::Misconfigured);
    }
}
