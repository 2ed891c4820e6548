//! What an application finds in its environment: the way to the relay, and no other way past it
//! (endpoint-contract section 1).

use serde_json::{Value, json};

use super::Denial;
use super::plan::{INLINE, Plan, Share, Token};
use super::volumes::ACCESS;
use crate::config::environment::{self, LEADING_PAST};
use crate::injector::pod::name_of;
use crate::injector::wishes::{CONFLICTS, Conflicts, annotation};

/// The same by files, and the token of another endpoint.
const LEADING_PAST_TOO: [&str; 4] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    // What the first version of the SDK for Java reads.
    "AWS_CREDENTIAL_PROFILES_FILE",
    "AWS_CONFIG_FILE",
    INLINE,
];

/// Whether a variable gives a program other credentials than the relay's.
pub(super) fn leads_past(name: &str) -> bool {
    LEADING_PAST.contains(&name) || LEADING_PAST_TOO.contains(&name)
}

/// The variables that the container shall have.
pub(super) fn wanted(plan: &Plan<'_>, share: &Share) -> Vec<Value> {
    let endpoint = plan.settings.catalogue.endpoint();
    let url = format!("http://{endpoint}/v1/credentials/{}", share.profile);
    let inline = match &share.token {
        Token::File => None,
        Token::Inline(token) => Some((INLINE, token.expose().to_owned())),
    };
    let always = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", format!("{ACCESS}/token")),
        // A failure must not end in the node's role.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    let all = always.into_iter().chain(inline);
    all.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The environment of a container as it shall be. `more` says that some of it comes from a ConfigMap or
/// a Secret as a whole, which nobody here can see.
pub(super) fn set(
    env: Vec<Value>,
    more: bool,
    share: &Share,
    plan: &Plan<'_>,
    denial: &mut Denial,
) -> Vec<Value> {
    let wanted = wanted(plan, share);
    let collides = |variable: &Value| {
        let name = name_of(variable).unwrap_or_default();
        let named = wanted.iter().any(|one| name_of(one) == Some(name));
        (named || leads_past(name)) && !wanted.contains(variable)
    };
    let (colliding, mut env): (Vec<_>, Vec<_>) = env.into_iter().partition(|one| collides(one));
    if plan.conflicts == Conflicts::Refuse {
        for name in colliding.iter().filter_map(name_of) {
            let what = format!(
                "the container {} has {name}, which leads past the relay (EKS sets such variables too, where the service account has a role): remove it, or annotate {}: replace",
                share.container,
                annotation(CONFLICTS)
            );
            denial.add("spec.containers", what);
        }
    }
    for one in wanted {
        if !env.contains(&one) {
            env.push(one);
        }
    }
    no_proxy(&mut env, more);
    env
}

/// Sees to it that no proxy is asked for the relay: some SDKs send calls to the loopback address
/// through one. Programs read one of both names, or one before the other, so where one alone is there the
/// other says the same.
fn no_proxy(env: &mut Vec<Value>, more: bool) {
    let names = ["NO_PROXY", "no_proxy"];
    for name in names {
        merge(env, name);
    }
    let [upper, lower] = names.map(|name| value_of(env, name));
    for (name, own, other) in [(names[0], &upper, &lower), (names[1], &lower, &upper)] {
        if own.is_none() {
            // What comes from a ConfigMap as a whole would be hidden by this variable.
            let hidden = more.then(|| format!("$({name})"));
            let list: Vec<String> = hidden.into_iter().chain(other.clone()).collect();
            env.push(json!({ "name": name, "value": environment::no_proxy(&list.join(",")) }));
        }
    }
}

/// The value that counts: the last.
fn value_of(env: &[Value], name: &str) -> Option<String> {
    let variable = env.iter().rfind(|one| name_of(one) == Some(name))?;
    Some(variable.get("value").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Adds the relay's hosts to a variable that is there. One whose value comes from elsewhere gets
/// another name, under which it is a part of the new value.
fn merge(env: &mut Vec<Value>, name: &str) {
    let kept = format!("CREDENTIAL_RELAY_{name}");
    let mut merged = Vec::with_capacity(env.len() + 1);
    for mut variable in std::mem::take(env) {
        if name_of(&variable) != Some(name) {
            merged.push(variable);
            continue;
        }
        let from = variable.get("valueFrom").is_some_and(|from| !from.is_null());
        let value = variable.get("value").and_then(Value::as_str).unwrap_or_default().to_owned();
        if from {
            variable["name"] = kept.clone().into();
            merged.push(variable);
            merged.push(
                json!({ "name": name, "value": environment::no_proxy(&format!("$({kept})")) }),
            );
        } else {
            let value = environment::no_proxy(&value);
            variable["value"] = value.into();
            merged.push(variable);
        }
    }
    *env = merged;
}
