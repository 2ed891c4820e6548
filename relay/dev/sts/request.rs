//! The parameters of AssumeRole, AssumeRoleWithWebIdentity and GetSessionToken, and what they must be by the API reference.
//! Violations are gathered and told at once, as the real STS does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::answer::Refusal;
use super::keys::Tags;
use super::query::Form;
use crate::arn::RoleArn;
use crate::credential::Secret;

/// Figures of the API reference's page on AssumeRole.
const ROLE_SECONDS: RangeInclusive<u64> = 900..=43_200;
const ROLE_DEFAULT: u64 = 3_600;
const USER_SECONDS: RangeInclusive<u64> = 900..=129_600;
const USER_DEFAULT: u64 = 43_200;
const ARN_LENGTH: RangeInclusive<usize> = 20..=2_048;
const NAME_LENGTH: RangeInclusive<usize> = 2..=64;
const EXTERNAL_ID_LENGTH: RangeInclusive<usize> = 2..=1_224;
const POLICY_LENGTH: RangeInclusive<usize> = 1..=2_048;
const TOKEN_LENGTH: RangeInclusive<usize> = 4..=20_000;
const TAG_KEY_LENGTH: RangeInclusive<usize> = 1..=128;
const TAG_VALUE_LENGTH: RangeInclusive<usize> = 0..=256;
const MOST_TAGS: usize = 50;
const MOST_POLICY_ARNS: usize = 10;

/// Bytes of policies and tags that a session may carry. AWS packs them by a way of its own that it
/// does not publish; this stands in for it, so that both an answer's percentage and
/// PackedPolicyTooLarge can be met.
const PACKED_BYTES: usize = 4_096;

/// A well-formed AssumeRole.
#[derive(Debug)]
pub(super) struct AssumeRole {
    pub(super) role: RoleArn,
    pub(super) session_name: String,
    pub(super) duration: Duration,
    pub(super) external_id: Option<String>,
    pub(super) source_identity: Option<String>,
    pub(super) tags: Tags,
    /// The tags among them that are handed on, by their key in lower case.
    pub(super) transitive: BTreeSet<String>,
    packed: usize,
}

impl AssumeRole {
    /// Reads and checks what can be checked without knowing the caller.
    pub(super) fn read(form: &Form) -> Result<Self, Refusal> {
        let mut violations = Violations::default();
        let (role, session_name) = violations.role_session(form);
        let duration = violations.seconds(form, &ROLE_SECONDS, ROLE_DEFAULT)?;
        let external_id = form.get("ExternalId");
        if let Some(id) = external_id {
            violations.length(id, "externalId", &EXTERNAL_ID_LENGTH);
            violations.pattern(id, "externalId", "+=,.@:/-", r"[\w+=,.@:\/-]*");
        }
        let source_identity = form.get("SourceIdentity");
        if let Some(identity) = source_identity {
            violations.name(identity, "sourceIdentity");
        }
        let (policy, policy_arns) = violations.policies(form);
        let pairs = form.members("Tags");
        violations.tags(&pairs);
        violations.into_result()?;

        let role = role.parse().map_err(|_| Refusal::validation("Request ARN is invalid"))?;
        let arns = check_policies(policy, &policy_arns)?;
        let (tags, transitive) = read_tags(&pairs, &form.members("TransitiveTagKeys"))?;
        Ok(Self {
            role,
            session_name: session_name.to_owned(),
            duration,
            external_id: external_id.map(str::to_owned),
            source_identity: source_identity.map(str::to_owned),
            tags,
            transitive,
            packed: policy.map_or(0, str::len) + arns,
        })
    }

    /// Percent of the room for policies and tags that a session with these tags takes, if any.
    pub(super) fn packed_percent(&self, tags: &Tags) -> Result<Option<u64>, Refusal> {
        let tags: usize = tags.values().map(|(key, value)| key.len() + value.len()).sum();
        packed_percent(self.packed + tags)
    }
}

/// A well-formed AssumeRoleWithWebIdentity.
#[derive(Debug)]
pub(super) struct AssumeRoleWithWebIdentity {
    pub(super) role: RoleArn,
    pub(super) session_name: String,
    pub(super) duration: Duration,
    pub(super) token: Secret,
    pub(super) packed: Option<u64>,
}

