//! The configuration as its users meet it: what it reports, what its reference says, and whether
//! the examples work.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "documents/mod.rs"]
mod documents;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use credential_relay::clock::{ManualClock, Timestamp};
use credential_relay::config::Config;
use credential_relay::config::environment::{self, Environment};
use credential_relay::config::load::{SCHEMA, load, parse, schema_of_types};
use credential_relay::config::mistakes::Mistakes;
use credential_relay::credential::{Lifetime, Validity};
use credential_relay::schedule::{self, Draw};

use documents::{examples, reports_are_golden, rows, schema_is_of_types, settings};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each case is a file `<name>.yaml`, or variables `<name>.env`, or both, with the report that is
/// expected in `<name>.txt`. With UPDATE_GOLDEN set the reports are written anew.
#[test]
fn every_bad_configuration_is_reported_as_expected() {
    let folder = project().join("tests/config_cases");
    reports_are_golden(&folder, 25, |case| match read_case(case) {
        Ok(_) => "accepted\n".to_owned(),
        Err(mistakes) => format!("{mistakes}\n"),
    });
}

fn read_case(case: &Path) -> Result<Config, Mistakes> {
    let variables = fs::read_to_string(case.with_extension("env")).unwrap_or_default();
    let variables = variables.lines().map(|line| line.split_once('=').unwrap());
    let environment: Environment = variables.collect();
    match fs::read_to_string(case.with_extension("yaml")) {
        Ok(text) => parse(&text, &environment),
        Err(_) => load(None, &environment),
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::default();
    let report = |path: &Path| load(Some(path), &environment).unwrap_err().to_string();

    assert!(report(&folder.path().join("none.yaml")).contains("there is no such file"));
    assert!(report(folder.path()).contains("it is a directory"));
    let file = folder.path().join("latin1.yaml");
    fs::write(&file, b"# caf\xe9\n").unwrap();
    assert!(report(&file).contains("it is not UTF-8: the byte at offset 5"));
    fs::write(&file, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(report(&file).contains("it is larger than 1 MiB"));
}

/// Written as another setting is, and so described there alone.
const DESCRIBED_ELSEWHERE: [&str; 4] = [
    "profiles.<name>.source.vault.auth",
    "vault.auth.aws.source.web_identity",
    "vault.auth.aws.source.container",
    "vault.auth.aws.source.imds",
];

fn reference() -> String {
    fs::read_to_string(project().join("docs/configuration.md")).unwrap()
}

#[test]
fn the_reference_lists_every_setting_and_no_other() {
    let rows: BTreeSet<String> = rows(&reference())
        .into_iter()
        .filter(|name| !name.starts_with(|c: char| c.is_ascii_uppercase() || c == '{'))
        .collect();
    assert_eq!(rows, settings(&schema_of_types(), &DESCRIBED_ELSEWHERE));
}

#[test]
fn the_reference_lists_every_variable_and_no_other() {
    let rows: BTreeSet<String> = rows(&reference())
        .into_iter()
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let known = environment::CONFIGURATION.iter().chain(&environment::PROCESS);
    let known = known.chain(&environment::HONOURED);
    assert_eq!(rows, known.map(|name| (*name).to_owned()).collect());
}

/// As the file has it: `4h48m`.
fn duration(text: &str) -> Duration {
    let units = text.split_inclusive(|c: char| c.is_ascii_alphabetic());
    units
        .map(|unit| {
            let (count, unit) = unit.split_at(unit.len() - 1);
            let seconds = ["s", "m", "h"].iter().position(|known| *known == unit).unwrap();
            Duration::from_secs(count.parse::<u64>().unwrap() * [1, 60, 3600][seconds])
        })
        .sum()
}

/// The durations that the reference tells of: when each is renewed at the earliest and at the latest, and
/// how many calls it says that an hour takes.
fn renewals() -> Vec<(Duration, [Duration; 2], String)> {
    let text = reference();
    let (_, table) = text.split_once("\n| duration | renewed after |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [nominal, after, calls] = cells[..] else { panic!("not three columns: {line}") };
        let (earliest, latest) = after.split_once(" to ").unwrap();
        (duration(nominal), [earliest, latest].map(duration), calls.to_owned())
    })
    .collect()
}

#[test]
fn the_reference_tells_when_each_duration_is_renewed() {
    let now = ManualClock::starting_at(Timestamp::from_secs(1_800_000_000)).clock().now();
    let rows = renewals();
    assert!(rows.len() >= 5, "{rows:?}");
    for (nominal, told, calls) in rows {
        let validity = Validity::Until(Lifetime::from_request(now, nominal, None));
        for (draw, told) in [1.0, 0.0].into_iter().zip(told) {
            let due = schedule::due(&validity, now, Draw::of(draw)).remaining(now);
            let near = due.abs_diff(told) < Duration::from_secs(1);
            assert!(near, "{nominal:?}, draw {draw}: {due:?}, and not {told:?}");
        }
        let an_hour = 3600.0 / schedule::renewed_every(nominal).as_secs_f64();
        assert_eq!(calls, format!("{an_hour:.1}"), "{nominal:?}");
    }
}

#[test]
fn the_pages_of_sources_tell_how_often_an_hour_is_renewed() {
    let every = schedule::renewed_every(Duration::from_secs(3600)).as_secs_f64() / 60.0;
    for page in ["docs/vault.md", "docs/sources/roles-anywhere.md"] {
        let text = fs::read_to_string(project().join(page)).unwrap();
        assert!(text.contains(&format!(" every {every:.0} minutes")), "{page}: {every}");
    }
}

#[test]
fn every_example_is_accepted() {
    let pod = [
        ("POD_NAME", "payments-7c9d8b6f5d-x2x4z"),
        ("POD_NAMESPACE", "payments"),
        ("POD_SERVICE_ACCOUNT", "payments"),
        // As EKS sets it for Pod Identity.
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
    ];
    let environment: Environment = pod.into_iter().collect();
    let pages = fs::read_dir(project().join("docs/sources")).into_iter().flatten();
    let pages = pages.map(|page| page.unwrap().path());
    let documents: Vec<PathBuf> = ["docs/configuration.md", "docs/delivery.md", "README.md"]
        .map(|name| project().join(name))
        .into_iter()
        .chain(pages)
        .collect();
    for document in documents.iter().filter(|document| document.exists()) {
        let examples = examples(&fs::read_to_string(document).unwrap(), "profiles:");
        for (number, example) in examples.iter().enumerate() {
            if let Err(mistakes) = parse(example, &environment) {
                panic!("{}, example {}: {mistakes}", document.display(), number + 1);
            }
        }
    }
    assert!(!examples(&reference(), "profiles:").is_empty());
}

#[test]
fn the_schema_is_kept_as_the_types_have_it() {
    schema_is_of_types(
        &project().join("relay/config/relay.schema.json"),
        SCHEMA,
        &schema_of_types(),
    );
}

#[test]
fn the_schema_is_closed_and_described_everywhere() {
    let schema = schema_of_types();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let definitions = schema["$defs"].as_object().unwrap();
    let root = ("root".to_owned(), schema.clone());
    let all = definitions.iter().chain([(&root.0, &root.1)]);
    for (name, object) in all.filter(|(_, schema)| schema["type"] == "object") {
        assert_eq!(object["additionalProperties"], false, "{name}");
        let properties = object.get("properties").and_then(|p| p.as_object());
        for (key, property) in properties.into_iter().flatten() {
            assert!(property.get("description").is_some(), "{name}.{key}");
        }
    }
}

#[test]
fn the_schema_requires_only_what_has_no_default() {
    let schema = schema_of_types();
    let mut required = Vec::new();
    let definitions = schema["$defs"].as_object().unwrap();
    for object in definitions.values().chain([&schema]) {
        let names = object.get("required").and_then(|names| names.as_array());
        required.extend(names.into_iter().flatten().filter_map(|name| name.as_str()));
    }
    required.sort_unstable();
    required.dedup();
    let needed = [
        "certificate",
        "command",
        "creation_path",
        "file",
        "listen",
        "password_file",
        "path",
        "private_key",
        "profile_arn",
        "profiles",
        "role",
        "role_arn",
        "source",
        "to",
        "token_file",
        "trust_anchor_arn",
        "username",
    ];
    assert_eq!(required, needed);
}

#[test]
fn a_file_that_is_cut_off_is_refused_or_read_but_never_fatal() {
    let text = &examples(&reference(), "profiles:")[1];
    for (end, _) in text.char_indices().step_by(3) {
        let _ = parse(&text[..end], &Environment::default());
    }
}
