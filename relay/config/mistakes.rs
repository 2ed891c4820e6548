//! What is wrong with a configuration, all of it at once.
//!
//! A text that was given is never repeated: whoever pastes a secret into the wrong setting must
//! not find it in a log. It is told by its shape: what it is, and how long.

mod checking;

use std::fmt;
use std::ops::ControlFlow;

use deserr::{
    DeserializeError, ErrorKind, IntoValue, Map, MergeWithError, Sequence, Value, ValueKind,
    ValuePointerRef,
};

use super::environment::Origins;

/// How many are shown; whoever has more has one cause for them.
const SHOWN: usize = 50;

/// Names that other tools use, or that say what is not there, with the setting to use.
const KNOWN_ELSEWHERE: [(&str, &str); 16] = [
    ("token", "token_file"),
    ("token", "auth"),
    ("arn", "role_arn"),
    ("role", "role_arn"),
    ("role_session_name", "session_name"),
    ("duration_seconds", "duration"),
    ("ttl", "duration"),
    ("duration", "ttl"),
    ("max_ttl", "ttl"),
    ("token_path", "token_file"),
    ("jwt", "token_file"),
    ("addr", "address"),
    ("tls_skip_verify", "ca_cert"),
    ("session_policy", "policy"),
    ("env", "environment"),
    ("ca_bundle", "ca_cert"),
];

/// Secrets that somebody may write into the file, with the setting for a file that holds them.
const SECRETS: [(&str, &str); 2] = [("secret_id", "secret_id_file"), ("password", "password_file")];

/// One step on the way to a setting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A key is told as in a message: it may be a secret that stands in the wrong place.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(&told(key)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The way from the file's top to a setting.
pub(super) fn path(at: ValuePointerRef<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = &at;
    loop {
        let (step, holder) = match at {
            ValuePointerRef::Origin => break,
            ValuePointerRef::Key { key, prev } => (Step::Key((*key).to_owned()), prev),
            ValuePointerRef::Index { index, prev } => (Step::Index(*index), prev),
        };
        steps.push(step);
        at = holder;
    }
    steps.reverse();
    steps
}

/// What a mistake is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A setting of the file.
    Setting(Vec<Step>),
    /// An environment variable.
    Variable(String),
}

impl Place {
    /// The variable of this name.
    pub(super) fn variable(name: &str) -> Self {
        Self::Variable(name.to_owned())
    }
}

