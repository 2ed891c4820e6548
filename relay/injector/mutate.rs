//! From a pod to the pod with the relay in it: a pure function (the tokens that it may need are given to it), so that what is done to whom can be
//! read from files (tests/inject_cases). It is the same to do it once or twice, whatever other webhooks did
//! in between.

mod again;
mod containers;
mod eks;
mod plan;
mod reserved;
mod sidecar;
mod variables;
mod volumes;

use serde_json::{Map, Value};

use super::denial::Denial;
use super::patch::{self, Operation};
use super::pod::{Pod, RELAY, check_size, place_of_relay};
use super::policy::{self, Subject};
use super::wishes::{Conflicts, INJECTED, SKIP, Wishes, annotation};
use crate::access::{AccessToken, NoRandomness};
use crate::config::injector::Injector;
use plan::Plan;

/// Where the tokens come from that stand in a container's environment.
pub type Mint<'a> = &'a dyn Fn() -> Result<AccessToken, NoRandomness>;

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It does not ask for the relay.
    NotAsked,
    /// It has the relay already, as it shall have it.
    Unchanged,
    /// It gets the relay.
    Injected(Vec<Operation>),
}

/// Injects the relay into a pod of `namespace`, if its label asks for it. Of `mint` it takes the access
/// tokens that the pod shall have in its specification and has not yet.
///
/// # Errors
/// Everything that is wrong with the pod, at once.
pub fn mutate(
    pod: &Value,
    namespace: &str,
    settings: &Injector,
    mint: Mint<'_>,
) -> Result<Outcome, Denial> {
    let view = Pod(pod);
    if !view.asks()? {
        return Ok(Outcome::NotAsked);
    }
    check_size(view)?;
    let subject = Subject { namespace, service_account: view.service_account() };
    let wishes = checked(view, subject, settings)?;
    let plan = Plan::of(view, subject, &wishes, settings, mint)?;
    let after = injected(pod, &plan)?;
    let operations = patch::between(pod, &after);
    Ok(if operations.is_empty() { Outcome::Unchanged } else { Outcome::Injected(operations) })
}

/// What the pod asks for, if it may.
fn checked(view: Pod<'_>, subject: Subject<'_>, settings: &Injector) -> Result<Wishes, Denial> {
    let mut denial = reserved::check(view, &settings.catalogue);
    match Wishes::of(view) {
        Ok(wishes) => {
            let (rules, catalogue) = (&settings.rules, &settings.catalogue);
            if let Err(more) = policy::check(rules, catalogue, subject, view, &wishes) {
                denial.extend(more);
            }
            denial.checked().map(|()| wishes)
        }
        Err(more) => {
            denial.extend(more);
            Err(denial)
        }
    }
}

/// The pod with the relay in it.
fn injected(pod: &Value, plan: &Plan<'_>) -> Result<Value, Denial> {
    let mut after = pod.clone();
    let mut denial = again::check(Pod(pod), plan);
    let handed = match plan.conflicts {
        Conflicts::Replace => eks::take_from(&mut after, plan, &mut denial),
        Conflicts::Refuse => eks::Handed::default(),
    };
    check_order(Pod(pod), plan, &mut denial);
    containers::give_access(&mut after, plan, &mut denial);
    denial.checked()?;
    let relay = sidecar::container(plan, Pod(pod).has_mesh_proxy());
    let relay = handed.given_to(relay);
    put_relay(&mut after, relay, plan)?;
    let volumes = list(&mut after, "volumes")?;
    *volumes = again::merged(volumes, &volumes::all(plan), "name");
    let secrets = &plan.settings.sidecar.image_pull_secrets;
    if !secrets.is_empty() {
        let wanted: Vec<Value> =
            secrets.iter().map(|name| serde_json::json!({ "name": name })).collect();
        let secrets = list(&mut after, "imagePullSecrets")?;
        *secrets = again::merged(secrets, &wanted, "name");
    }
    annotate(&mut after, plan)?;
    Ok(after)
}