impl AssumeRoleWithWebIdentity {
    /// Reads and checks what can be checked without a look into the token.
    pub(super) fn read(form: &Form) -> Result<Self, Refusal> {
        let mut violations = Violations::default();
        let (role, session_name) = violations.role_session(form);
        let token = violations.required(form, "WebIdentityToken");
        if !TOKEN_LENGTH.contains(&token.len()) {
            violations.add("***", "webIdentityToken", "have a length between 4 and 20000");
        }
        let duration = violations.seconds(form, &ROLE_SECONDS, ROLE_DEFAULT)?;
        let (policy, policy_arns) = violations.policies(form);
        violations.into_result()?;
        let arns = check_policies(policy, &policy_arns)?;
        Ok(Self {
            role: role.parse().map_err(|_| Refusal::validation("Request ARN is invalid"))?,
            session_name: session_name.to_owned(),
            duration,
            token: Secret::new(token.to_owned()),
            packed: packed_percent(policy.map_or(0, str::len) + arns)?,
        })
    }
}

fn packed_percent(bytes: usize) -> Result<Option<u64>, Refusal> {
    let percent = (bytes * 100).div_ceil(PACKED_BYTES);
    if percent > 100 {
        return Err(Refusal::bad_request(
            "PackedPolicyTooLarge",
            format!("Packed size of session tags consumes {percent}% of allotted space."),
        ));
    }
    Ok(u64::try_from(percent).ok().filter(|percent| *percent > 0))
}

/// The lifetime that a GetSessionToken asks for.
pub(super) fn session_token_duration(form: &Form) -> Result<Duration, Refusal> {
    let mut violations = Violations::default();
    let duration = violations.seconds(form, &USER_SECONDS, USER_DEFAULT)?;
    violations.into_result()?;
    Ok(duration)
}

/// Checks the session policies; the length of the ARNs among them.
fn check_policies(policy: Option<&str>, arns: &[BTreeMap<&str, &str>]) -> Result<usize, Refusal> {
    if let Some(policy) = policy {
        let well_formed = serde_json::from_str::<serde_json::Value>(policy)
            .is_ok_and(|policy| policy.get("Statement").is_some());
        if !well_formed {
            return Err(Refusal::bad_request(
                "MalformedPolicyDocument",
                "Syntax errors in policy.",
            ));
        }
    }
    arns.iter().try_fold(0, |length, member| {
        let arn = member.get("arn").copied().unwrap_or_default();
        if arn.starts_with("arn:") && arn.contains(":policy/") {
            Ok(length + arn.len())
        } else {
            Err(Refusal::validation(format!("ARN {arn} is not valid.")))
        }
    })
}