impl From<ValuePointerRef<'_>> for Place {
    fn from(at: ValuePointerRef<'_>) -> Self {
        let at = path(at);
        if at.is_empty() { Self::File } else { Self::Setting(at) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Variable(name) => f.write_str(name),
            Self::Setting(at) => {
                for (number, step) in at.iter().enumerate() {
                    match step {
                        Step::Index(index) => write!(f, "[{index}]")?,
                        Step::Key(key) if number == 0 => f.write_str(&told(key))?,
                        Step::Key(key) => write!(f, ".{}", told(key))?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// One thing that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What was found there and what would be right; holds no value that may be a secret.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// A single one.
    pub(super) fn one(place: impl Into<Place>, what: impl Into<String>) -> Self {
        let mut mistakes = Self::default();
        mistakes.add(place, what);
        mistakes
    }

    /// Notes one more.
    pub(super) fn add(&mut self, place: impl Into<Place>, what: impl Into<String>) {
        self.0.push(Mistake { place: place.into(), what: what.into() });
    }

    /// Takes in those of another check.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wrong at this setting, within it, or with what holds it: then no
    /// conclusion can be drawn from what it seems to say, nor from its absence.
    pub(super) fn touch(&self, at: ValuePointerRef<'_>) -> bool {
        let at = path(at);
        self.0.iter().any(|mistake| match &mistake.place {
            Place::Setting(other) => at.starts_with(other) || other.starts_with(&at),
            Place::File | Place::Variable(_) => false,
        })
    }

    /// Whether something is wrong with this variable.
    pub(super) fn blame(&self, variable: &str) -> bool {
        self.0
            .iter()
            .any(|mistake| matches!(&mistake.place, Place::Variable(name) if name == variable))
    }

    /// Takes what is wrong out of the file's value, so that the rest of it can be checked too.
    /// A place in a list becomes empty, since what follows must keep its number.
    pub(super) fn cut_out_of(&self, document: &mut serde_json::Value) {
        for mistake in &self.0 {
            let Place::Setting(at) = &mistake.place else {
                continue;
            };
            let Some((last, holders)) = at.split_last() else {
                continue;
            };
            let holder = holders.iter().try_fold(&mut *document, |value, step| match step {
                Step::Key(key) => value.get_mut(key),
                Step::Index(index) => value.get_mut(index),
            });
            match (holder, last) {
                (Some(serde_json::Value::Object(map)), Step::Key(key)) => {
                    map.remove(key);
                }
                (Some(serde_json::Value::Array(list)), Step::Index(index)) => {
                    if let Some(item) = list.get_mut(*index) {
                        *item = serde_json::Value::Null;
                    }
                }
                _ => {}
            }
        }
    }

    /// With the variables that the settings came from, where they did.
    pub(super) fn named(mut self, origins: &Origins) -> Self {
        for mistake in &mut self.0 {
            origins.name(&mut mistake.place);
        }
        self
    }

    /// In the order of their places, each once.
    pub(super) fn in_order(mut self) -> Self {
        self.0.sort();
        self.0.dedup();
        self
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has 1 mistake:")?,
            count => write!(f, "the configuration has {count} mistakes:")?,
        }
        for mistake in self.0.iter().take(SHOWN) {
            write!(f, "\n  {mistake}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

impl MergeWithError<Self> for Mistakes {
    fn merge(this: Option<Self>, other: Self, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        let mut this = this.unwrap_or_default();
        this.extend(other);
        ControlFlow::Continue(this)
    }
}

impl DeserializeError for Mistakes {
    fn error<V: IntoValue>(
        this: Option<Self>,
        error: ErrorKind<'_, V>,
        at: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let mut this = this.unwrap_or_default();
        match error {
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                let wanted = at.last_field().and_then(|key| example(key, accepted));
                let wanted = wanted.unwrap_or_else(|| expectation(&actual, accepted));
                this.add(at, format!("{}; {wanted}", shape_of(&actual, accepted)));
            }
            ErrorKind::UnknownKey { key, accepted } => {
                this.add(at.push_key(key), unknown(key, accepted));
            }
            ErrorKind::MissingField { field } => this.add(at.push_key(field), "missing"),
            ErrorKind::UnknownValue { accepted, .. } => {
                this.add(at, format!("not known here; {}", one_of(accepted)));
            }
            ErrorKind::BadSequenceLen { actual, expected } => {
                let len = actual.len();
                this.add(at, format!("a list of {len}; {expected} were expected"));
            }
            // The message may repeat the value.
            ErrorKind::Unexpected { .. } => this.add(at, "this value cannot stand here"),
        }
        ControlFlow::Continue(this)
    }
}

/// What to write where the kind alone would say too little.
fn example(key: &str, accepted: &[ValueKind]) -> Option<&'static str> {
    match key {
        "file" if accepted == [ValueKind::Map] => Some("write `file: { path: … }`"),
        "token_file" if accepted == [ValueKind::Map] => Some("write `token_file: { path: … }`"),
        "wrapped_secret_id" => {
            Some("write `wrapped_secret_id: { file: …, creation_path: … }`, with a path of a file")
        }
        "source" => Some("write `source: { environment: {} }`, or file or vault in its place"),
        "auth" => Some("write `auth: { kubernetes: { role: … } }`, or another method in its place"),
        "token" => Some(
            "a token is never written here: put it into a file and write `token_file: { path: … }`, or \
             for development set VAULT_TOKEN and write `token: {}`",
        ),
        "get_session_token" => Some("write `get_session_token: { duration: 12h }`"),
        "duration" | "ttl" | "timeout" | "settle" => {
            Some("write it with its unit, as 1h, 45m, 1h30m or 3600s")
        }
        "policy" => Some("write it as a mapping, or as JSON text"),
        "access" => Some("write `access: { token_file: … }`"),
        _ => None,
    }
}

/// What may be said of a value of the wrong kind. A number in the place of anything else may be a
/// password without quotes.
fn shape_of<V: IntoValue>(actual: &Value<V>, accepted: &[ValueKind]) -> String {
    let numeric = accepted.contains(&ValueKind::Integer);
    match actual {
        Value::Null => "nothing".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(_) | Value::NegativeInteger(_) if !numeric => "a number".to_owned(),
        Value::Integer(number) => format!("the number {number}"),
        Value::NegativeInteger(number) => format!("the number {number}"),
        Value::Float(_) => "a number with a fraction or an exponent".to_owned(),
        Value::String(text) => shape(text),
        Value::Sequence(list) => format!("a list of {}", list.len()),
        Value::Map(map) => format!("a mapping of {}", map.len()),
    }
}

fn expectation<V: IntoValue>(actual: &Value<V>, accepted: &[ValueKind]) -> &'static str {
    match accepted.first() {
        Some(ValueKind::Boolean) => "true or false was expected",
        Some(ValueKind::Integer | ValueKind::NegativeInteger) => "a whole number was expected",
        Some(ValueKind::Float) => "a number was expected",
        Some(ValueKind::Sequence) => "a list was expected",
        Some(ValueKind::Map) => "a mapping was expected",
        Some(ValueKind::String) => match actual {
            Value::Sequence(_) | Value::Map(_) | Value::Null => "a text was expected",
            _ => "a text was expected: put it in quotes",
        },
        Some(ValueKind::Null) | None => "nothing was expected",
    }
}

/// What may be said of a text that was given.
pub(crate) fn shape(text: &str) -> String {
    match text.chars().count() {
        0 => "an empty text".to_owned(),
        1 => "a text of 1 character".to_owned(),
        len => format!("a text of {len} characters"),
    }
}

/// A key or a name as it may be told: as it is while it looks like one. From 16 characters on,
/// which is where access tokens start, it looks like one in a single case and with few digits. A
/// secret of AWS is 40 characters or more, or has others than these.
pub(crate) fn told(key: &str) -> String {
    let count = |is: fn(&u8) -> bool| key.bytes().filter(is).count();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let mixed = count(u8::is_ascii_lowercase) > 0 && count(u8::is_ascii_uppercase) > 0;
    let random = key.len() >= 16 && (mixed || count(u8::is_ascii_digit) > 3);
    if !key.is_empty() && key.len() <= 32 && key.bytes().all(plain) && !random {
        key.to_owned()
    } else {
        format!("[a key of {} characters]", key.chars().count())
    }
}

/// What to say of a name that is not among those known.
pub(crate) fn unknown(name: &str, known: &[&str]) -> String {
    let secret = SECRETS.iter().find(|(secret, _)| plain(secret) == plain(name));
    if let Some((_, file)) = secret.filter(|(_, file)| known.contains(file)) {
        return format!("a secret is never written here: put it into a file, and write {file}");
    }
    match nearest(name, known) {
        Some(near) => format!("not known here; did you mean {near}?"),
        None => format!("not known here; {}", one_of(known)),
    }
}

/// Names in a row, and that they are.
pub(crate) fn one_of(known: &[&str]) -> String {
    match known {
        [] => "there is nothing to set".to_owned(),
        [one] => format!("{one} is"),
        [most @ .., last] => format!("{} and {last} are", most.join(", ")),
    }
}

/// A name without what its spellings differ in.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-', ' '], "")
}

/// So many letters may be wrong.
const FURTHEST: usize = 3;

/// The known name that was most likely meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = plain(name);
    let mut elsewhere = KNOWN_ELSEWHERE.iter().filter(|(other, _)| plain(other) == given);
    if let Some(near) = elsewhere.find_map(|(_, here)| known.iter().find(|known| *known == here)) {
        return Some(near);
    }
    // A name may be as long as a request; the distance is never less than what the lengths differ by.
    let close = |known: &&&str| given.len().abs_diff(plain(known).len()) <= FURTHEST;
    known
        .iter()
        .filter(close)
        .map(|known| (strsim::osa_distance(&given, &plain(known)), *known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(4).min(FURTHEST))
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found() {
        let known = ["role_arn", "session_name", "duration", "token_file", "policy"];
        for (name, near) in [
            ("roleArn", Some("role_arn")),
            ("role-arn", Some("role_arn")),
            ("rolearm", Some("role_arn")),
            ("DurationSeconds", Some("duration")),
            ("token", Some("token_file")),
            ("sesion_name", Some("session_name")),
            ("colour", None),
        ] {
            assert_eq!(nearest(name, &known), near, "{name}");
        }
        assert_eq!(nearest("token", &["duration"]), None);
        let what = unknown("SecretId", &["role_id", "secret_id_file"]);
        assert!(what.starts_with("a secret is never written here"), "{what}");
    }

    #[test]
    fn what_may_be_a_secret_is_told_by_its_length() {
        assert_eq!(told("role_arn"), "role_arn");
        assert_eq!(told("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "[a key of 40 characters]");
        assert_eq!(told("a key: 1"), "[a key of 8 characters]");
        for name in ["roleSessionName", "AWS_SECRET_ACCESS_KEY", "payments-eu-west-1"] {
            assert_eq!(told(name), name);
        }
        for token in
            ["kT4vYq8RzP2mWc7L", "KTvYqRzPmWcLdBnJ", "9f1c03ab77de4521", "a1b2c3d4e5f6g7h8i9j"]
        {
            assert_eq!(told(token), format!("[a key of {} characters]", token.len()));
        }
        assert_eq!(told(&"x".repeat(33)), "[a key of 33 characters]");
    }

    #[test]
    fn what_is_wrong_is_cut_out_and_list_places_stay() {
        let mut document = serde_json::json!({"a": [1, {"b": 2, "c": 3}, 4], "d": {"e": 5}});
        let origin = ValuePointerRef::Origin;
        let mut mistakes = Mistakes::one(origin.push_key("a").push_index(0), "x");
        mistakes.add(origin.push_key("a").push_index(1).push_key("b"), "x");
        mistakes.add(origin.push_key("d"), "x");
        mistakes.cut_out_of(&mut document);
        assert_eq!(document, serde_json::json!({"a": [null, {"c": 3}, 4]}));
    }

    #[test]
    fn a_long_report_is_bounded() {
        let mut mistakes = Mistakes::default();
        for number in 0..60 {
            mistakes.add(ValuePointerRef::Origin.push_key("a").push_index(number), "x");
        }
        let report = mistakes.to_string();
        assert!(report.ends_with("\n  a[49]: x\n  and 10 more"), "{report}");
    }
}
