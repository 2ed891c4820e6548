//! What each application's container gets: its variables, and its access token.

use serde_json::{Map, Value, json};

use super::plan::{Plan, Share};
use super::volumes::ACCESS;
use super::{Denial, again, variables};
use crate::injector::pod::{LISTS, name_of};

/// Gives every container what it shall have.
pub(super) fn give_access(pod: &mut Value, plan: &Plan<'_>, denial: &mut Denial) {
    for list in LISTS {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let share = name_of(container).and_then(|name| plan.share(name)).cloned();
            if let (Some(share), Some(container)) = (share, container.as_object_mut()) {
                give(container, &share, plan, denial);
            }
        }
    }
}

fn give(container: &mut Map<String, Value>, share: &Share, plan: &Plan<'_>, denial: &mut Denial) {
    let from_elsewhere = items(container, "envFrom");
    let env = items(container, "env");
    let env = variables::set(env, !from_elsewhere.is_empty(), share, plan, denial);
    container.insert("env".to_owned(), env.into());
    let mount = json!({ "name": share.volume, "mountPath": ACCESS, "readOnly": true });
    let mounts = again::merged(&items(container, "volumeMounts"), &[mount], "mountPath");
    container.insert("volumeMounts".to_owned(), mounts.into());
}

fn items(container: &Map<String, Value>, field: &str) -> Vec<Value> {
    container.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
}
