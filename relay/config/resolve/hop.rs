//! The hops of a chain: each by itself, and what one passes on to the next.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use deserr::ValuePointerRef;

use super::Resolver;
use super::keys::Base;
use super::sts::Defaults;
use crate::arn::{Partition, RoleArn};
use crate::config::Hop;
use crate::config::document::{HopDocument, PolicyValue, ProfileDocument};
use crate::config::mistakes::{Place, shape};
use crate::config::template::{Pod, Template};
use crate::config::values::{self, PolicyArn, PolicyDocument, SessionName, Tag};
use crate::config::vault::CredentialType;
use crate::schedule;

/// Tags of a session, and managed policies: AssumeRole's API reference.
const MOST_TAGS: usize = 50;
const MOST_POLICY_ARNS: usize = 10;

/// Below this an answer cannot always have 25 minutes left (endpoint-contract section 5).
const SHORT: Duration = Duration::from_secs(50 * 60);

pub(super) const DEFAULT_DURATION: Duration = Duration::from_secs(3600);

/// What the hops of a chain share.
struct Chain<'a> {
    pod: Pod<'a>,
    sts: &'a Defaults,
    /// Keys of the transitive tags so far, in lower case: STS compares keys without case.
    transitive: Vec<String>,
    /// The one that was set so far.
    source_identity: Option<SessionName>,
}

