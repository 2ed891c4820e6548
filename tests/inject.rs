//! What the injector makes of pods: each case is a pod, what is made of it, and, where it is refused,
//! why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use credential_relay::access::{AccessToken, NoRandomness};
use credential_relay::config::environment::Environment;
use credential_relay::config::injector::{self, Injector};
use credential_relay::config::load;
use credential_relay::injector::{Outcome, mutate};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject_cases")
}

fn read(name: &str) -> Option<String> {
    fs::read_to_string(folder().join(name)).ok()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn settings(case: &str) -> Injector {
    let own = read(&format!("{case}.injector.yaml"));
    let text = own.unwrap_or_else(|| read("injector.yaml").unwrap());
    injector::parse(&text).unwrap_or_else(|mistakes| panic!("{case}: {mistakes}"))
}

/// Applies a JSON patch as the API server does.
fn apply(mut document: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let (holder, last) = path.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        let holder = document.pointer_mut(holder).unwrap_or_else(|| panic!("{operation}"));
        let value = operation.get("value").cloned();
        match (operation["op"].as_str().unwrap(), holder) {
            ("add", Value::Array(list)) if last == "-" => list.push(value.unwrap()),
            ("add", Value::Array(list)) => list.insert(last.parse().unwrap(), value.unwrap()),
            ("add", Value::Object(map)) => {
                map.insert(last, value.unwrap());
            }
            ("remove", Value::Array(list)) => {
                list.remove(last.parse().unwrap());
            }
            ("remove", Value::Object(map)) => {
                map.remove(&last).unwrap();
            }
            ("replace", Value::Array(list)) => {
                list[last.parse::<usize>().unwrap()] = value.unwrap();
            }
            ("replace", Value::Object(map)) => {
                map.insert(last, value.unwrap()).unwrap();
            }
            (op, _) => panic!("{op} at {path}"),
        }
    }
    document
}

/// What tokens start with here: of the length of real ones.
const INLINE: &str = "inline-token-of-a-test_";

/// Tokens that are the same in every run, each another.
struct Mint(Cell<usize>);

impl Mint {
    fn token(&self) -> Result<AccessToken, NoRandomness> {
        self.0.set(self.0.get() + 1);
        Ok(format!("{INLINE}{:020}", self.0.get()).parse().unwrap())
    }
}

/// For pods that need no token, or have theirs.
fn none() -> Result<AccessToken, NoRandomness> {
    Err(NoRandomness)
}

/// The pod after it was looked at, or why it was refused.
fn admitted(pod: Value, settings: &Injector, mint: &Mint) -> Result<Value, String> {
    let namespace = pod.pointer("/metadata/namespace").unwrap().as_str().unwrap();
    match mutate(&pod, namespace, settings, &|| mint.token()) {
        Ok(Outcome::Injected(operations)) => {
            Ok(apply(pod, &serde_json::to_value(operations).unwrap()))
        }
        Ok(Outcome::NotAsked | Outcome::Unchanged) => Ok(pod),
        Err(denial) => Err(denial.to_string()),
    }
}

/// A case: the pod, and what others do to it before it is looked at again.
fn case(name: &str) -> Result<Value, String> {
    let settings = settings(name);
    let pod = yaml(&read(&format!("{name}.pod.yaml")).unwrap());
    let mint = Mint(Cell::new(0));
    let pod = admitted(pod, &settings, &mint)?;
    let Some(others) = read(&format!("{name}.then.yaml")) else { return Ok(pod) };
    admitted(apply(pod, &yaml(&others)), &settings, &mint)
}

fn cases() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = files.filter_map(|name| Some(name.to_str()?.strip_suffix(".pod.yaml")?.to_owned()));
    names.collect()
}

