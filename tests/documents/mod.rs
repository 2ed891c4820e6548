//! What the tests of the reference pages share: the settings that a schema has, and what a page says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// That what is reported of each case of the folder, which is told by its path without an ending, is as
/// its file `<name>.txt` says. With UPDATE_GOLDEN set the reports are written anew. There are `least`
/// cases at least, and no report tells a key.
pub(crate) fn reports_are_golden(folder: &Path, least: usize, report: impl Fn(&Path) -> String) {
    let mut cases = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        cases.insert(entry.unwrap().path().with_extension(""));
    }
    assert!(cases.len() >= least, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let report = report(&case);
        assert!(!report.contains("EXAMPLEKEY"), "{}: {report}", case.display());
        let golden = case.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &report).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != report {
            wrong.push(format!("{}:\n{report}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// That the schema which the binary prints, in that file, is the one that the types have. With
/// UPDATE_GOLDEN set it is written anew. Each value has a line, for differences that can be read,
/// and no indentation, which would be half of it.
pub(crate) fn schema_is_of_types(file: &Path, printed: &str, of_types: &serde_json::Value) {
    let mut text = Vec::new();
    let lines = PrettyFormatter::with_indent(b"");
    of_types.serialize(&mut Serializer::with_formatter(&mut text, lines)).unwrap();
    text.push(b'\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, &text).unwrap();
        return;
    }
    let equal = printed.as_bytes() == text;
    assert!(equal, "{} is not what the types say: set UPDATE_GOLDEN", file.display());
}

/// Every leaf of the schema, written as the reference writes it: `profiles.<name>.chain[].tags`.
/// Those `elsewhere` are written as another setting is, and so described there alone.
pub(crate) fn settings(schema: &serde_json::Value, elsewhere: &[&str]) -> BTreeSet<String> {
    let mut settings = BTreeSet::new();
    walk(schema, schema, String::new(), elsewhere, &mut settings);
    settings
}

fn walk(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    at: String,
    elsewhere: &[&str],
    settings: &mut BTreeSet<String>,
) {
    let variants = schema.get("anyOf").and_then(|any| any.as_array());
    let schema = variants.map_or(schema, |variants| &variants[0]);
    let schema = match schema.get("$ref").and_then(|reference| reference.as_str()) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let is_object = |schema: &serde_json::Value| schema.get("$ref").is_some();
    if elsewhere.contains(&at.as_str()) {
        settings.insert(at);
    } else if let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) {
        for (name, property) in properties {
            let dot = if at.is_empty() { "" } else { "." };
            walk(property, root, format!("{at}{dot}{name}"), elsewhere, settings);
        }
    } else if let Some(item) = schema.get("items").filter(|item| is_object(item)) {
        walk(item, root, format!("{at}[]"), elsewhere, settings);
    } else if let Some(value) = schema.get("additionalProperties").filter(|value| is_object(value))
    {
        walk(value, root, format!("{at}.<name>"), elsewhere, settings);
    } else {
        settings.insert(at);
    }
}

/// The names in the first column of the reference's tables.
pub(crate) fn rows(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The YAML blocks of a document that have a line which starts so.
pub(crate) fn examples(text: &str, line: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match &mut block {
            None if line == "```yaml" => block = Some(String::new()),
            None => {}
            Some(_) if line == "```" => examples.extend(block.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    examples.retain(|example| example.lines().any(|text| text.starts_with(line)));
    examples
}
