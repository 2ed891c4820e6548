//! The relay's configuration, of a file and of the environment, and the injector's. An input is the text of a file;
//! before it may stand variables, one a line, and `===` on a line of its own.

#![no_main]

use credential_relay::config::environment::Environment;
use credential_relay::config::mistakes::Mistakes;
use credential_relay::config::{injector, load};
use credential_relay_fuzz::told::{CANARY, assert_untold};
use libfuzzer_sys::fuzz_target;

/// The variable that holds the text of a file.
const TEXT: &str = "CREDENTIAL_RELAY_CONFIG_TEXT";

const BETWEEN: &str = "\n===\n";

/// The setting that no injector is without, and no relay has.
const OF_THE_INJECTOR: &str = "sidecar:";

/// Where other files are named, which have no part in this.
const ELSEWHERE: [&str; 1] = ["CREDENTIAL_RELAY_CONFIG"];

/// A report has at most so many lines of mistakes, each with a place and what would be right.
const LONGEST_REPORT: usize = 256 << 10;

fuzz_target!(|data: &[u8]| {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (variables, text) = input.split_once(BETWEEN).unwrap_or(("", input));
    let environment: Environment = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !ELSEWHERE.contains(name))
        .collect();
    let untold = is_untold(text) && variables.lines().all(is_untold_variable);
    // One of them, since each takes milliseconds.
    if text.contains(OF_THE_INJECTOR) {
        check(injector::parse(text).map(|injector| injector.warnings), untold);
    } else if text.is_empty() {
        check(load::load(None, &environment).map(|config| config.warnings), untold);
    } else {
        check(load::parse(text, &environment).map(|config| config.warnings), untold);
    }
});

fn check(read: Result<Vec<String>, Mistakes>, untold: bool) {
    let report = match &read {
        Ok(warnings) => warnings.join("\n"),
        Err(mistakes) => mistakes.to_string(),
    };
    assert!(read.is_ok() || !report.is_empty(), "refused without a reason");
    assert!(report.len() <= LONGEST_REPORT, "{} bytes", report.len());
    if untold {
        assert_untold("a report", &report, &[CANARY]);
        assert_untold("a debug print", &format!("{read:?}"), &[CANARY]);
    }
}

/// Whether the canary stands in values alone: a key is told, as far as it looks like one.
fn is_untold(text: &str) -> bool {
    !text.contains(CANARY) || {
        let value = serde_saphyr::from_str::<serde_json::Value>(text);
        value.is_ok_and(|value| !has_key(&value))
    }
}

fn has_key(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().any(|(key, value)| key.contains(CANARY) || has_key(value))
        }
        serde_json::Value::Array(list) => list.iter().any(has_key),
        _ => false,
    }
}

/// A name is told too, and a text of a file may stand in a variable.
fn is_untold_variable(line: &str) -> bool {
    line.split_once('=').is_none_or(|(name, value)| match name {
        TEXT => is_untold(value),
        _ => !name.contains(CANARY),
    })
}
