//! Pods into which the relay cannot go as they are.

use serde_json::Value;

use super::volumes::{ACCESS, PREFIX};
use super::{Denial, Pod, RELAY};
use crate::config::injector::Catalogue;
use crate::injector::pod::{cut, name_of};
use crate::injector::wishes::{INJECTED, annotation};

/// Everything that stands in the way, whatever the pod asks for. What the pod may bring if it was
/// injected before is looked at by `again`.
pub(super) fn check(pod: Pod<'_>, catalogue: &Catalogue) -> Denial {
    let mut denial = Denial::default();
    if pod.is_windows() {
        denial.add(
            "spec.os",
            "the relay runs on Linux alone: remove the label from pods for Windows",
        );
    }
    if pod.list("containers").iter().any(|one| name_of(one) == Some(RELAY)) {
        denial.add("spec.containers", reserved("container", RELAY));
    }
    for container in pod.containers().filter(|one| name_of(one) != Some(RELAY)) {
        check_ports(container, catalogue, &mut denial);
        check_mounts(container, &mut denial);
    }
    let init = pod.list("initContainers").iter().filter(|one| name_of(one) == Some(RELAY)).count();
    let marked = pod.annotations().contains_key(annotation(INJECTED).as_str());
    if marked && init != 1 {
        let what =
            "the injector sets this itself, and the pod has not what goes with it: remove it";
        denial.add(annotation(INJECTED), what);
    }
    if !marked {
        if init > 0 {
            denial.add("spec.initContainers", reserved("container", RELAY));
        }
        for volume in pod.list("volumes").iter().filter_map(name_of) {
            if volume.starts_with(PREFIX) {
                denial.add("spec.volumes", reserved("volume", &cut(volume)));
            }
        }
    }
    denial
}

fn reserved(kind: &str, name: &str) -> String {
    format!(
        "the injector needs the name of the {kind} {name} itself: choose another, or remove the label"
    )
}

fn check_ports(container: &Value, catalogue: &Catalogue, denial: &mut Denial) {
    let own = [u64::from(catalogue.endpoint().port()), u64::from(catalogue.admin_port())];
    let ports = container.get("ports").and_then(Value::as_array);
    let numbers =
        ports.into_iter().flatten().filter_map(|port| port.get("containerPort")?.as_u64());
    for port in numbers.filter(|port| own.contains(port)) {
        let what = format!(
            "the container {} has port {port}, on which the relay listens: choose another there, or in relay of the injector's configuration",
            name_of(container).unwrap_or_default()
        );
        denial.add("spec.containers", what);
    }
}

/// A folder of the pod's own in the place of the access token's.
fn check_mounts(container: &Value, denial: &mut Denial) {
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    for mount in mounts.into_iter().flatten() {
        let path = mount.get("mountPath").and_then(Value::as_str).unwrap_or_default();
        let own = name_of(mount).is_some_and(|name| name.starts_with(PREFIX));
        if !own && std::path::Path::new(path).starts_with(ACCESS) {
            let what = format!(
                "the container {} has something of its own in {ACCESS}, where its access token belongs: mount it elsewhere",
                name_of(container).unwrap_or_default()
            );
            denial.add("spec.containers", what);
        }
    }
}
