//! The relay's container of a pod that was injected before. Other webhooks add to every container what
//! they have (variables, mounts, resources); what steers the relay is for the injector's
//! configuration alone.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::super::plan::Plan;
use super::super::volumes::{ACCESS, PREFIX};
use super::super::{Denial, RELAY, eks, sidecar, variables};
use super::{image, is_empty, items, not_ours};
use crate::config::environment::{CLUSTER, HONOURED};
use crate::injector::pod::{cut, name_of};

/// What must be in the container as the injector makes it. Its probes are set again.
const FIXED: [&str; 2] = ["args", "restartPolicy"];

/// What the injector never gives to it.
const FOREIGN: [&str; 5] = ["command", "envFrom", "lifecycle", "volumeDevices", "readinessProbe"];

/// Variables that steer the relay, beside those that its configuration reads: its own and Vault's, what a
/// program loads, and whom it trusts.
const STEERING: [&str; 5] = ["CREDENTIAL_RELAY_", "VAULT_", "AWS_ENDPOINT_URL", "LD_", "SSL_CERT_"];

/// Switches that many give to every container, and that lead to the same AWS.
const SWITCHES: [&str; 2] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"];

/// Folders of the relay's: its program, what it reads and writes, and the certificates that it trusts.
const FOLDERS: [&str; 6] = [
    "/credential-relay",
    "/etc/credential-relay",
    "/run/credential-relay",
    ACCESS,
    "/etc/ssl",
    "/etc/pki",
];

/// SELinux types that the Pod Security Standards allow.
const TYPES: [&str; 4] =
    ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub(super) fn check(old: &Value, plan: &Plan<'_>, denial: &mut Denial) {
    let new = sidecar::container(plan, false);
    let mut add = |what: String| denial.add("spec.initContainers", what);
    if !is_image(&old["image"], &new["image"], plan) {
        add(format!(
            "{}. From a mirror it comes if sidecar.image_mirrors of the injector's configuration names it",
            not_ours(&format!("image of the container {RELAY}"))
        ));
    }
    let differs = FIXED.into_iter().filter(|field| old[*field] != new[*field]);
    let foreign = FOREIGN.into_iter().filter(|field| !is_empty(&old[*field]));
    let security = Some("securityContext").filter(|field| !is_secure(&old[*field], &new[*field]));
    for field in differs.chain(foreign).chain(security) {
        add(not_ours(&format!("{field} of the container {RELAY}")));
    }
    for variable in items(old, "env") {
        let name = name_of(variable).unwrap_or_default();
        match items(&new, "env").iter().find(|one| name_of(one) == Some(name)) {
            Some(own) if is_own(variable, own) => {}
            Some(_) => {
                add(not_ours(&format!("the variable {} of the container {RELAY}", cut(name))));
            }
            None if steers(name) && !is_harmless(variable) => add(format!(
                "the variable {} of the container {RELAY} steers the relay: have whoever adds it leave this container alone, or set it in sidecar.env of the injector's configuration",
                cut(name)
            )),
            None => {}
        }
    }
    for mount in items(old, "volumeMounts") {
        if !may_mount(mount, items(&new, "volumeMounts")) {
            let path = mount["mountPath"].as_str().map(cut).unwrap_or_default();
            add(format!(
                "the container {RELAY} has a mount at {path} that is not of the injector's: the folders that it uses are its own, and of a volume only the whole can be mounted"
            ));
        }
    }
}

/// Whether it is the relay's image.
pub(super) fn is_image(there: &Value, wanted: &Value, plan: &Plan<'_>) -> bool {
    let (Some(there), Some(wanted)) = (there.as_str(), wanted.as_str()) else { return false };
    image::is_same(there, wanted, &plan.settings.sidecar.image_mirrors)
}

/// Whether a variable is the injector's, as the API server writes it down.
fn is_own(variable: &Value, own: &Value) -> bool {
    let mut variable = variable.clone();
    if variable["name"] == sidecar::TEXT {
        // More containers may have come since, so that it is set again.
        return variable.as_object().is_some_and(|map| map.len() == 2)
            && variable["value"].is_string();
    }
    if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut)
        && field.get("apiVersion").is_some_and(|version| version == "v1")
    {
        field.remove("apiVersion");
    }
    if let Some(map) = variable.as_object_mut() {
        map.retain(|_, value| !value.is_null() && *value != "");
    }
    variable == *own
}

fn steers(name: &str) -> bool {
    // Of proxies programs read the small letters too.
    let name = name.to_ascii_uppercase();
    HONOURED.contains(&name.as_str())
        || CLUSTER.contains(&name.as_str())
        || variables::leads_past(&name)
        || STEERING.iter().any(|start| name.starts_with(start))
        || name.ends_with("_PROXY")
}

/// Whether it is what others give to every container for good reasons.
fn is_harmless(variable: &Value) -> bool {
    let is_switch = name_of(variable).is_some_and(|name| SWITCHES.contains(&name));
    let is_set = variable["value"] == "true" || variable["value"] == "false";
    eks::gives(variable) || (is_switch && is_set && variable.get("valueFrom").is_none())
}

/// What a cluster adds by itself may be there, and nothing that gives more rights.
fn is_secure(there: &Value, wanted: &Value) -> bool {
    let (Some(there), Some(wanted)) = (there.as_object(), wanted.as_object()) else { return false };
    let kept = wanted.iter().all(|(field, wanted)| {
        let there = there.get(field);
        match field.as_str() {
            "capabilities" => there.is_some_and(|there| is_without(there, "add", wanted)),
            _ => there == Some(wanted),
        }
    });
    let more = there.iter().filter(|(field, _)| !wanted.contains_key(*field));
    let mut more = more.filter(|(_, value)| !value.is_null());
    kept && more.all(|(field, value)| match field.as_str() {
        "privileged" => *value == false,
        "procMount" => *value == "Default",
        "appArmorProfile" => value["type"] == "RuntimeDefault" || value["type"] == "Localhost",
        "seLinuxOptions" => {
            let kind = value["type"].as_str().unwrap_or_default();
            let others = ["user", "role"].into_iter().all(|field| is_empty(&value[field]));
            others && (kind.is_empty() || TYPES.contains(&kind))
        }
        // Where the injector leaves them to the platform.
        "runAsUser" | "runAsGroup" => true,
        _ => false,
    })
}

