//! Pods as the injector takes them, and what holds of what becomes of them.

use credential_relay::config::injector::{Injector, parse};
use serde_json::Value;

/// The injector's settings of `tests/inject_cases`.
pub fn settings() -> Injector {
    let text = include_str!("../../tests/inject_cases/injector.yaml");
    parse(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Applies a JSON patch (RFC 6902) as the API server does, which takes all of it or nothing.
///
/// # Panics
/// Where an operation cannot be carried out.
pub fn apply(mut document: Value, patch: &Value) -> Value {
    for operation in patch.as_array().expect("a list of operations") {
        let path = operation["path"].as_str().expect("a path");
        let (holder, last) = path.rsplit_once('/').expect("below the document");
        let last = last.replace("~1", "/").replace("~0", "~");
        let holder = document.pointer_mut(holder).unwrap_or_else(|| panic!("nowhere: {operation}"));
        let value = operation.get("value").cloned();
        match (operation["op"].as_str().expect("an operation"), holder) {
            ("add", Value::Array(list)) if last == "-" => list.push(value.expect("a value")),
            ("add", Value::Array(list)) => {
                list.insert(last.parse().expect("a number"), value.expect("a value"));
            }
            ("add", Value::Object(map)) => {
                map.insert(last, value.expect("a value"));
            }
            ("remove", Value::Array(list)) => {
                list.remove(last.parse().expect("a number"));
            }
            ("remove", Value::Object(map)) => {
                map.remove(&last).expect("a member");
            }
            ("replace", Value::Array(list)) => {
                list[last.parse::<usize>().expect("a number")] = value.expect("a value");
            }
            ("replace", Value::Object(map)) => {
                map.insert(last, value.expect("a value")).expect("a member");
            }
            (op, _) => panic!("{op} at {path}"),
        }
    }
    document
}

/// Whether a pod has the relay: a native sidecar of its name.
pub fn has_relay(pod: &Value) -> bool {
    let before = pod.pointer("/spec/initContainers").and_then(Value::as_array);
    before.into_iter().flatten().any(|container| container["name"] == "credential-relay")
}
