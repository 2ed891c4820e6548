//! From a document and what it shall become to a JSON patch (RFC 6902) that touches what differs
//! and nothing else.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// One operation. Its debug print has no value: an access token may be in it.
#[derive(Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Adds a member to an object, or an item to a list before the one that has its number.
    Add {
        /// Where, as a JSON pointer.
        path: String,
        /// What.
        value: Value,
    },
    /// Puts another value in the place of one.
    Replace {
        /// Where, as a JSON pointer.
        path: String,
        /// What.
        value: Value,
    },
    /// Removes a member or an item.
    Remove {
        /// Where, as a JSON pointer.
        path: String,
    },
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path) = match self {
            Self::Add { path, .. } => ("add", path),
            Self::Replace { path, .. } => ("replace", path),
            Self::Remove { path } => ("remove", path),
        };
        write!(f, "{name} {path}")
    }
}

/// What makes `after` of `before`.
pub(super) fn between(before: &Value, after: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    differ(before, after, "", &mut operations);
    operations
}

fn differ(before: &Value, after: &Value, path: &str, operations: &mut Vec<Operation>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                operations.push(Operation::Remove { path: below(path, name) });
            }
            for (name, value) in new {
                match old.get(name) {
                    Some(old) => differ(old, value, &below(path, name), operations),
                    None => operations
                        .push(Operation::Add { path: below(path, name), value: value.clone() }),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => lists(old, new, path, operations),
        _ => operations.push(Operation::Replace { path: path.to_owned(), value: after.clone() }),
    }
}

/// What both lists start and end with stays; of the rest each item is changed where there are as many
/// in both, otherwise removed and added.
fn lists(old: &[Value], new: &[Value], path: &str, operations: &mut Vec<Operation>) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(start..).unwrap_or_default(), new.get(start..).unwrap_or_default());
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (
        old.get(..old.len() - end).unwrap_or_default(),
        new.get(..new.len() - end).unwrap_or_default(),
    );
    if old.len() == new.len() {
        for (number, (old, new)) in old.iter().zip(new).enumerate() {
            differ(old, new, &format!("{path}/{}", start + number), operations);
        }
        return;
    }
    for number in (0..old.len()).rev() {
        operations.push(Operation::Remove { path: format!("{path}/{}", start + number) });
    }
    for (number, value) in new.iter().enumerate() {
        let path = format!("{path}/{}", start + number);
        operations.push(Operation::Add { path, value: value.clone() });
    }
}

fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(before: &Value, after: &Value) -> Value {
        serde_json::to_value(between(before, after)).unwrap()
    }

    #[test]
    fn only_what_differs_is_touched() {
        assert_eq!(patch(&json!({"a": 1}), &json!({"a": 1})), json!([]));
        assert_eq!(
            patch(&json!({"a": {"b/c~d": 1, "x": 2}, "y": 3}), &json!({"a": {"b/c~d": 4}, "z": 5})),
            json!([
                {"op": "remove", "path": "/y"},
                {"op": "remove", "path": "/a/x"},
                {"op": "replace", "path": "/a/b~1c~0d", "value": 4},
                {"op": "add", "path": "/z", "value": 5},
            ])
        );
    }

    #[test]
    fn items_are_put_between_others() {
        assert_eq!(
            patch(&json!([1, 2, 3]), &json!([1, 9, 2, 3])),
            json!([{"op": "add", "path": "/1", "value": 9}])
        );
        assert_eq!(
            patch(&json!([1, 2, 3]), &json!([3])),
            json!([{"op": "remove", "path": "/1"}, {"op": "remove", "path": "/0"}])
        );
        assert_eq!(
            patch(&json!([1, {"a": 1}, 3]), &json!([1, {"a": 2}, 3])),
            json!([{"op": "replace", "path": "/1/a", "value": 2}])
        );
        assert_eq!(
            patch(&json!([1, 1]), &json!([1, 1, 1])),
            json!([{"op": "add", "path": "/2", "value": 1}])
        );
    }
}