/// Whether it is what is wanted, but for an empty field.
fn is_without(there: &Value, field: &str, wanted: &Value) -> bool {
    let mut there = there.clone();
    if let Some(map) = there.as_object_mut()
        && map.get(field).is_some_and(is_empty)
    {
        map.remove(field);
    }
    there == *wanted
}

/// Whether a mount is the injector's, or one that has nothing to do with what the relay uses.
fn may_mount(mount: &Value, own: &[Value]) -> bool {
    let part = ["subPath", "subPathExpr"].into_iter().any(|field| !is_empty(&mount[field]));
    if part {
        return false;
    }
    let same_path = |own: &&Value| own["mountPath"] == mount["mountPath"];
    if own.iter().filter(same_path).any(|own| is_own_mount(mount, own)) {
        return true;
    }
    let named_so = name_of(mount).is_some_and(|name| name.starts_with(PREFIX));
    let Some(path) = mount["mountPath"].as_str().and_then(folder) else { return false };
    let used = own.iter().filter_map(|own| own["mountPath"].as_str()).chain(FOLDERS);
    let mut used = used.map(Path::new);
    !named_so && !used.any(|used| path.starts_with(used) || used.starts_with(&path))
}

fn is_own_mount(mount: &Value, own: &Value) -> bool {
    let mut mount = mount.clone();
    if let Some(map) = mount.as_object_mut() {
        map.retain(|_, value| *value != false && !is_empty(value));
    }
    mount == *own
}

/// The folder that a path names. One with `..` could name any.
fn folder(text: &str) -> Option<PathBuf> {
    let mut folder = PathBuf::from("/");
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => folder.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(folder)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_security_context_may_be_filled_in_and_not_opened() {
        let wanted = json!({ "runAsNonRoot": true, "capabilities": { "drop": ["ALL"] } });
        let with = |field: &str, value: Value| {
            let mut there = wanted.clone();
            there[field] = value;
            is_secure(&there, &wanted)
        };
        assert!(is_secure(&wanted, &wanted));
        for (field, value) in [
            ("privileged", json!(false)),
            ("procMount", json!("Default")),
            ("capabilities", json!({ "drop": ["ALL"], "add": [] })),
            ("appArmorProfile", json!({ "type": "RuntimeDefault" })),
            ("seLinuxOptions", json!({ "level": "s0:c26,c5" })),
            ("seLinuxOptions", json!({ "type": "container_t" })),
            ("runAsUser", json!(1_000_680_000)),
            ("windowsOptions", Value::Null),
        ] {
            assert!(with(field, value.clone()), "{field}: {value}");
        }
        for (field, value) in [
            ("privileged", json!(true)),
            ("procMount", json!("Unmasked")),
            ("capabilities", json!({ "drop": ["ALL"], "add": ["SYS_ADMIN"] })),
            ("capabilities", json!({ "drop": [] })),
            ("appArmorProfile", json!({ "type": "Unconfined" })),
            ("seLinuxOptions", json!({ "type": "spc_t" })),
            ("seLinuxOptions", json!({ "role": "sysadm_r" })),
            ("runAsNonRoot", json!(false)),
            ("windowsOptions", json!({ "hostProcess": true })),
            ("of_tomorrow", json!(true)),
        ] {
            assert!(!with(field, value.clone()), "{field}: {value}");
        }
        assert!(!is_secure(&Value::Null, &wanted));
    }

    #[test]
    fn a_mount_of_others_is_apart_from_the_relays() {
        let own = [
            json!({ "name": "credential-relay-mount-0", "mountPath": "/ca/company", "readOnly": true }),
        ];
        let at = |path: &str| may_mount(&json!({ "name": "x", "mountPath": path }), &own);
        for path in
            ["/ca/company2", "/ca/other", "/data", "data", "/etc/datadog", "/var/run/secrets/x"]
        {
            assert!(at(path), "{path}");
        }
        for path in [
            "/ca/company",
            "/ca/company/x/",
            "/ca",
            "ca/./company",
            "/",
            "",
            "/data/..",
            "/var/run",
        ] {
            assert!(!at(path), "{path}");
        }
        assert!(may_mount(&own[0], &own));
        for (field, value) in
            [("readOnly", json!(false)), ("subPath", json!("a")), ("name", json!("x"))]
        {
            let mut mount = own[0].clone();
            mount[field] = value;
            assert!(!may_mount(&mount, &own), "{mount}");
        }
        assert!(!may_mount(&json!({ "name": "credential-relay-run", "mountPath": "/data" }), &own));
    }

    #[test]
    fn what_steers_the_relay_is_for_its_configuration() {
        for name in [
            "AWS_PROFILE",
            "aws_role_arn",
            "no_proxy",
            "HTTP_PROXY",
            "LD_PRELOAD",
            "VAULT_TOKEN",
            "POD_NAME",
        ] {
            assert!(steers(name), "{name}");
        }
        for name in [
            "POD_IP",
            "DD_ENV",
            "OTEL_RESOURCE_ATTRIBUTES",
            "AWS_STS_REGIONAL_ENDPOINTS",
            "PROXY_CONFIG",
        ] {
            assert!(!steers(name), "{name}");
        }
    }
}
