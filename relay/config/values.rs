//! Values of the configuration that cannot be wrong: each is made by parsing alone.

use std::fmt;
use std::str::FromStr;

/// A profile's name: it stands in a URL path, a metric label and a file path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileName(Box<str>);

impl ProfileName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 63 || !text.bytes().all(legal) {
            return Err("a profile's name is 1 to 63 of a-z 0-9 - _".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl std::borrow::Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// The remaining values are stubs that the configuration's author replaces.
macro_rules! stub { ($($name:ident),*) => { $(
/// Stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct $name(Box<str>);
impl $name {
    /// Its text.
    pub fn as_str(&self) -> &str { &self.0 }
}
)* } }
stub!(Region, SessionName, StsEndpoint, PolicyArn, PolicyDocument);

/// One session tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value, filled in.
    pub value: String,
    /// Whether it stays with the sessions that are assumed from this one.
    pub transitive: bool,
}

impl StsEndpoint {
    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.0.starts_with("http:")
    }
}
