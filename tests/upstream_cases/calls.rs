//! Calls that AWS's own client makes.

use aws_sdk_sts::Client;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use credential_relay::clock::Clock;
use serde::Deserialize;

use super::{Answer, ExpectedError, Keys, Upstream, World};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Why moto cannot pass it.
    not_on_moto: Option<String>,
    /// The hops before the call; the caller is the session of the last one, or the base user.
    #[serde(default)]
    chain: Vec<Hop>,
    /// The call itself.
    call: Hop,
    expect: Expected,
}

/// The parameters of an AssumeRole. Those with a number stand for as many (or as long) as that.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Hop {
    role_arn: Option<String>,
    role_session_name: Option<String>,
    duration_seconds: Option<i32>,
    external_id: Option<String>,
    source_identity: Option<String>,
    policy: Option<String>,
    policy_padded_to: Option<usize>,
    policy_arns: Option<usize>,
    #[serde(default)]
    tags: Vec<(String, String)>,
    tag_count: Option<usize>,
    /// Of each value of the `TagCount` tags.
    tag_length: Option<usize>,
    transitive_tag_keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Error(ExpectedError),
    Session(ExpectedSession),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSession {
    arn: String,
    account: String,
    lifetime: Option<i64>,
    source_identity: Option<String>,
    #[serde(default)]
    packed: bool,
}

/// Runs the cases; every failure is told.
pub(crate) async fn run(world: &World, upstream: Upstream) {
    let cases: Vec<Case> = serde_json::from_str(include_str!("calls.json")).unwrap();
    let mut failures = Vec::new();
    let mut ran = 0;
    for case in cases {
        if upstream.runs(case.not_on_moto.as_ref()) {
            ran += 1;
            if let Err(why) = case.run(world, upstream).await {
                failures.push(format!("{}: {why}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran > 0, "no case was run");
}

impl Case {
    async fn run(&self, world: &World, upstream: Upstream) -> Result<(), String> {
        let mut keys = world.base.clone();
        for hop in &self.chain {
            let answer = hop.call(world, &keys).await;
            keys = session_keys(&answer.map_err(|error| format!("on the way: {error:?}"))?);
        }
        let started = Clock::system().now().wall.as_secs();
        match (self.call.call(world, &keys).await, &self.expect) {
            (Ok(answer), Expected::Session(expected)) => {
                expected.holds(world, started, &answer).await
            }
            (Err(error), Expected::Error(expected)) => {
                let raw = error.raw_response().ok_or_else(|| format!("{error:?}"))?;
                let answer = Answer {
                    status: raw.status().as_u16(),
                    body: String::from_utf8_lossy(raw.body().bytes().unwrap_or_default()).into(),
                };
                if upstream == Upstream::Moto {
                    // AWS's client cannot read all of its errors: some stand in an <Errors>.
                    return expected.holds(&answer);
                }
                let (code, message) = (error.code(), error.message());
                if code != Some(answer.element("Code")) || message.is_none() {
                    return Err(format!("AWS's client read {code:?} and {message:?}"));
                }
                expected.holds(&answer)
            }
            (Ok(_), Expected::Error(_)) => Err("it was granted".to_owned()),
            (Err(error), Expected::Session(_)) => Err(format!("{error:?}")),
        }
    }
}

impl Hop {
    async fn call(
        &self,
        world: &World,
        keys: &Keys,
    ) -> Result<AssumeRoleOutput, SdkError<aws_sdk_sts::operation::assume_role::AssumeRoleError>>
    {
        let fill = |text: &Option<String>| text.as_ref().map(|text| world.fill(text));
        let generated = (1..=self.tag_count.unwrap_or(0)).map(|n| {
            let value = "v".repeat(self.tag_length.unwrap_or(1));
            (format!("key-{n}"), value)
        });
        let tags: Vec<_> = self.tags.iter().cloned().chain(generated).collect();
        let tag = |(key, value)| Tag::builder().key(key).value(value).build().unwrap();
        let arn = |n| {
            let arn = format!("arn:aws:iam::aws:policy/Policy{n}");
            PolicyDescriptorType::builder().arn(arn).build()
        };
        client(world, keys)
            .assume_role()
            .set_role_arn(fill(&self.role_arn))
            .set_role_session_name(fill(&self.role_session_name))
            .set_duration_seconds(self.duration_seconds)
            .set_external_id(fill(&self.external_id))
            .set_source_identity(fill(&self.source_identity))
            .set_policy(self.policy())
            .set_policy_arns(self.policy_arns.map(|n| (1..=n).map(arn).collect()))
            .set_tags((!tags.is_empty()).then(|| tags.into_iter().map(tag).collect()))
            .set_transitive_tag_keys(self.transitive_tag_keys.clone())
            .send()
            .await
    }

    fn policy(&self) -> Option<String> {
        let padded = self
            .policy_padded_to
            .map(|length| format!("{:length$}", r#"{"Version":"2012-10-17","Statement":[]}"#));
        padded.or_else(|| self.policy.clone())
    }
}

impl ExpectedSession {
    #[allow(
        deprecated,
        reason = "STS still sends PackedPolicySize, and the relay need not read it"
    )]
    async fn holds(
        &self,
        world: &World,
        started: i64,
        answer: &AssumeRoleOutput,
    ) -> Result<(), String> {
        let credentials = answer.credentials().ok_or("no credentials")?;
        let identity = client(world, &session_keys(answer))
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| format!("the new keys are not accepted: {error:?}"))?;
        let lifetime = credentials.expiration().secs() - started;
        let user = answer.assumed_role_user().ok_or("no AssumedRoleUser")?;
        let checks = [
            ("ARN", user.arn() == world.fill(&self.arn)),
            ("identity's ARN", identity.arn() == Some(user.arn())),
            ("identity's user id", identity.user_id() == Some(user.assumed_role_id())),
            ("account", identity.account() == Some(&world.fill(&self.account))),
            ("expiration", lifetime > 0),
            // The whole call may stand between the two clock readings.
            ("lifetime", self.lifetime.is_none_or(|asked| (asked..asked + 10).contains(&lifetime))),
            ("source identity", answer.source_identity() == self.source_identity.as_deref()),
            (
                "packed policy size",
                !self.packed || answer.packed_policy_size().is_some_and(|percent| percent > 0),
            ),
            ("key id", credentials.access_key_id().starts_with("ASIA")),
        ];
        let wrong: Vec<_> =
            checks.iter().filter_map(|(what, holds)| (!holds).then_some(*what)).collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("wrong {}: {user:?}, {identity:?}, lifetime {lifetime}", wrong.join(", ")))
        }
    }
}

/// The keys in an answer.
pub(crate) fn session_keys(answer: &AssumeRoleOutput) -> Keys {
    let credentials = answer.credentials().unwrap();
    Keys {
        access_key_id: credentials.access_key_id().to_owned(),
        secret_access_key: credentials.secret_access_key().to_owned(),
        session_token: Some(credentials.session_token().to_owned()),
    }
}

/// AWS's client without retries.
pub(crate) fn client(world: &World, keys: &Keys) -> Client {
    Client::from_conf(config(world, keys).build())
}

/// A configuration of AWS's client without retries.
pub(crate) fn config(world: &World, keys: &Keys) -> aws_sdk_sts::config::Builder {
    aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(&world.endpoint)
        .region(Region::new(world.region.clone()))
        .retry_config(RetryConfig::disabled())
        .credentials_provider(Credentials::new(
            &keys.access_key_id,
            &keys.secret_access_key,
            keys.session_token.clone(),
            None,
            "test",
        ))
}
