//! The volumes that the injector adds, and where the relay's container sees them.

use serde_json::{Value, json};

use super::plan::{Plan, RUN, Source};
use crate::config::injector::{Mounted, TOKENS};

/// What the names of all of them start with.
pub(super) const PREFIX: &str = "credential-relay-";

/// Where an application finds its access token.
pub(super) const ACCESS: &str = "/var/run/secrets/credential-relay";
/// Where the relay finds the ConfigMap that is its whole configuration.
const CONFIG: &str = "/etc/credential-relay/config";
/// The configuration in that ConfigMap.
pub(super) const CONFIG_FILE: &str = "/etc/credential-relay/config/config.yaml";

/// A socket and an access token.
const SIZE: &str = "1Mi";

/// Volumes with where the relay's container sees them.
fn each(plan: &Plan<'_>) -> Vec<(Value, Value)> {
    let memory = json!({ "medium": "Memory", "sizeLimit": SIZE });
    let run = format!("{PREFIX}run");
    let mut volumes = vec![(
        json!({ "name": run, "emptyDir": memory }),
        json!({ "name": run, "mountPath": RUN }),
    )];
    for share in &plan.shares {
        let volume = json!({ "name": share.volume, "emptyDir": memory });
        let mount = json!({ "name": share.volume, "mountPath": share.folder });
        // Containers with one profile of a ConfigMap share one.
        if !volumes.iter().any(|(there, _)| *there == volume) {
            volumes.push((volume, mount));
        }
    }
    let mut read_only = |name: String, source: (&str, Value), path: &str| {
        let (kind, source) = source;
        volumes.push((
            json!({ "name": name, kind: source }),
            json!({ "name": name, "mountPath": path, "readOnly": true }),
        ));
    };
    if let Source::ConfigMap(name) = &plan.source {
        read_only(format!("{PREFIX}config"), ("configMap", json!({ "name": name })), CONFIG);
    }
    let sidecar = &plan.settings.sidecar;
    if !sidecar.tokens.is_empty() {
        let tokens = sidecar.tokens.iter().map(|token| {
            json!({ "serviceAccountToken": {
                "path": token.name,
                "audience": token.audience,
                "expirationSeconds": token.expiration.as_secs(),
            } })
        });
        let projected = json!({ "sources": tokens.collect::<Vec<_>>() });
        read_only(format!("{PREFIX}tokens"), ("projected", projected), TOKENS);
    }
    // Every pod of the cluster has them, and not every namespace what they name. Without it a pod starts
    // whose profiles do without, and of any other the relay's log names the file that is missing.
    let optional = true;
    for (number, mount) in sidecar.mounts.iter().enumerate() {
        let source = match &mount.what {
            Mounted::ConfigMap(name) => {
                ("configMap", json!({ "name": name, "optional": optional }))
            }
            Mounted::Secret(name) => {
                ("secret", json!({ "secretName": name, "optional": optional }))
            }
        };
        read_only(format!("{PREFIX}mount-{number}"), source, &mount.path.to_string_lossy());
    }
    volumes
}

/// All volumes.
pub(super) fn all(plan: &Plan<'_>) -> Vec<Value> {
    each(plan).into_iter().map(|(volume, _)| volume).collect()
}

/// Where the relay's container sees them.
pub(super) fn of_relay(plan: &Plan<'_>) -> Vec<Value> {
    each(plan).into_iter().map(|(_, mount)| mount).collect()
}
