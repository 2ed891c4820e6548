//! The AWS query protocol's way of sending parameters: a form, in the URL or in the body.

use std::collections::BTreeMap;

/// The decoded parameters of a request, in the order in which they came.
#[derive(Default)]
pub(in crate::dev) struct Form(Vec<(String, String)>);

/// A text that is not a form: a broken escape, or not UTF-8 once decoded.
#[derive(Debug)]
pub(in crate::dev) struct Malformed;

impl Form {
    /// A form of these parameters.
    pub(super) fn of(parameters: &BTreeMap<&str, String>) -> Self {
        let pairs = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self(pairs.collect())
    }

    /// Adds the parameters of an `application/x-www-form-urlencoded` text.
    pub(in crate::dev) fn read(&mut self, text: &str) -> Result<(), Malformed> {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.0.push((decode(name)?, decode(value)?));
        }
        Ok(())
    }

    /// The first parameter of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(has, _)| has == name)?;
        Some(&found.1)
    }

    /// The members of `list`, by number, each as its fields; a plain member has one, named "".
    pub(super) fn members(&self, list: &str) -> Vec<BTreeMap<&str, &str>> {
        let mut members: BTreeMap<u32, BTreeMap<&str, &str>> = BTreeMap::new();
        for (name, value) in &self.0 {
            let path = name.strip_prefix(list).and_then(|rest| rest.strip_prefix(".member."));
            let Some(path) = path else { continue };
            let (number, field) = path.split_once('.').unwrap_or((path, ""));
            if let Ok(number) = number.parse() {
                members.entry(number).or_default().insert(field, value);
            }
        }
        members.into_values().collect()
    }

    /// The parameters, in the order in which they came.
    pub(in crate::dev) fn into_pairs(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter()
    }

    /// The parameters as SigV4 writes them: each part encoded, then sorted.
    pub(super) fn canonical(&self) -> String {
        let mut pairs: Vec<_> =
            self.0.iter().map(|(name, value)| (encode(name), encode(value))).collect();
        pairs.sort_unstable();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}

fn decode(text: &str) -> Result<String, Malformed> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = bytes.next().and_then(hex_digit).ok_or(Malformed)?;
                let low = bytes.next().and_then(hex_digit).ok_or(Malformed)?;
                high << 4 | low
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).map_err(|_| Malformed)
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The value of a hexadecimal digit of either case.
pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        let mut form = Form::default();
        form.read(text).unwrap();
        form
    }

    #[test]
    fn lists_are_put_together_by_their_numbers() {
        let form = form(
            "Tags.member.2.Key=b&Tags.member.10.Key=c&Tags.member.2.Value=x%2By&Tags.member.1.Key=a+a\
             &TransitiveTagKeys.member.1=a",
        );
        let keys: Vec<_> = form.members("Tags").iter().map(|tag| tag["Key"]).collect();
        assert_eq!(keys, ["a a", "b", "c"]);
        assert_eq!(form.members("Tags")[1]["Value"], "x+y");
        assert_eq!(form.members("TransitiveTagKeys")[0][""], "a");
    }

    #[test]
    fn the_canonical_form_is_encoded_and_sorted() {
        assert_eq!(form("b=%7e&a=x+y%2f&A").canonical(), "A=&a=x%20y%2F&b=~");
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for text in ["a=%4", "a=%zz", "a=%ff"] {
            assert!(Form::default().read(text).is_err(), "{text}");
        }
    }
}
