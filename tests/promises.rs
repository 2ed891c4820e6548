//! Each promise of docs/threat-model.md names its test, and the test is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources must end")]

mod walk;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use walk::files_below;

/// A row of a table whose last column is the test.
struct Row {
    promise: String,
    tests: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let mut rows = Vec::new();
    let mut within = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            within = false;
        } else if line == "| threat | promise | test |" {
            within = true;
        } else if within && !line.starts_with("|---") {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [_, promise, tests] = cells[..] else { panic!("not three columns: {line}") };
            rows.push(Row { promise: promise.to_owned(), tests: tests.to_owned() });
        }
    }
    rows
}

/// What stands between backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a line says that a function is a test.
fn is_mark(line: &str) -> bool {
    ["#[test]", "#[tokio::test"].iter().any(|mark| line.starts_with(mark))
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["relay", "listener", "tests/relay", "tests/contract", "tests/e2e"] {
        files_below(&root().join(folder), &["rs", "py"], &mut files);
    }
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        files.extend(Some(entry.unwrap().path()).filter(|path| path.is_file()));
    }
    let mut found = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut marked = false;
        for line in text.lines().map(str::trim_start) {
            // Between the mark and the name there may be other attributes.
            marked |= is_mark(line);
            let is_test = line.starts_with("def test_") || marked;
            let words = line.strip_prefix("async ").unwrap_or(line);
            let words = words.strip_prefix("fn ").or(words.strip_prefix("def "));
            if let Some((name, _)) = words.and_then(|words| words.split_once('(')) {
                if is_test {
                    found.insert(name.to_owned());
                }
                marked = false;
            }
        }
    }
    found
}

/// What `make` can make.
fn made() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("Makefile")).unwrap();
    let rules = text.lines().filter(|line| !line.starts_with(['\t', '#', '.']));
    let targets =
        rules.filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    targets.flat_map(|(targets, _)| targets.split_whitespace()).map(str::to_owned).collect()
}

/// What stands in a file, and nothing if there is none.
fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// A module, with its tests where these are in a file beside it.
fn module(path: &str) -> String {
    let path = path.replace("::", "/");
    let path = path.strip_suffix("/tests").unwrap_or(&path);
    let path = match path.strip_prefix("listener") {
        Some("") => "listener/lib".to_owned(),
        Some(rest) => format!("listener{rest}"),
        None => format!("relay/{path}"),
    };
    text_of(&format!("{path}.rs")) + &text_of(&format!("{path}/tests.rs"))
}

fn has_tests(text: &str) -> bool {
    text.lines().any(|line| is_mark(line.trim_start()))
}

fn has(text: &str, function: &str) -> bool {
    text.contains(&format!(" {function}("))
}

/// Whether a text names a test: a file or folder, a case, a module, or a test by its own name.
fn is_there(name: &str, tests: &BTreeSet<String>) -> bool {
    if let Some(target) = name.strip_prefix("make ") {
        return made().contains(target);
    }
    let exists = |path: String| root().join(path).exists();
    if let Some((file, test)) = name.split_once(": ") {
        let folders = ["", "tests/", "tests/e2e/"];
        let inside = folders.iter().any(|folder| has(&text_of(&format!("{folder}{file}")), test));
        return inside && tests.contains(test);
    }
    if let Some((path, test)) = name.rsplit_once("::") {
        return has_tests(&module(name)) || (has(&module(path), test) && tests.contains(test));
    }
    // A case is named by its files' common beginning, and several by a star.
    let is_of = |file: &str| match name.strip_suffix('*') {
        Some(beginning) => file.starts_with(beginning),
        None => file == name || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')),
    };
    let a_case = ["tests/cases", "tests/inject_cases", "tests/config_cases"].iter().any(|folder| {
        let mut files = fs::read_dir(root().join(folder)).unwrap();
        files.any(|entry| is_of(&entry.unwrap().file_name().to_string_lossy()))
    });
    let many = name.strip_prefix("tests/inject_cases/");
    (["tests/", "fuzz/"].iter().any(|folder| name.starts_with(folder)) && exists(name.to_owned()))
        || ["tests", "tests/e2e", "tests/contract", "tests/chaos"]
            .iter()
            .any(|folder| exists(format!("{folder}/{name}")))
        || many.is_some_and(|case| is_there(case, tests))
        || a_case
        || tests.contains(name)
        || has_tests(&module(name))
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let known = tests();
    let rows = rows();
    assert!(rows.len() > 60, "{} rows", rows.len());
    let (mut wrong, mut before) = (Vec::new(), "-");
    for Row { promise, tests } in &rows {
        let names: Vec<_> = named(tests).collect();
        let refers = tests == "same" && before != "-";
        let none = tests == "-" && promise.contains("**not ");
        if names.is_empty() && !refers && !none {
            wrong.push(format!("no test is named of: {promise}"));
        }
        before = tests;
        for name in names {
            if !is_there(name, &known) {
                wrong.push(format!("{name} is not there"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_not_there_is_missed() {
    let tests = tests();
    for name in [
        "tests/relay/nothing.rs",
        "clock::nothing::tests",
        "test_nothing_at_all",
        "no-such-case",
        "make nothing",
        // The beginning of many cases' names.
        "refuse-host",
        // A module that has no tests, and a file that is none.
        "injector::mutate",
        "docs/vault.md",
        // Tests that are elsewhere.
        "tests/chain.rs: what_is_not_there_is_missed",
        "clock::tests::what_is_not_there_is_missed",
        // A function that is no test.
        "parse",
    ] {
        assert!(!is_there(name, &tests), "{name}");
    }
    for name in ["clock::tests", "tests/promises.rs: what_is_not_there_is_missed", "refuse-host-*"]
    {
        assert!(is_there(name, &tests), "{name}");
    }
}