/// An init container that starts before the relay would wait for credentials in vain.
fn check_order(pod: Pod<'_>, plan: &Plan<'_>, denial: &mut Denial) {
    let others = pod.list("initContainers").iter();
    let others: Vec<Value> =
        others.filter(|one| super::pod::name_of(one) != Some(RELAY)).cloned().collect();
    let before = others.iter().take(place_of_relay(&others)).filter_map(super::pod::name_of);
    for name in before.filter(|name| plan.share(name).is_some()) {
        let what = format!(
            "{name} comes before a container of the service mesh, which the relay waits for: put it after that one, or name it in {} if it needs no credentials",
            annotation(SKIP)
        );
        denial.add("spec.initContainers", what);
    }
}

/// Puts the relay in its place among the init containers; what other webhooks gave to it stays.
fn put_relay(pod: &mut Value, relay: Value, plan: &Plan<'_>) -> Result<(), Denial> {
    let init_containers = list(pod, "initContainers")?;
    let old = init_containers.iter().position(|one| super::pod::name_of(one) == Some(RELAY));
    let relay = match old {
        Some(at) => again::carried(&init_containers.remove(at), relay, plan),
        None => relay,
    };
    let place = place_of_relay(init_containers);
    init_containers.insert(place, relay);
    Ok(())
}

/// Ports that Istio's and Linkerd's proxies leave alone, by their own documentation.
const EXCLUDED: [&str; 2] =
    ["traffic.sidecar.istio.io/excludeOutboundPorts", "config.linkerd.io/skip-outbound-ports"];

fn annotate(pod: &mut Value, plan: &Plan<'_>) -> Result<(), Denial> {
    let annotations = object(object(whole(pod)?, "metadata")?, "annotations")?;
    annotations.insert(annotation(INJECTED), "true".into());
    let ports = &plan.settings.sidecar.excluded_ports;
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    for name in EXCLUDED {
        add_to(annotations, name, &ports);
    }
    if plan.conflicts == Conflicts::Replace {
        let names: Vec<String> = plan.shares.iter().map(|share| share.container.clone()).collect();
        add_to(annotations, eks::SKIP_CONTAINERS, &names);
    }
    Ok(())
}

/// Adds what is not there yet to an annotation that is a list with commas.
fn add_to(annotations: &mut Map<String, Value>, name: &str, items: &[String]) {
    let given = annotations.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut list: Vec<&str> =
        given.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    let more: Vec<&str> =
        items.iter().map(String::as_str).filter(|item| !list.contains(item)).collect();
    if !more.is_empty() {
        list.extend(more);
        let text = list.join(",");
        annotations.insert(name.to_owned(), text.into());
    }
}

/// A list of the pod's specification, which is made if it is not there.
fn list<'a>(pod: &'a mut Value, field: &str) -> Result<&'a mut Vec<Value>, Denial> {
    let spec = object(whole(pod)?, "spec")?;
    member(spec, field, || Value::Array(Vec::new())).as_array_mut().ok_or_else(|| malformed(field))
}

fn whole(pod: &mut Value) -> Result<&mut Map<String, Value>, Denial> {
    pod.as_object_mut().ok_or_else(|| malformed("pod"))
}

/// An object within another, which is made if it is not there.
fn object<'a>(
    holder: &'a mut Map<String, Value>,
    field: &str,
) -> Result<&'a mut Map<String, Value>, Denial> {
    member(holder, field, || Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| malformed(field))
}

fn member<'a>(
    holder: &'a mut Map<String, Value>,
    field: &str,
    empty: impl Fn() -> Value,
) -> &'a mut Value {
    let value = holder.entry(field).or_insert_with(&empty);
    if value.is_null() {
        *value = empty();
    }
    value
}

fn malformed(field: &str) -> Denial {
    Denial::one(field, "this is no pod as Kubernetes knows them: it has another shape here")
}
