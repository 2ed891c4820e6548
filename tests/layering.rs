//! Who may import whom. A module that needs more says so here, where a reviewer sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources must end")]

mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use walk::files_below;

/// What each top-level module may import of the others.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("access", &["config", "credential"]),
    ("audit", &["clock", "config", "credential", "failure", "files", "listener", "queue"]),
    ("arn", &[]),
    ("clock", &[]),
    ("config", &["arn", "files", "schedule"]),
    ("credential", &["arn", "clock"]),
    ("failure", &[]),
    ("files", &[]),
    ("kubernetes", &["clock", "config", "credential", "files", "transport"]),
    ("listener", &["shutdown"]),
    ("metrics", &["clock", "config", "failure"]),
    ("schedule", &["clock", "credential"]),
    ("shutdown", &[]),
    ("sts", &["clock", "config", "credential", "failure", "metrics", "transport"]),
    ("transport", &["config", "files"]),
    ("x509", &["clock"]),
    (
        "sources",
        &[
            "arn",
            "clock",
            "config",
            "credential",
            "failure",
            "files",
            "metrics",
            "sts",
            "transport",
            "x509",
        ],
    ),
    (
        "chain",
        &[
            "arn",
            "clock",
            "config",
            "credential",
            "failure",
            "files",
            "metrics",
            "schedule",
            "sources",
            "sts",
            "transport",
        ],
    ),
    (
        "rotation",
        &[
            "audit",
            "clock",
            "config",
            "credential",
            "failure",
            "metrics",
            "schedule",
            "sources",
            "store",
        ],
    ),
    ("store", &["clock", "credential", "failure"]),
    ("credentials_file", &["clock", "config", "credential", "files", "store"]),
    (
        "endpoint",
        &[
            "access",
            "audit",
            "clock",
            "config",
            "credential",
            "failure",
            "listener",
            "metrics",
            "shutdown",
            "store",
        ],
    ),
    (
        "admin",
        &["clock", "config", "credential", "failure", "listener", "metrics", "shutdown", "store"],
    ),
    // Of the relay it knows the configuration alone.
    (
        "injector",
        &[
            "access",
            "arn",
            "clock",
            "config",
            "credential",
            "files",
            "kubernetes",
            "listener",
            "schedule",
            "transport",
            "x509",
        ],
    ),
    ("hardening", &["config", "files", "kubernetes"]),
    ("queue", &[]),
    ("telemetry", &["queue"]),
];

/// These see everything: the composition root and what stands on it.
const MAY_IMPORT_ALL: &[&str] = &["app", "cli", "dev"];

