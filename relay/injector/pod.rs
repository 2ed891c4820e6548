//! A pod as the API server sends it, as far as the injector reads it. It stays the JSON that it was,
//! so that what nobody here knows survives.

use std::collections::BTreeMap;

use serde_json::Value;

use super::denial::Denial;
use super::wishes::{INJECTED, PREFIX, annotation};
use crate::config::mistakes::shape;

/// The name of the injected container; what the injector adds starts with it.
pub(super) const RELAY: &str = "credential-relay";

/// Set to `true` on a pod that shall be injected, and to `false` on one that shall not.
pub const LABEL: &str = "credential-relay.io/inject";

/// Containers of service meshes. They carry the applications' traffic and get no credentials.
const MESHES: [&str; 8] = [
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "enable-core-dump",
    "linkerd-proxy",
    "linkerd-init",
    "linkerd-network-validator",
    "linkerd-debug",
];

/// The proxies among them.
const PROXIES: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

/// A pod to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'a>(pub(super) &'a Value);

/// The two lists of containers that the injector looks at. Ephemeral containers come later, and are
/// left alone.
pub(super) const LISTS: [&str; 2] = ["initContainers", "containers"];

impl<'a> Pod<'a> {
    fn texts(self, pointer: &str) -> BTreeMap<&'a str, &'a str> {
        let map = self.0.pointer(pointer).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect()
    }

    pub(super) fn annotations(self) -> BTreeMap<&'a str, &'a str> {
        self.texts("/metadata/annotations")
    }

    /// Whether its label asks for the relay.
    ///
    /// # Errors
    /// If the label says neither yes nor no: who wrote `True` or `yes` waits for credentials.
    pub(super) fn asks(self) -> Result<bool, Denial> {
        match self.texts("/metadata/labels").get(LABEL) {
            None | Some(&"false") => Ok(false),
            Some(&"true") => Ok(true),
            Some(other) => {
                let what = format!("{}; true or false was expected, in lower case", shape(other));
                Err(Denial::one(format!("the label {LABEL}"), what))
            }
        }
    }

    /// A field of its specification.
    pub(super) fn spec(self, field: &str) -> Option<&'a Value> {
        self.0.get("spec")?.get(field)
    }

    /// Whether a field of its specification is true.
    pub(super) fn is(self, field: &str) -> bool {
        self.spec(field).and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn service_account(self) -> &'a str {
        let text = |field| self.spec(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        // The second is the old name of the first.
        text("serviceAccountName").or_else(|| text("serviceAccount")).unwrap_or("default")
    }

    /// Its name, or, where it has none yet, one as the API server will make it.
    pub(super) fn name(self) -> String {
        let text = |field| self.0.get("metadata")?.get(field)?.as_str().filter(|t| !t.is_empty());
        match (text("name"), text("generateName")) {
            (Some(name), _) => name.to_owned(),
            // The API server cuts what is too long, and adds five characters.
            (None, Some(start)) => {
                format!("{}xxxxx", start.chars().take(58).collect::<String>())
            }
            (None, None) => "pod".to_owned(),
        }
    }

    /// The items of a list of its specification.
    pub(super) fn list(self, field: &str) -> &'a [Value] {
        self.spec(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Every container and init container, in the order in which they start.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        LISTS.into_iter().flat_map(move |list| self.list(list))
    }

    /// The names of the containers that may have credentials.
    pub(super) fn applications(self) -> Vec<&'a str> {
        let names = self.containers().filter_map(name_of);
        names.filter(|name| *name != RELAY && !MESHES.contains(name)).collect()
    }

    /// Whether a service mesh's proxy is in it.
    pub(super) fn has_mesh_proxy(self) -> bool {
        self.containers().filter_map(name_of).any(|name| PROXIES.contains(&name))
    }

    /// Whether it runs on Windows.
    pub(super) fn is_windows(self) -> bool {
        let os = self.spec("os").and_then(|os| os.get("name"));
        let node = self.spec("nodeSelector").and_then(|node| node.get("kubernetes.io/os"));
        [os, node].into_iter().flatten().any(|os| os == "windows")
    }
}

/// A container's, volume's or variable's name.
pub(super) fn name_of(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

/// A text of the pod's as far as a message tells it: it may be as long as a request.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(63).collect()
}

/// More containers than any pod has.
const MOST_CONTAINERS: usize = 200;
/// More volumes than any pod has, and more variables and mounts than any container.
const MOST_VOLUMES: usize = 1000;
const MOST_OF_ONE: usize = 2000;
/// What Kubernetes allows for a container's name, and for a service account's.
const LONGEST_NAME: usize = 63;
const LONGEST_SERVICE_ACCOUNT: usize = 253;
/// More text in annotations of the injector's than anybody writes.
const LONGEST_ANNOTATIONS: usize = 16 * 1024;

/// Checks what would take long to look at: the API server asks before it looks at a pod itself.
///
/// # Errors
/// What there is too much of.
pub(super) fn check_size(pod: Pod<'_>) -> Result<(), Denial> {
    let mut denial = Denial::default();
    // What the injector gave to a pod that it looks at again is less than the pod's own.
    let times = if pod.annotations().contains_key(annotation(INJECTED).as_str()) { 2 } else { 1 };
    if pod.containers().count() > times * MOST_CONTAINERS {
        denial.add("spec", format!("{MOST_CONTAINERS} containers at most can be injected"));
    }
    if pod.list("volumes").len() > times * MOST_VOLUMES {
        denial.add("spec.volumes", format!("{MOST_VOLUMES} at most can be looked at"));
    }
    for (field, what) in [("env", "variables"), ("volumeMounts", "volume mounts")] {
        let count = |one: &Value| one.get(field).and_then(Value::as_array).map_or(0, Vec::len);
        if pod.containers().any(|one| count(one) > times * MOST_OF_ONE) {
            let what = format!("a container has {MOST_OF_ONE} {what} at most");
            denial.add("spec.containers", what);
        }
    }
    if pod.containers().filter_map(name_of).any(|name| name.len() > LONGEST_NAME) {
        let what = format!("a container's name has {LONGEST_NAME} characters at most");
        denial.add("spec.containers", what);
    }
    if pod.service_account().len() > LONGEST_SERVICE_ACCOUNT {
        let what = format!("it has {LONGEST_SERVICE_ACCOUNT} characters at most");
        denial.add("spec.serviceAccountName", what);
    }
    let own = pod.annotations().into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    if own.map(|(name, value)| name.len() + value.len()).sum::<usize>() > LONGEST_ANNOTATIONS {
        let what =
            format!("the annotations {PREFIX}… have {LONGEST_ANNOTATIONS} characters at most");
        denial.add("metadata.annotations", what);
    }
    denial.checked()
}

/// Where in the list of init containers the relay belongs: first, but after what sets up a service
/// mesh and its proxy, where that is a native sidecar: there is no way to the network before it. Where
/// the proxy is an ordinary container the network is set up last, so that the relay is before that.
pub(super) fn place_of_relay(init_containers: &[Value]) -> usize {
    let names: Vec<_> = init_containers.iter().map(name_of).collect();
    let native = names.iter().flatten().any(|name| PROXIES.contains(name));
    let before = |name: &str| match native {
        true => MESHES.contains(&name),
        // It waits for nothing, and fails where the mesh is not set up.
        false => name == "istio-validation",
    };
    let last = names.iter().rposition(|name| name.is_some_and(before));
    last.map_or(0, |at| at + 1)
}