impl Resolver<'_> {
    /// The hops of a profile. None where something is wrong.
    pub(super) fn chain(
        &mut self,
        pod: &Pod<'_>,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
        sts: &Defaults,
    ) -> Option<Vec<Hop>> {
        let base = Base::of(given);
        let mut chain = Chain { pod: *pod, sts, transitive: Vec::new(), source_identity: None };
        let hops = self.items(given.chain.as_ref(), at).into_iter();
        if base == Base::Session(CredentialType::FederationToken) && hops.len() > 0 {
            self.mistakes.add(
                at,
                "a federation token may call nothing in STS but GetCallerIdentity, so no hop can start from \
                 one: use a Vault role of another credential_type, or remove the chain",
            );
        }
        // A role session's AssumeRole is role chaining.
        let of_session =
            matches!(base, Base::RoleSession | Base::Session(CredentialType::AssumedRole));
        // Every hop is checked before the first that is wrong ends it.
        let hops: Vec<Option<Hop>> = hops
            .map(|(number, given)| {
                self.hop(given, at.push_index(number), number > 0 || of_session, &mut chain)
            })
            .collect();
        hops.into_iter().collect()
    }

    fn hop(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        chained: bool,
        chain: &mut Chain<'_>,
    ) -> Option<Hop> {
        let sts = self.sts_of(&given.into(), at, chain.sts);
        let role_arn = self.role_arn(given, at);
        let session_name = given.session_name.as_deref();
        let session_name = self.session_name(session_name, at.push_key("session_name"), &chain.pod);
        let external_id = self.external_id(given, at);
        let duration = self.duration(given, at, chained);
        let tags = self.tags(given, at, chain);
        let source_identity = self.source_identity(given, at, chain);
        let policy = given.policy.as_ref();
        let policy = policy.and_then(|policy| self.policy(policy, at.push_key("policy")));
        let policy_arns = self.policy_arns(given.policy_arns.as_ref(), at.push_key("policy_arns"));
        let (role_arn, sts) = (role_arn?, sts?);
        let region = sts.region.partition();
        self.check_partition(at.push_key("role_arn"), role_arn.partition(), region);
        self.check_policies(&policy_arns, at.push_key("policy_arns"), region);
        Some(Hop {
            role_arn,
            session_name: session_name?,
            external_id,
            duration,
            tags,
            source_identity,
            policy,
            policy_arns,
            sts,
        })
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

    pub(super) fn check_partition(
        &mut self,
        at: impl Into<Place>,
        found: Partition,
        region: Partition,
    ) {
        if found != region {
            let what = format!(
                "it is of the partition {}, but the region that is asked is of {}, whose STS does not know it",
                found.as_str(),
                region.as_str()
            );
            self.mistakes.add(at, what);
        }
    }

    pub(super) fn check_policies(
        &mut self,
        arns: &[PolicyArn],
        at: ValuePointerRef<'_>,
        region: Partition,
    ) {
        for (number, arn) in arns.iter().enumerate() {
            self.check_partition(at.push_index(number), arn.partition(), region);
        }
    }

    pub(super) fn session_name(
        &mut self,
        given: Option<&str>,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
    ) -> Option<SessionName> {
        match given {
            Some(text) => {
                self.read(text, at, |text| text.parse::<Template>()?.fill_session_name(pod))
            }
            None => self.read("", at, |_| Template::of_session_name(pod).fill_session_name(pod)),
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
        let Some(duration) = self.read(text, at, |text| values::lifetime(text, values::LONGEST))
        else {
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
        self.warn_of_short(duration, at, "STS");
        duration
    }

    /// Tells what a short lifetime costs the upstream that grants it.
    pub(super) fn warn_of_short(
        &mut self,
        duration: Duration,
        at: ValuePointerRef<'_>,
        upstream: &str,
    ) {
        if duration < SHORT {
            let every = schedule::renewed_every(duration);
            let what = format!(
                "{} is short: it is renewed every {}, which takes {:.1} calls to {upstream} an hour for each \
                 pod; 1h takes {:.1}",
                values::told(duration),
                values::told(every),
                3600.0 / every.as_secs_f64(),
                3600.0 / schedule::renewed_every(DEFAULT_DURATION).as_secs_f64()
            );
            self.warnings.add(at, what);
        }
    }

    fn tags(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        chain: &mut Chain<'_>,
    ) -> Vec<Tag> {
        let tags_at = at.push_key("tags");
        let empty = BTreeMap::new();
        let given_tags = given.tags.as_ref().map_or(&empty, |tags| &tags.0);
        if given_tags.len() > MOST_TAGS {
            let what = format!("a mapping of {}; {MOST_TAGS} tags at most", given_tags.len());
            self.mistakes.add(tags_at, what);
        }
        let mut seen: Vec<String> = Vec::new();
        let mut tags = Vec::new();
        for (key, value) in given_tags {
            let at = tags_at.push_key(key);
            let _ = self.read(key, at, Tag::check_key);
            let lower = key.to_lowercase();
            if seen.contains(&lower) {
                self.mistakes.add(at, "the key stands twice: STS compares keys without case");
            }
            if chain.transitive.contains(&lower) {
                self.mistakes
                    .add(at, "an earlier hop's transitive tag has this key, and STS does not let it be set anew");
            }
            seen.push(lower);
            let value = self.read(value, at, |text| {
                let value = text.parse::<Template>()?.fill(&chain.pod)?;
                Tag::check_value(&value).map(|()| value)
            });
            let transitive = false;
            tags.extend(value.map(|value| Tag { key: key.clone(), value, transitive }));
        }
        self.transitive(given, at, &mut tags);
        let transitive = tags.iter().filter(|tag| tag.transitive);
        chain.transitive.extend(transitive.map(|tag| tag.key.to_lowercase()));
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
                    let what = format!("{}, which is not among the tags of this hop", shape(key));
                    self.mistakes.add(at.push_index(number), what);
                }
            }
        }
    }

    fn source_identity(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        chain: &mut Chain<'_>,
    ) -> Option<SessionName> {
        let at = at.push_key("source_identity");
        let identity = self.read(given.source_identity.as_deref()?, at, |text| {
            let filled = text.parse::<Template>()?.fill(&chain.pod)?;
            let why = |why: String| match filled == text {
                true => why,
                false => format!("filled in, {}: {why}", shape(&filled)),
            };
            filled.parse::<SessionName>().map_err(why)
        })?;
        match &chain.source_identity {
            Some(earlier) if *earlier != identity => self.mistakes.add(
                at,
                "an earlier hop set another source identity, which stays through the chain",
            ),
            _ => chain.source_identity = Some(identity.clone()),
        }
        Some(identity)
    }

    pub(super) fn policy(
        &mut self,
        given: &PolicyValue,
        at: ValuePointerRef<'_>,
    ) -> Option<PolicyDocument> {
        match given {
            PolicyValue::Text(text) => self.read(text, at, PolicyDocument::from_str),
            PolicyValue::Mapping(mapping) => match PolicyDocument::of_mapping(mapping) {
                Ok(policy) => Some(policy),
                Err(why) => {
                    let what = format!("a mapping of {}; {why}", mapping.len());
                    self.mistakes.add(at, what);
                    None
                }
            },
        }
    }

    pub(super) fn policy_arns(
        &mut self,
        given: Option<&Vec<Option<String>>>,
        at: ValuePointerRef<'_>,
    ) -> Vec<PolicyArn> {
        let items = self.items(given, at);
        if items.len() > MOST_POLICY_ARNS {
            let what = format!("a list of {}; {MOST_POLICY_ARNS} policies at most", items.len());
            self.mistakes.add(at, what);
        }
        let read = |(number, text): (usize, &String)| {
            self.read(text, at.push_index(number), PolicyArn::from_str)
        };
        items.into_iter().filter_map(read).collect()
    }
}
