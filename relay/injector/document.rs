//! JSON of bounded cost. A short text can describe many small values, each of which costs a hundred times
//! as much in memory, so they are counted while they are read; and what was read before a text ended too
//! soon, or had too many, is kept, so that there is somebody to be answered.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What is skipped wherever it stands. Nothing of the injector's reads it, it has several values for each
/// field of a pod, and what is not read is not changed.
const SKIPPED: &str = "managedFields";

/// What reading stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The text's end.
    Whole,
    /// A value too many.
    TooMany,
    /// The text's end, amid a value.
    CutOff {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// What is no JSON.
    NoJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

/// Reads at most so many values; each member of an object and each item of a list is one.
pub(super) fn read(text: &[u8], most: usize) -> (Value, End) {
    let (mut value, left) = (Value::Null, Left(Cell::new(Some(most))));
    let mut json = serde_json::Deserializer::from_slice(text);
    let place = Place { value: &mut value, left: &left };
    let end = match place.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => End::Whole,
        Err(_) if left.0.get().is_none() => End::TooMany,
        Err(why) if why.is_eof() => End::CutOff { line: why.line(), column: why.column() },
        Err(why) => End::NoJson { line: why.line(), column: why.column() },
    };
    (value, end)
}

/// How many more values may come; nothing once there was one too many.
struct Left(Cell<Option<usize>>);

impl Left {
    fn take<E: Error>(&self) -> Result<(), E> {
        self.0.set(self.0.get().and_then(|left| left.checked_sub(1)));
        self.0.get().map(|_| ()).ok_or_else(|| E::custom("too many values"))
    }
}

/// Where a value is put, piece by piece.
struct Place<'a> {
    value: &'a mut Value,
    left: &'a Left,
}

impl Place<'_> {
    fn put(self, value: impl Into<Value>) {
        *self.value = value.into();
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.left.take()?;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { value, left } = self;
        *value = Value::Array(Vec::new());
        if let Value::Array(list) = value {
            loop {
                let mut item = Value::Null;
                let read = items.next_element_seed(Place { value: &mut item, left });
                match read {
                    Ok(None) => break,
                    Ok(Some(())) => list.push(item),
                    Err(why) => {
                        list.push(item);
                        return Err(why);
                    }
                }
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { value, left } = self;
        *value = Value::Object(Map::new());
        if let Value::Object(object) = value {
            while let Some(name) = members.next_key::<String>()? {
                if name == SKIPPED {
                    members.next_value::<IgnoredAny>()?;
                } else {
                    let value = object.entry(name).or_insert(Value::Null);
                    members.next_value_seed(Place { value, left })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads() {
        for text in [
            "null",
            r#"{"a":[1,-1,1.5,true,false,null,"x\n\u00e9"],"b":{"c":{}},"a~/":[[],{}]}"#,
            r#"{"a":1,"a":{"b":2},"a":3}"#,
            " [ 18446744073709551615 , -9223372036854775808 , 1e300 ] ",
        ] {
            let wanted: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text.as_bytes(), 100), (wanted, End::Whole));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place() {
        for (text, line, column) in [("{\n\"a\": x}", 2, 6), ("[1] 2", 1, 5), ("[\"\u{1}\"]", 1, 3)]
        {
            let (_, end) = read(text.as_bytes(), 100);
            assert_eq!(end, End::NoJson { line, column }, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(read(deep.as_bytes(), 1_000_000).1, End::NoJson { .. }));
    }

    #[test]
    fn what_was_read_before_an_end_is_kept() {
        let text = r#"{"uid":"u","object":{"labels":{"a":"b"},"list":[1,{"c":2},"cut"#;
        let kept = json!({
            "uid": "u", "object": { "labels": { "a": "b" }, "list": [1, { "c": 2 }, null] },
        });
        let (value, end) = read(text.as_bytes(), 100);
        assert_eq!(value, kept);
        assert!(matches!(end, End::CutOff { line: 1, .. }), "{end:?}");
    }

    #[test]
    fn every_kind_of_value_is_counted() {
        for (text, values) in
            [("{}", 1), ("[[],[[]]]", 4), (r#"{"a":0,"a":0}"#, 3), (r#"[{"":0},"x"]"#, 4)]
        {
            assert_eq!(read(text.as_bytes(), values).1, End::Whole, "{text}");
            assert_eq!(read(text.as_bytes(), values - 1).1, End::TooMany, "{text}");
        }
        let (value, end) = read(br#"{"uid":"u","many":[0,0,0]}"#, 4);
        assert_eq!((value["uid"].as_str(), end), (Some("u"), End::TooMany));
    }

    #[test]
    fn managed_fields_cost_nothing() {
        let text = br#"{"metadata":{"managedFields":[{"f:a":{"f:b":{}}}],"name":"x"}}"#;
        assert_eq!(read(text, 3), (json!({ "metadata": { "name": "x" } }), End::Whole));
    }
}