/// With UPDATE_GOLDEN set what is expected is written anew.
#[test]
fn every_pod_becomes_what_is_expected() {
    let cases = cases();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for name in cases {
        let (end, text) = match case(&name) {
            Ok(pod) => ("json", format!("{}\n", serde_json::to_string_pretty(&pod).unwrap())),
            Err(denial) => ("txt", format!("{denial}\n")),
        };
        let denied = end == "txt";
        assert!(!denied || !text.contains("EXAMPLEKEY"), "{name}: {text}");
        let golden = folder().join(format!("{name}.{end}"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            for end in ["json", "txt"] {
                let _ = fs::remove_file(folder().join(format!("{name}.{end}")));
            }
            fs::write(&golden, &text).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn to_inject_twice_is_to_inject_once() {
    for name in cases() {
        let Ok(pod) = case(&name) else { continue };
        let namespace = pod.pointer("/metadata/namespace").unwrap().as_str().unwrap();
        let again = mutate(&pod, namespace, &settings(&name), &none);
        assert!(matches!(again, Ok(Outcome::Unchanged | Outcome::NotAsked)), "{name}: {again:#?}");
    }
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    items(container, "env").iter().rfind(|one| one["name"] == name)?["value"].as_str()
}

/// What the kubelet makes of a value.
fn expanded(text: &str) -> String {
    text.replace("$$", "$")
}

/// Each container has its own token, which no other sees, and which is the one that the relay takes for
/// the profile that the container's URL names.
#[test]
fn each_container_reaches_its_own_profile_and_no_other() {
    let (mut seen, mut inlined) = (0, 0);
    for name in cases() {
        let Ok(pod) = case(&name) else { continue };
        let spec = &pod["spec"];
        let all = items(spec, "initContainers").iter().chain(items(spec, "containers"));
        let (relay, others): (Vec<_>, Vec<_>) =
            all.partition(|container| container["name"] == "credential-relay");
        let Some(relay) = relay.first() else { continue };
        let Some(text) = variable(relay, "CREDENTIAL_RELAY_CONFIG_TEXT") else { continue };
        let environment: Environment = items(relay, "env")
            .iter()
            .map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap_or("some")))
            .map(|(name, value)| (name.to_owned(), expanded(value)))
            .collect();
        // EKS's webhooks give these where they are counted on.
        let eks = Environment::from_iter([
            ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/x"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
            ("POD_NAME", "a"),
            ("POD_NAMESPACE", "b"),
            ("POD_SERVICE_ACCOUNT", "c"),
        ]);
        let _ = load::load(None, &environment);
        let config = load::parse(&expanded(text), &eks).unwrap();
        for container in others {
            let Some(url) = variable(container, "AWS_CONTAINER_CREDENTIALS_FULL_URI") else {
                continue;
            };
            let start = format!("http://{}/v1/credentials/", config.endpoint.listen);
            let profile = &config.profiles[url.strip_prefix(&start).unwrap()];
            let volumes: Vec<_> = items(container, "volumeMounts")
                .iter()
                .filter(|mount| mount["name"].as_str().unwrap().starts_with("credential-relay-"))
                .collect();
            let [access] = volumes[..] else { panic!("{name}: {container}") };
            assert_eq!(access["readOnly"], true);
            let in_relay = items(relay, "volumeMounts");
            let in_relay = in_relay.iter().find(|mount| mount["name"] == access["name"]).unwrap();
            let token = format!("{}/token", in_relay["mountPath"].as_str().unwrap());
            assert!(profile.access.files().any(|file| *file == Path::new(&token)), "{name}");
            if let Some(inline) = variable(container, "AWS_CONTAINER_AUTHORIZATION_TOKEN") {
                let digest = inline.parse::<AccessToken>().unwrap().digest();
                let opened = config
                    .profiles
                    .values()
                    .filter(|profile| profile.access.token_digests.contains(&digest));
                assert!(
                    profile.access.token_digests.contains(&digest) && opened.count() == 1,
                    "{name}"
                );
                assert!(!relay.to_string().contains(inline), "{name}");
                inlined += 1;
            }
            seen += 1;
        }
    }
    assert!(seen >= 25 && inlined >= 5, "{seen} containers, {inlined} with a token inline");
}

/// What is sent may be anything: it is answered, and never by a panic.
#[test]
fn odd_pods_are_answered() {
    let odd = [
        Value::Null,
        true.into(),
        7.into(),
        "text".into(),
        Value::Array(vec![Value::Null, 5.into()]),
        json!({ "a": { "b": [] } }),
    ];
    for name in ["plain", "inline-token-again"] {
        let settings = settings(name);
        let fresh = yaml(&read(&format!("{name}.pod.yaml")).unwrap());
        for pod in [case(name).unwrap(), fresh] {
            let mut pointers = Vec::new();
            walk(&pod, String::new(), &mut pointers);
            for pointer in pointers {
                for value in &odd {
                    let mut pod = pod.clone();
                    *pod.pointer_mut(&pointer).unwrap() = value.clone();
                    let mint = Mint(Cell::new(0));
                    let _ = mutate(&pod, "payments", &settings, &|| mint.token());
                }
            }
        }
    }
}

/// What is as large as may be is not too large once the relay is in it.
#[test]
fn a_pod_at_the_limits_can_be_looked_at_again() {
    let settings = settings("inline-token");
    let mut pod = yaml(&read("inline-token.pod.yaml").unwrap());
    let many = |count, make: &dyn Fn(usize) -> Value| (0..count).map(make).collect::<Value>();
    let env = many(2000, &|n| json!({ "name": format!("V{n}"), "value": "x" }));
    let mounts = many(2000, &|n| json!({ "name": "v0", "mountPath": format!("/m{n}") }));
    let container = |n| json!({ "name": format!("c{n}"), "image": "x" });
    let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.retain(|name, _| !name.contains('.') || name.matches('.').count() == 1);
    pod["spec"] = json!({ "containers": many(200, &container) });
    pod["spec"]["containers"][0]["env"] = env;
    pod["spec"]["containers"][0]["volumeMounts"] = mounts;
    pod["spec"]["volumes"] = many(1000, &|n| json!({ "name": format!("v{n}"), "emptyDir": {} }));
    let mint = Mint(Cell::new(0));
    let pod = admitted(pod, &settings, &mint).unwrap();
    assert_eq!(mint.0.get(), 200);
    let again = mutate(&pod, "payments", &settings, &none);
    assert!(matches!(again, Ok(Outcome::Unchanged)), "{again:?}");
}

/// The API server asks before it looks at a pod itself, so a pod may be as large as a request. What
/// took more than one look at each pair of its parts would not end.
#[test]
fn a_pod_of_any_size_is_answered_soon() {
    let settings = settings("plain");
    let pod = yaml(&read("plain.pod.yaml").unwrap());
    let many = |make: &dyn Fn(usize) -> Value| (0..30_000).map(make).collect::<Value>();
    let names: String = (0..60_000).map(|number| format!("{number},")).collect();
    let annotations = |start: &str| {
        let names = (0..30_000).map(|number| (format!("{start}{number}"), Value::from("x")));
        Value::Object(names.collect())
    };
    let container = |field: &str, value: Value| json!([{ "name": "app", field: value }]);
    let large = [
        ("/spec/containers", many(&|number| json!({ "name": format!("c{number}") }))),
        ("/spec/containers", json!([{ "name": "n".repeat(3_000_000) }])),
        ("/spec/containers", container("env", many(&|_| json!({ "name": "AWS_PROFILE" })))),
        ("/spec/containers", container("env", many(&|n| json!({ "name": format!("V{n}") })))),
        (
            "/spec/containers",
            container(
                "volumeMounts",
                many(&|n| json!({ "name": format!("credential-relay-{n}") })),
            ),
        ),
        ("/spec/volumes", many(&|n| json!({ "name": format!("credential-relay-{n}") }))),
        ("/spec/volumes", many(&|n| json!({ "name": format!("v{n}") }))),
        ("/spec/serviceAccountName", "s".repeat(3_000_000).into()),
        ("/metadata/annotations", annotations("credential-relay.io/profile.")),
        ("/metadata/annotations", annotations("example.com/")),
        ("/metadata/annotations", json!({ "credential-relay.io/skip": names })),
    ];
    let mut eks = pod.clone();
    eks["metadata"]["annotations"]["credential-relay.io/conflicts"] = "replace".into();
    let token = |n| json!({ "name": "aws-iam-token", "mountPath": format!("/{n}") });
    eks["spec"]["containers"] = container("volumeMounts", many(&token));
    let variable = |n| json!({ "name": "AWS_ROLE_ARN", "value": format!("{n}") });
    eks["spec"]["containers"][0]["env"] = many(&variable);
    let denial = mutate(&eks, "payments", &settings, &none).unwrap_err().to_string();
    assert!(denial.contains("variables at most") && denial.contains("mounts at most"), "{denial}");
    for (pointer, value) in large {
        let mut pod = pod.clone();
        *pod.pointer_mut(pointer).unwrap() = value;
        if let Err(denial) = mutate(&pod, "payments", &settings, &none) {
            assert!(denial.to_string().len() < 8_000, "{pointer}");
        }
    }
}

fn walk(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(value, format!("{at}/{name}"), found);
            }
        }
        Value::Array(list) => {
            for (number, value) in list.iter().enumerate() {
                walk(value, format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}

/// Without randomness no pod gets a token that could be guessed, and what is printed of a patch has none.
#[test]
fn an_inline_token_is_random_and_not_printed() {
    let settings = settings("inline-token");
    let pod = yaml(&read("inline-token.pod.yaml").unwrap());
    let denial = mutate(&pod, "payments", &settings, &none).unwrap_err().to_string();
    assert!(denial.contains("no random numbers"), "{denial}");
    let mint = Mint(Cell::new(0));
    let injected = mutate(&pod, "payments", &settings, &|| mint.token()).unwrap();
    let text = format!("{injected:?}");
    assert!(text.contains("add /spec/") && !text.contains(INLINE), "{text}");
}