fn read_tags(
    pairs: &[BTreeMap<&str, &str>],
    transitive: &[BTreeMap<&str, &str>],
) -> Result<(Tags, BTreeSet<String>), Refusal> {
    let mut tags = Tags::new();
    for pair in pairs {
        let (key, value) = tag(pair);
        let earlier = tags.insert(key.to_lowercase(), (key.to_owned(), value.to_owned()));
        if earlier.is_some() {
            return Err(Refusal::bad_request(
                "InvalidParameterValue",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    let keys: BTreeSet<String> = transitive
        .iter()
        .filter_map(|member| member.get(""))
        .map(|key| key.to_lowercase())
        .collect();
    if keys.iter().any(|key| !tags.contains_key(key)) {
        return Err(Refusal::bad_request(
            "InvalidParameterValue",
            "The specified transitive tag key must be included in the requested tags.",
        ));
    }
    Ok((tags, keys))
}

fn tag<'a>(pair: &BTreeMap<&str, &'a str>) -> (&'a str, &'a str) {
    let field = |name| pair.get(name).copied().unwrap_or_default();
    (field("Key"), field("Value"))
}

/// Parameters that break a constraint, each in the words of the real STS.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, value: &str, at: &str, constraint: &str) {
        self.0.push(format!(
            "Value '{value}' at '{at}' failed to satisfy constraint: Member must {constraint}"
        ));
    }

    /// The parameter, or a text that satisfies every constraint in its place.
    fn required<'a>(&mut self, form: &'a Form, name: &str) -> &'a str {
        form.get(name).unwrap_or_else(|| {
            let (first, rest) = name.split_at(1);
            let at = format!("{}{rest}", first.to_lowercase());
            self.0.push(format!(
                "Value null at '{at}' failed to satisfy constraint: Member must not be null"
            ));
            "absent-and-already-told"
        })
    }

    fn length(&mut self, value: &str, at: &str, range: &RangeInclusive<usize>) {
        let length = value.chars().count();
        if length < *range.start() {
            let least = format!("have length greater than or equal to {}", range.start());
            self.add(value, at, &least);
        } else if length > *range.end() {
            let most = format!("have length less than or equal to {}", range.end());
            self.add(value, at, &most);
        }
    }

    fn pattern(&mut self, value: &str, at: &str, punctuation: &str, written: &str) {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || punctuation.contains(c);
        if !value.chars().all(legal) {
            let constraint = format!("satisfy regular expression pattern: {written}");
            self.add(value, at, &constraint);
        }
    }

    /// The role and the name of a session of it.
    fn role_session<'a>(&mut self, form: &'a Form) -> (&'a str, &'a str) {
        let role = self.required(form, "RoleArn");
        self.length(role, "roleArn", &ARN_LENGTH);
        let name = self.required(form, "RoleSessionName");
        self.name(name, "roleSessionName");
        (role, name)
    }

    /// The session policy and the managed ones.
    fn policies<'a>(
        &mut self,
        form: &'a Form,
    ) -> (Option<&'a str>, Vec<BTreeMap<&'a str, &'a str>>) {
        let policy = form.get("Policy");
        if let Some(policy) = policy {
            self.length(policy, "policy", &POLICY_LENGTH);
        }
        let arns = form.members("PolicyArns");
        self.count(arns.len(), "policyArns", MOST_POLICY_ARNS);
        (policy, arns)
    }

    /// A session's name or a source identity.
    fn name(&mut self, value: &str, at: &str) {
        self.length(value, at, &NAME_LENGTH);
        self.pattern(value, at, "+=,.@-", r"[\w+=,.@-]*");
    }

    fn count(&mut self, count: usize, at: &str, most: usize) {
        if count > most {
            let constraint = format!("have length less than or equal to {most}");
            self.add(&format!("[{count} members]"), at, &constraint);
        }
    }

    fn tags(&mut self, pairs: &[BTreeMap<&str, &str>]) {
        self.count(pairs.len(), "tags", MOST_TAGS);
        for (number, pair) in (1..).zip(pairs) {
            let (key, value) = tag(pair);
            self.length(key, &format!("tags.{number}.member.key"), &TAG_KEY_LENGTH);
            self.length(value, &format!("tags.{number}.member.value"), &TAG_VALUE_LENGTH);
        }
    }

    fn seconds(
        &mut self,
        form: &Form,
        range: &RangeInclusive<u64>,
        default: u64,
    ) -> Result<Duration, Refusal> {
        let Some(text) = form.get("DurationSeconds") else {
            return Ok(Duration::from_secs(default));
        };
        let seconds = text.parse().map_err(|_| {
            Refusal::bad_request(
                "MalformedInput",
                "DurationSeconds must be a whole number of seconds",
            )
        })?;
        if seconds < *range.start() {
            let least = format!("have value greater than or equal to {}", range.start());
            self.add(text, "durationSeconds", &least);
        } else if seconds > *range.end() {
            let most = format!("have value less than or equal to {}", range.end());
            self.add(text, "durationSeconds", &most);
        }
        Ok(Duration::from_secs(seconds))
    }

    fn into_result(self) -> Result<(), Refusal> {
        match self.0.len() {
            0 => Ok(()),
            n => Err(Refusal::validation(format!(
                "{n} validation error{} detected: {}",
                if n == 1 { "" } else { "s" },
                self.0.join("; ")
            ))),
        }
    }
}