/// Crates that stay where they belong.
const CRATES: &[(&str, &[&str])] = &[
    ("aws_config", &["sources"]),
    ("aws_runtime", &["sources"]),
    ("aws_sdk_sts", &["sts", "chain", "sources"]),
    ("aws_credential_types", &["sts", "chain", "sources"]),
    ("aws_sigv4", &["sources"]),
    ("aws_smithy_runtime_api", &["sts", "chain", "sources"]),
    // In dev, injector and x509 for its base64 alone.
    ("aws_smithy_types", &["sts", "chain", "sources", "dev", "injector", "x509"]),
    ("aws_types", &["sources"]),
    ("vaultrs", &["sources"]),
    ("rustify", &["sources"]),
    ("rcgen", &["injector"]),
    ("rustls", &["transport", "listener", "injector"]),
    ("tokio_rustls", &["listener"]),
    ("hyper_rustls", &["transport"]),
    // In config for its URLs alone.
    (
        "hyper",
        &[
            "transport",
            "kubernetes",
            "sources",
            "listener",
            "endpoint",
            "admin",
            "injector",
            "cli",
            "config",
            "dev",
        ],
    ),
    ("tower", &["transport"]),
    ("clap", &["cli", "dev"]),
    ("deserr", &["config"]),
    ("schemars", &["config"]),
    ("serde_saphyr", &["config"]),
    ("prometheus_client", &["metrics", "listener", "injector"]),
    ("rustix", &["audit", "clock", "files", "sources", "credentials_file", "hardening", "cli"]),
    ("landlock", &["hardening"]),
    ("libc", &["hardening"]),
    ("seccompiler", &["hardening"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the admin listeners may name of the two modules that have secrets: nothing of it gives one.
const WITHOUT_SECRETS: &[(&str, &[&str])] = &[
    ("store", &["Onlooker", "Sight", "Told", "Health", "Plan"]),
    ("credential", &["Principal", "Validity"]),
];

/// The sources, and of which package each is.
fn files() -> Vec<(PathBuf, &'static str)> {
    let of = |package| {
        let mut found = Vec::new();
        files_below(&root().join(package), &["rs"], &mut found);
        found.into_iter().map(move |file| (file, package))
    };
    ["relay", "listener"].into_iter().flat_map(of).collect()
}

/// The production text of every top-level module: its own tests and comments cut off.
fn modules() -> BTreeMap<String, String> {
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for (file, package) in files() {
        let inside = file.strip_prefix(root().join(package)).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        // The other package is seen as two modules of the relay.
        let module = if package == "relay" || module == "shutdown" { module } else { package };
        if file.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let text = text.split("#[cfg(test)]\npub(crate) mod fixtures").next().unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let all = modules.entry(module.to_owned()).or_default();
        for line in code {
            all.push_str(line);
            all.push('\n');
        }
    }
    modules
}

/// The words that follow `path::` in a text, those of `path::{a, b::c}` among them.
fn named_after(text: &str, path: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(&format!("{path}::")) {
        let rest = &text[at + path.len() + 2..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(word(item.trim()));
    }
    names.remove("");
    names
}

#[test]
fn every_module_imports_only_what_lies_before_it() {
    let modules = modules();
    for (module, text) in &modules {
        if ["lib", "main"].contains(&module.as_str()) || MAY_IMPORT_ALL.contains(&module.as_str()) {
            continue;
        }
        let (_, allowed) =
            MAY_IMPORT.iter().find(|(name, _)| name == module).unwrap_or_else(|| {
                panic!("say in tests/layering.rs what relay/{module}.rs may import")
            });
        for name in named_after(text, "crate") {
            if modules.contains_key(&name) {
                assert!(
                    name == *module || allowed.contains(&name.as_str()),
                    "relay/{module} imports {name}, which tests/layering.rs does not allow"
                );
            }
        }
    }
}

#[test]
fn the_rules_have_no_cycle() {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < MAY_IMPORT.len() {
        let ready: Vec<_> = MAY_IMPORT
            .iter()
            .filter(|(name, needs)| {
                !done.contains(name) && needs.iter().all(|need| done.contains(need))
            })
            .map(|(name, _)| *name)
            .collect();
        assert!(!ready.is_empty(), "a cycle among those that are not in {done:?}");
        done.extend(ready);
    }
}

#[test]
fn crates_stay_where_they_belong() {
    for (module, text) in modules() {
        for (name, homes) in CRATES {
            let used =
                text.contains(&format!("{name}::")) || text.contains(&format!("use {name};"));
            assert!(
                !used || homes.contains(&module.as_str()),
                "relay/{module} uses the crate {name}, which belongs to {homes:?}"
            );
        }
    }
}

#[test]
fn the_admin_listeners_hold_nothing_that_has_a_secret() {
    let admin = &modules()["admin"];
    for (module, allowed) in WITHOUT_SECRETS {
        for name in named_after(admin, &format!("crate::{module}")) {
            assert!(
                allowed.contains(&name.as_str()),
                "relay/admin names {module}::{name}, and a secret may be had from that"
            );
        }
        assert!(
            !admin.contains(&format!("use crate::{module};")),
            "relay/admin imports {module} whole"
        );
    }
    // Nor do they read a secret's text, whoever hands it to them.
    assert!(!admin.contains(".expose()"), "relay/admin reads a secret");
}

#[test]
fn imports_are_read_whole() {
    let text = "use crate::{admin, endpoint::access, store};\nuse crate::clock::Clock;";
    let names = named_after(text, "crate");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["admin", "clock", "endpoint", "store"]);
}

#[test]
fn files_stay_readable() {
    for (file, _) in files() {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        let tests = file.file_stem().is_some_and(|stem| stem == "tests");
        assert!(tests || code <= 420, "{} has {code} lines without its tests", file.display());
    }
}
