//! A pod that was injected before: other webhooks changed it since, or somebody wrote it down as it
//! was. What the injector made must be there as the injector would make it now; what others added
//! stays.

mod image;
mod relay;

use serde_json::Value;

use super::plan::{INLINE, Plan, Token};
use super::volumes::{self, ACCESS, PREFIX};
use super::{Denial, Pod, RELAY};
use crate::injector::pod::{cut, name_of};
use crate::injector::wishes::{INJECTED, annotation};

/// What others may change for good reasons: by what the node has, and by what the cluster demands.
const OTHERS: [&str; 2] = ["resources", "imagePullPolicy"];

/// Everything that a pod brings under the injector's names and that is not of the injector.
pub(super) fn check(pod: Pod<'_>, plan: &Plan<'_>) -> Denial {
    let mut denial = Denial::default();
    let wanted = volumes::all(plan);
    for volume in pod.list("volumes") {
        let name = name_of(volume).unwrap_or_default();
        let own = wanted.iter().find(|one| name_of(one) == Some(name));
        if name.starts_with(PREFIX) && !own.is_some_and(|own| is_same_volume(volume, own)) {
            denial.add("spec.volumes", not_ours(&format!("the volume {}", cut(name))));
        }
    }
    for container in pod.containers() {
        let name = name_of(container).unwrap_or_default();
        if name == RELAY {
            relay::check(container, plan, &mut denial);
        } else {
            check_mounts(container, name, plan, &mut denial);
            check_tokens(container, name, plan, &mut denial);
        }
    }
    denial
}

fn not_ours(what: &str) -> String {
    format!(
        "{what} is not as the injector makes it: remove the annotation {} and all that came with it; the pod gets it anew",
        annotation(INJECTED)
    )
}

/// How the API server fills in the rights of a volume's files, as a number.
const DEFAULT_MODE: u64 = 0o644;

/// Whether a volume is as the injector makes it, but for what the API server fills in.
fn is_same_volume(there: &Value, wanted: &Value) -> bool {
    let mut there = there.clone();
    for (_, source) in there.as_object_mut().into_iter().flatten() {
        if let Some(source) = source.as_object_mut()
            && source.get("defaultMode").is_some_and(|mode| *mode == DEFAULT_MODE)
        {
            source.remove("defaultMode");
        }
    }
    there == *wanted
}

/// No container sees another's access token.
fn check_mounts(container: &Value, name: &str, plan: &Plan<'_>, denial: &mut Denial) {
    let own = plan.share(name).map(|share| share.volume.as_str());
    for mount in items(container, "volumeMounts") {
        let volume = name_of(mount).unwrap_or_default();
        let path = mount.get("mountPath").and_then(Value::as_str);
        let right = Some(volume) == own && path == Some(ACCESS);
        if volume.starts_with(PREFIX) && !right {
            let what = format!("that the container {name} sees the volume {}", cut(volume));
            denial.add("spec.containers", not_ours(&what));
        }
    }
}

/// Nor has it in its environment: another webhook may have made it as a copy of that one.
fn check_tokens(container: &Value, name: &str, plan: &Plan<'_>, denial: &mut Denial) {
    for variable in items(container, "env") {
        // What collides with a container's own token is looked at with its other variables.
        if name_of(variable) == Some(INLINE) && plan.share(name).is_some() {
            continue;
        }
        let value = variable.get("value").and_then(Value::as_str);
        let is_its =
            |token: &Token| matches!(token, Token::Inline(token) if value == Some(token.expose()));
        let mut others = plan.shares.iter().filter(|share| share.container != name);
        if let Some(other) = others.find(|share| is_its(&share.token)) {
            let what = format!(
                "the container {name} has the access token of the container {} in its variable {}: remove it there",
                other.container,
                cut(name_of(variable).unwrap_or_default())
            );
            denial.add("spec.containers", what);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The items of a list of a container.
fn items<'a>(container: &'a Value, field: &str) -> &'a [Value] {
    container.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether all of `part` is in `whole`, which may say more: the API server fills in its defaults.
pub(super) fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(a, b)| contains(a, b))
        }
        (whole, part) => whole == part,
    }
}

/// The list with all that is wanted in it: what is there already stays in its place, with what it says
/// beside, and what is missing comes last. Items are the same by `key`.
pub(super) fn merged(old: &[Value], wanted: &[Value], key: &str) -> Vec<Value> {
    let same = |a: &Value, b: &Value| a.get(key).is_some() && a.get(key) == b.get(key);
    let mut list: Vec<Value> = old
        .iter()
        .map(|item| match wanted.iter().find(|one| same(one, item)) {
            Some(one) if !contains(item, one) => one.clone(),
            Some(_) | None => item.clone(),
        })
        .collect();
    for one in wanted {
        if !list.iter().any(|item| same(item, one)) {
            list.push(one.clone());
        }
    }
    list
}

/// The relay's container as it shall be, with what others added to the one that is there.
pub(super) fn carried(old: &Value, new: Value, plan: &Plan<'_>) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return old.clone() };
    let mut container = old.clone();
    for (field, wanted) in new {
        let there = old.get(&field);
        let value = match (field.as_str(), there, &wanted) {
            ("env", Some(Value::Array(there)), Value::Array(wanted)) => {
                Value::Array(merged(there, wanted, "name"))
            }
            ("volumeMounts", Some(Value::Array(there)), Value::Array(wanted)) => {
                Value::Array(merged(there, wanted, "mountPath"))
            }
            ("image", Some(there), wanted) if relay::is_image(there, wanted, plan) => there.clone(),
            (field, Some(there), _) if OTHERS.contains(&field) && !is_empty(there) => there.clone(),
            (_, Some(there), wanted) if contains(there, wanted) => there.clone(),
            _ => wanted,
        };
        container.insert(field, value);
    }
    container.into()
}
