//! What pods say of themselves, against the policy of `tests/inject_cases/injector.yaml`. An input is a pod in YAML, or
//! `annotations`, a namespace and a service account on a line, and after it annotations without their prefix, one a line.

#![no_main]

use std::cell::Cell;

use credential_relay::access::{AccessToken, NoRandomness};
use credential_relay::config::injector::Injector;
use credential_relay::injector::{Operation, Outcome, PREFIX, mutate};
use credential_relay_fuzz::admission::{apply, has_relay, settings};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

/// The longest refusal: as many lines as there are mistakes, of a pod that is as large as it may be.
const LONGEST_DENIAL: usize = 64 << 10;

/// A role of a profile that no rule of the policy allows, as the profile has it.
const FORBIDDEN: &str = "role: secret,";

thread_local! {
    static SETTINGS: Injector = settings();
}

fn pod(input: &str) -> Option<Value> {
    let Some(given) = input.strip_prefix("annotations ") else {
        return serde_saphyr::from_str(input).ok();
    };
    let mut lines = given.lines();
    let (namespace, account) = lines.next()?.split_once(' ')?;
    let annotations: Map<String, Value> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("{PREFIX}{name}"), value.into()))
        .collect();
    Some(json!({
        "metadata": {
            "name": "api-x",
            "namespace": namespace,
            "labels": { "credential-relay.io/inject": "true" },
            "annotations": annotations,
        },
        "spec": {
            "serviceAccountName": account,
            "containers": [{ "name": "app" }, { "name": "other", "env": [{ "name": "A", "value": "b" }] }],
        },
    }))
}

/// Tokens that are the same in every run, each another.
fn mint(number: &Cell<usize>) -> Result<AccessToken, NoRandomness> {
    number.set(number.get() + 1);
    Ok(format!("inline-token-of-a-test_{:020}", number.get()).parse().expect("a token"))
}

fn patch(operations: &[Operation]) -> Value {
    serde_json::to_value(operations).expect("operations are JSON")
}

fuzz_target!(|data: &[u8]| {
    let Some(pod) = str::from_utf8(data).ok().and_then(pod) else { return };
    let namespace =
        pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("payments");
    let number = Cell::new(0);
    let mint = || mint(&number);
    SETTINGS.with(|settings| match mutate(&pod, namespace, settings, &mint) {
        Err(denial) => {
            let text = denial.to_string();
            assert!(!text.is_empty() && text.len() <= LONGEST_DENIAL, "{} bytes", text.len());
        }
        Ok(Outcome::NotAsked | Outcome::Unchanged) => {}
        Ok(Outcome::Injected(operations)) => {
            let ruled =
                ["payments", "hosts"].contains(&namespace) || namespace.starts_with("team-a-");
            assert!(ruled, "injected into {namespace}, which no rule has");
            let patch = patch(&operations);
            assert!(!patch.to_string().contains(FORBIDDEN), "a profile that no rule allows");
            let after = apply(pod.clone(), &patch);
            assert!(has_relay(&after), "a patch without the relay");
            let again = mutate(&after, namespace, settings, &mint);
            assert_eq!(again, Ok(Outcome::Unchanged), "to inject twice is to inject once");
        }
    });
});
