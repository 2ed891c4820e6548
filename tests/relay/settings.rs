//! Every setting that the file's schema has, and a file for each with any value in its place.

use std::collections::HashSet;

use credential_relay::config::load;
use credential_relay::config::mistakes::Step;
use serde_json::{Value, json};

use crate::common::HUB;

const ANYWHERE: &str = "arn:aws:rolesanywhere:eu-west-1:111122223333";
const ID: &str = "11111111-2222-3333-4444-555555555555";

/// The file's schema, by which all of its settings are found.
pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn of_the_file() -> Self {
        Self(serde_json::from_str(load::SCHEMA).unwrap())
    }

    /// What a setting may be, with what it refers to in the place of references.
    fn kinds<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.kinds(self.0.pointer(reference.trim_start_matches('#')).unwrap());
        }
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(any) => any.iter().flat_map(|one| self.kinds(one)).collect(),
            None => vec![schema],
        }
    }

    /// The kind that has something a step further, and the schema of that.
    fn within<'a>(&'a self, schema: &'a Value, step: &Step) -> Option<(&'a Value, &'a Value)> {
        self.kinds(schema).into_iter().find_map(|kind| {
            let further = match step {
                Step::Index(_) => kind.get("items"),
                Step::Key(name) => kind["properties"].get(name).or_else(|| any_name(kind)),
            };
            Some((kind, further?))
        })
    }

    /// The ways to all settings, and to what holds them. What may have any name has `name`.
    pub(crate) fn settings(&self, name: &str) -> Vec<Vec<Step>> {
        let mut found = Vec::new();
        self.walk(&self.0, name, &mut Vec::new(), &mut |way, _| found.push(way.to_vec()));
        found
    }

    /// The same, and of those that are written alike in several places the first.
    pub(crate) fn settings_once(&self, name: &str) -> Vec<Vec<Step>> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        self.walk(&self.0, name, &mut Vec::new(), &mut |way, schema| {
            if seen.insert(std::ptr::from_ref(schema)) {
                found.push(way.to_vec());
            }
        });
        found
    }

    fn walk(
        &self,
        schema: &Value,
        name: &str,
        way: &mut Vec<Step>,
        visit: &mut impl FnMut(&[Step], &Value),
    ) {
        for kind in self.kinds(schema) {
            let named = kind["properties"].as_object().into_iter().flatten();
            let mut further: Vec<(Step, &Value)> =
                named.map(|(name, schema)| (Step::Key(name.clone()), schema)).collect();
            further.extend(kind.get("items").map(|item| (Step::Index(0), item)));
            further.extend(any_name(kind).map(|value| (Step::Key(name.to_owned()), value)));
            for (step, schema) in further {
                way.push(step);
                visit(way, schema);
                self.walk(schema, name, way, visit);
                way.pop();
            }
        }
    }

    /// A file that has the value there, and beside it what the rest of the file needs.
    pub(crate) fn with(&self, way: &[Step], value: &Value) -> Value {
        let mut file = self.holding(&self.0, way, value);
        let auth = json!({ "kubernetes": { "role": "app" } });
        let source = json!({ "vault": { "role": "app", "auth": auth } });
        for (section, rest) in [
            ("vault", json!({ "auth": auth })),
            ("profiles", json!({ "p": { "source": source, "chain": [{ "role_arn": HUB }] } })),
        ] {
            if way[0] != Step::Key(section.to_owned()) {
                file[section] = rest;
            }
        }
        file
    }

    /// What is right for a setting that another cannot be without.
    fn sample(&self, name: &str, schema: &Value) -> Value {
        let object = self.kinds(schema).into_iter().find(|kind| kind["properties"].is_object());
        match (name, object) {
            ("source", _) => json!({ "imds": {} }),
            ("listen", _) => "127.0.0.1:9599".into(),
            ("to", _) => "stdout".into(),
            ("role_arn", _) => HUB.into(),
            ("trust_anchor_arn", _) => format!("{ANYWHERE}:trust-anchor/{ID}").into(),
            ("profile_arn", _) => format!("{ANYWHERE}:profile/{ID}").into(),
            ("command", _) => json!(["/bin/true"]),
            (_, Some(object)) => self.object(object, ""),
            _ if schema["pattern"] == "^/" => format!("/etc/{name}").into(),
            _ => "app".into(),
        }
    }

    /// What such an object has beside this name.
    fn object(&self, object: &Value, beside: &str) -> Value {
        let needed = needed(object, beside).map(|name| {
            let schema = &object["properties"][name];
            (name.to_owned(), self.sample(name, schema))
        });
        Value::Object(needed.collect())
    }

    fn holding(&self, schema: &Value, way: &[Step], value: &Value) -> Value {
        let Some((step, rest)) = way.split_first() else { return value.clone() };
        let (holder, further) = self.within(schema, step).unwrap();
        let held = self.holding(further, rest, value);
        match step {
            Step::Index(_) => json!([held]),
            Step::Key(name) => {
                let mut object = self.object(holder, name);
                object[name] = held;
                object
            }
        }
    }
}

/// What stands at any name in a mapping, where it may have any.
fn any_name(kind: &Value) -> Option<&Value> {
    kind.get("additionalProperties").filter(|value| value.is_object())
}

/// The names that an object must have beside this one. Of alternatives it is the one that has it, or the first.
fn needed<'a>(object: &'a Value, name: &'a str) -> impl Iterator<Item = &'a str> {
    let names = |schema: &'a Value| {
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    };
    let ways = object["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let way = ways.iter().find(|way| names(way).any(|one| one == name)).or(ways.first());
    names(object).chain(way.into_iter().flat_map(names)).filter(move |one| *one != name)
}

/// As the reference writes it.
pub(crate) fn written(way: &[Step]) -> String {
    let steps = way.iter().map(|step| match step {
        Step::Index(_) => "[]".to_owned(),
        Step::Key(name) => format!(".{name}"),
    });
    steps.collect::<String>().trim_start_matches('.').to_owned()
}
