//! Session policies: a document, and the ARNs of managed ones.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::arn::{AccountId, ArnError, Partition};

/// A session policy's longest text (AssumeRole's API reference).
const LONGEST_POLICY: usize = 2048;

/// The ARN of a managed policy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PolicyArn {
    text: Box<str>,
    partition: Partition,
}

impl PolicyArn {
    /// The ARN as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl FromStr for PolicyArn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const RIGHT: &str =
            "write arn:aws:iam::aws:policy/<name> or arn:aws:iam::<account>:policy/<name>";
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts[..] else {
            return Err(format!("not an IAM ARN; {RIGHT}"));
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b);
        let named = resource.strip_prefix("policy/").is_some_and(|name| {
            !name.is_empty()
                && !name.starts_with('/')
                && !name.ends_with('/')
                && name.bytes().all(legal)
        });
        if !named {
            return Err(format!("not a managed policy; {RIGHT}"));
        }
        if account != "aws" {
            account.parse::<AccountId>().map_err(|error| error.to_string())?;
        }
        Ok(Self {
            text: text.into(),
            partition: partition.parse().map_err(|error: ArnError| error.to_string())?,
        })
    }
}

impl fmt::Debug for PolicyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A session policy: a JSON object with a statement, short enough for STS.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PolicyDocument(Box<str>);
text!(PolicyDocument);

impl PolicyDocument {
    /// Of a mapping in the file, as compact JSON.
    ///
    /// # Errors
    /// What would be right.
    pub(in crate::config) fn of_mapping(policy: &Map<String, Value>) -> Result<Self, String> {
        check_policy(policy)?;
        let text = serde_json::to_string(policy).map_err(|_| "it cannot be written as JSON")?;
        Self::bounded(text)
    }

    fn bounded(text: String) -> Result<Self, String> {
        let len = text.chars().count();
        if len > LONGEST_POLICY {
            return Err(format!(
                "its JSON has {len} characters, STS takes {LONGEST_POLICY} at most"
            ));
        }
        // STS's own pattern for it: tab, line ends, and U+0020 to U+00FF.
        if !text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}')) {
            return Err("STS takes no characters beyond Latin-1 in it".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for PolicyDocument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let policy: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("not a JSON object: line {line}, column {column}")
        })?;
        check_policy(&policy)?;
        Self::bounded(text.to_owned())
    }
}

fn check_policy(policy: &Map<String, Value>) -> Result<(), String> {
    if !policy.contains_key("Statement") {
        return Err("an IAM policy has a Statement, with a capital".to_owned());
    }
    match policy.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => Ok(()),
        Some(_) => Err("an IAM policy's Version is the text 2012-10-17".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_objects_with_a_statement() {
        for text in [r#"{"Statement":[]}"#, r#" {"Version":"2012-10-17","Statement":{}} "#] {
            assert_eq!(text.parse::<PolicyDocument>().unwrap().as_str(), text);
        }
        let long = format!(r#"{{"Statement":"{}"}}"#, "x".repeat(2048));
        for text in [
            "",
            "[]",
            "{}",
            "{",
            r#"{"statement":[]}"#,
            r#"{"Version":"1","Statement":[]}"#,
            r#"{"Statement":"ż"}"#,
            &long,
        ] {
            assert!(text.parse::<PolicyDocument>().is_err(), "{text}");
        }
    }

    #[test]
    fn policy_arns_are_read() {
        for text in
            ["arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws-cn:iam::111122223333:policy/a/b"]
        {
            assert_eq!(text.parse::<PolicyArn>().unwrap().as_str(), text);
        }
        for text in [
            "ReadOnlyAccess",
            "arn:aws:iam::aws:role/x",
            "arn:aws:iam::1:policy/x",
            "arn:aws:iam::aws:policy/",
            "arn:awx:iam::aws:policy/x",
        ] {
            assert!(text.parse::<PolicyArn>().is_err(), "{text}");
        }
    }
}
