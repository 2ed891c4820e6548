//! The hops of a chain: each by itself, and what one passes on to the next.

use std::str::FromStr;
use std::time::Duration;

use deserr::ValuePointerRef;

use super::Resolver;
use super::sts::Defaults;
use crate::arn::{Partition, RoleArn};
use crate::config::Hop;
use crate::config::document::{HopDocument, ProfileDocument};
use crate::config::mistakes::{shape, told};
use crate::config::template::{Pod, Template};
use crate::config::values::{self, PolicyArn, PolicyDocument, SessionName, Tag};

/// Tags of a session, and managed policies: AssumeRole's API reference.
const MOST_TAGS: usize = 50;
const MOST_POLICY_ARNS: usize = 10;

/// Below this an answer cannot always have 25 minutes left (endpoint-contract section 5).
const SHORT: Duration = Duration::from_secs(50 * 60);

const DEFAULT_DURATION: Duration = Duration::from_secs(3600);

/// What a hop passes on to those after it.
#[derive(Default)]
struct Inherited {
    /// Keys of transitive tags, in lower case: STS compares keys without case.
    tags: Vec<String>,
    source_identity: Option<SessionName>,
}

impl Resolver<'_> {
    /// The hops of a profile. None where something is wrong.
    pub(super) fn chain(
        &mut self,
        profile: &str,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
        defaults: &Defaults,
    ) -> Option<Vec<Hop>> {
        let pod = Pod::of(self.environment, profile);
        let mut inherited = Inherited::default();
        let hops: Vec<Option<Hop>> = self
            .items(given.chain.as_ref(), at)
            .into_iter()
            .map(|(number, given)| {
                let at = at.push_index(number);
                let sts = self.sts_of(given, at, defaults);
                let role_arn = self.role_arn(given, at);
                let session_name = self.session_name(given, at, &pod);
                let external_id = self.external_id(given, at);
                let duration = self.duration(given, at, number > 0);
                let tags = self.tags(given, at, &pod, &mut inherited.tags);
                let source_identity = self.source_identity(given, at, &pod, &mut inherited);
                let policy = self.policy(given, at);
                let policy_arns = self.policy_arns(given, at);
                if let Some(sts) = &sts {
                    let region = sts.region.partition();
                    let role = role_arn.iter().map(RoleArn::partition);
                    self.check_partition(at.push_key("role_arn"), role, region);
                    for (number, arn) in policy_arns.iter().enumerate() {
                        let at = at.push_key("policy_arns");
                        self.check_partition(at.push_index(number), [arn.partition()], region);
                    }
                }
                Some(Hop {
                    role_arn: role_arn?,
                    session_name: session_name?,
                    external_id,
                    duration,
                    tags,
                    source_identity,
                    policy,
                    policy_arns,
                    sts: sts?,
                })
            })
            .collect();
        hops.into_iter().collect()
    }

    fn role_arn(&mut self, given: &HopDocument, at: ValuePointerRef<'_>) -> Option<RoleArn> {
        let at = at.push_key("role_arn");
        match &given.role_arn {
            Some(text) => self.read(text, at, RoleArn::from_str),
            None => {
                self.missing(at, "missing; write arn:aws:iam::<account>:role/<name>");
                None
            }
        }
    }

    fn check_partition(
        &mut self,
        at: ValuePointerRef<'_>,
        found: impl IntoIterator<Item = Partition>,
        region: Partition,
    ) {
        for found in found.into_iter().filter(|found| *found != region) {
            let what = format!(
                "it is of the partition {}, but the region that is asked is of {}; no STS knows the other's roles",
                found.as_str(),
                region.as_str()
            );
            self.mistakes.add(at, what);
        }
    }

    fn session_name(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
    ) -> Option<SessionName> {
        let at = at.push_key("session_name");
        match &given.session_name {
            Some(text) => self.read(text, at, |text| {
                text.parse::<Template>()?.fill_session_name(pod)
            }),
            None => self.read("", at, |_| {
                Template::of_session_name(pod).fill_session_name(pod)
            }),
        }
    }

    fn external_id(&mut self, given: &HopDocument, at: ValuePointerRef<'_>) -> Option<String> {
        let text = given.external_id.as_deref()?;
        self.read(text, at.push_key("external_id"), values::external_id)
    }

    fn duration(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        chained: bool,
    ) -> Duration {
        let at = at.push_key("duration");
        let Some(text) = given.duration.as_deref() else {
            return DEFAULT_DURATION;
        };
        let Some(duration) = self.read(text, at, values::duration) else {
            return DEFAULT_DURATION;
        };
        if chained && duration > values::LONGEST_CHAINED {
            let what = format!(
                "{} was lowered to 1h: STS grants no more to a role session, which is what assumes this role",
                values::told(duration)
            );
            self.warnings.add(at, what);
            return values::LONGEST_CHAINED;
        }
        if duration < SHORT {
            let every = renewed_every(duration);
            let what = format!(
                "{} is short: it is renewed every {}, which takes {:.1} calls to STS an hour for each pod; \
                 1h takes 2.0",
                values::told(duration),
                values::told(every),
                3600.0 / every.as_secs_f64()
            );
            self.warnings.add(at, what);
        }
        duration
    }

    fn tags(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        inherited: &mut Vec<String>,
    ) -> Vec<Tag> {
        let tags_at = at.push_key("tags");
        let empty = std::collections::BTreeMap::new();
        let given_tags = given.tags.as_ref().map_or(&empty, |tags| &tags.0);
        if given_tags.len() > MOST_TAGS {
            let what = format!(
                "a mapping of {}; {MOST_TAGS} tags at most",
                given_tags.len()
            );
            self.mistakes.add(tags_at, what);
        }
        let mut seen: Vec<String> = Vec::new();
        let mut tags = Vec::new();
        for (key, value) in given_tags {
            let at = tags_at.push_key(key);
            let _ = self.read(key, at, Tag::check_key);
            let lower = key.to_lowercase();
            if seen.contains(&lower) {
                self.mistakes
                    .add(at, "the key stands twice: STS compares keys without case");
            }
            if inherited.contains(&lower) {
                self.mistakes
                    .add(at, "an earlier hop's transitive tag has this key, and STS does not let it be set anew");
            }
            seen.push(lower);
            let value = self.read(value, at, |text| {
                let value = text.parse::<Template>()?.fill(pod)?;
                Tag::check_value(&value).map(|()| value)
            });
            let transitive = false;
            tags.extend(value.map(|value| Tag {
                key: key.clone(),
                value,
                transitive,
            }));
        }
        self.transitive(given, at, &mut tags);
        inherited.extend(
            tags.iter()
                .filter(|tag| tag.transitive)
                .map(|tag| tag.key.to_lowercase()),
        );
        tags
    }

    fn transitive(&mut self, given: &HopDocument, at: ValuePointerRef<'_>, tags: &mut [Tag]) {
        let tags_at = at.push_key("tags");
        let at = at.push_key("transitive_tags");
        for (number, key) in self.items(given.transitive_tags.as_ref(), at) {
            match tags.iter_mut().find(|tag| tag.key == *key) {
                Some(tag) => tag.transitive = true,
                None if self.mistakes.touch(tags_at) => {}
                None => {
                    let what = format!("{} is not among the tags of this hop", told(key));
                    self.mistakes.add(at.push_index(number), what);
                }
            }
        }
    }

    fn source_identity(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        inherited: &mut Inherited,
    ) -> Option<SessionName> {
        let at = at.push_key("source_identity");
        let identity = self.read(given.source_identity.as_deref()?, at, |text| {
            let filled = text.parse::<Template>()?.fill(pod)?;
            let why = |why: String| match filled == text {
                true => why,
                false => format!("filled in, {}: {why}", shape(&filled)),
            };
            filled.parse::<SessionName>().map_err(why)
        })?;
        match &inherited.source_identity {
            Some(earlier) if *earlier != identity => self.mistakes.add(
                at,
                "an earlier hop set another source identity, which stays through the chain",
            ),
            _ => inherited.source_identity = Some(identity.clone()),
        }
        Some(identity)
    }

    fn policy(&mut self, given: &HopDocument, at: ValuePointerRef<'_>) -> Option<PolicyDocument> {
        let at = at.push_key("policy");
        match given.policy.as_ref()? {
            serde_json::Value::String(text) => self.read(text, at, PolicyDocument::from_str),
            serde_json::Value::Object(mapping) => match PolicyDocument::of_mapping(mapping) {
                Ok(policy) => Some(policy),
                Err(why) => {
                    self.mistakes
                        .add(at, format!("a mapping of {}; {why}", mapping.len()));
                    None
                }
            },
            _ => {
                self.mistakes.add(at, "neither a mapping nor a JSON text");
                None
            }
        }
    }

    fn policy_arns(&mut self, given: &HopDocument, at: ValuePointerRef<'_>) -> Vec<PolicyArn> {
        let at = at.push_key("policy_arns");
        let items = self.items(given.policy_arns.as_ref(), at);
        if items.len() > MOST_POLICY_ARNS {
            let what = format!(
                "a list of {}; {MOST_POLICY_ARNS} policies at most",
                items.len()
            );
            self.mistakes.add(at, what);
        }
        let read = |(number, text): (usize, &String)| {
            self.read(text, at.push_index(number), PolicyArn::from_str)
        };
        items.into_iter().filter_map(read).collect()
    }
}

/// How often credentials of this lifetime are renewed, without jitter (endpoint-contract
/// section 5; hops live for 15 minutes at least).
fn renewed_every(lifetime: Duration) -> Duration {
    let left = if lifetime < SHORT {
        Duration::from_secs(25 * 60).min(lifetime * 4 / 5)
    } else {
        lifetime / 2
    };
    lifetime.saturating_sub(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_are_as_the_contract_says() {
        for (lifetime, every) in [(15, 3), (30, 6), (40, 15), (60, 30), (720, 360)] {
            let minutes = |count: u64| Duration::from_secs(count * 60);
            assert_eq!(
                renewed_every(minutes(lifetime)),
                minutes(every),
                "{lifetime}"
            );
        }
    }
}
