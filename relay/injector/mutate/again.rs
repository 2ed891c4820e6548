//! A pod that was injected before: other webhooks changed it since, or somebody wrote it down as it
//! was. What the injector made must be there as the injector would make it now; what others added
//! stays.

use serde_json::Value;

use super::plan::Plan;
use super::volumes::{self, ACCESS, PREFIX};
use super::{Denial, Pod, RELAY, eks, sidecar};
use crate::injector::pod::{cut, name_of};
use crate::injector::wishes::{INJECTED, annotation};

/// What must be in the relay's container as the injector makes it. Its probes are set again.
const FIXED: [&str; 3] = ["args", "restartPolicy", "securityContext"];

/// What others may change for good reasons: by what the node has, and by what the cluster demands.
const OTHERS: [&str; 2] = ["resources", "imagePullPolicy"];

/// Variables that lead the relay elsewhere; EKS's own are welcome.
const LEADING_ELSEWHERE: [&str; 4] = ["CREDENTIAL_RELAY_", "VAULT_", "AWS_", "POD_"];

/// What the injector never gives to it.
const FOREIGN: [&str; 4] = ["command", "envFrom", "lifecycle", "volumeDevices"];

/// Everything that a pod brings under the injector's names and that is not of the injector.
pub(super) fn check(pod: Pod<'_>, plan: &Plan<'_>) -> Denial {
    let mut denial = Denial::default();
    let wanted = volumes::all(plan);
    for volume in pod.list("volumes") {
        let name = name_of(volume).unwrap_or_default();
        if name.starts_with(PREFIX) && !wanted.iter().any(|one| contains(volume, one)) {
            denial.add("spec.volumes", not_ours(&format!("the volume {}", cut(name))));
        }
    }
    for container in pod.containers() {
        let name = name_of(container).unwrap_or_default();
        if name == RELAY {
            check_relay(container, plan, &mut denial);
        } else {
            check_mounts(container, name, plan, &mut denial);
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

fn check_relay(old: &Value, plan: &Plan<'_>, denial: &mut Denial) {
    let new = sidecar::container(plan, false);
    if !is_image(&old["image"], &new["image"]) {
        denial.add("spec.initContainers", not_ours(&format!("image of the container {RELAY}")));
    }
    let differs = FIXED.into_iter().filter(|field| !contains(&old[*field], &new[*field]));
    let foreign = FOREIGN.into_iter().filter(|field| !is_empty(&old[*field]));
    for field in differs.chain(foreign) {
        let what = format!("{field} of the container {RELAY}");
        denial.add("spec.initContainers", not_ours(&what));
    }
    let own = items(&new, "env");
    for variable in items(old, "env") {
        let name = name_of(variable).unwrap_or_default();
        let right = match own.iter().find(|one| name_of(one) == Some(name)) {
            // More containers may have come since.
            Some(_) if name == sidecar::TEXT => true,
            Some(one) => contains(variable, one),
            None if eks::VARIABLES.contains(&name) => true,
            None => !LEADING_ELSEWHERE.iter().any(|start| name.starts_with(start)),
        };
        if !right {
            let what = format!("the variable {} of the container {RELAY}", cut(name));
            denial.add("spec.initContainers", not_ours(&what));
        }
    }
}

/// Whether it is the same image, be it from another registry: a webhook may put a mirror in its place.
fn is_image(old: &Value, new: &Value) -> bool {
    let last = |image: &Value| Some(image.as_str()?.rsplit('/').next()?.to_owned());
    last(old).is_some() && last(old) == last(new)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
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
pub(super) fn carried(old: &Value, new: Value) -> Value {
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
            ("image", Some(there), wanted) if is_image(there, wanted) => there.clone(),
            (field, Some(there), _) if OTHERS.contains(&field) && !is_empty(there) => there.clone(),
            (_, Some(there), wanted) if contains(there, wanted) => there.clone(),
            _ => wanted,
        };
        container.insert(field, value);
    }
    container.into()
}
