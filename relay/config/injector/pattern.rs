//! Patterns of the policy: names in which `*` stands for any characters, or none.

use std::fmt;
use std::str::FromStr;

/// A name, or a pattern of names. It is compared with the whole of a name.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Every name.
    pub(super) fn every() -> Self {
        Self("*".into())
    }

    /// The name, where it is one alone.
    pub fn name(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&*self.0)
    }

    /// Whether it stands for this name. It takes as long as both lengths multiplied, at most.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        // `split` gives one part at least.
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allows = |c: char| c.is_ascii_alphanumeric() || "*_.@+=,:/-".contains(c);
        crate::config::values::within(text, 1, 2048, allows, "A-Z a-z 0-9 _ . @ + = , : / - *")
            .map_err(|why| {
                format!("a name or a pattern, in which only * stands for others: {why}")
            })?;
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_star_stands_for_any_characters_and_the_whole_is_compared() {
        for (pattern, name, is) in [
            ("payments", "payments", true),
            ("payments", "payments-2", false),
            ("payments", "my-payments", false),
            ("*", "", true),
            ("*", "anything", true),
            ("team-a-*", "team-a-", true),
            ("team-a-*", "team-a", false),
            ("*-a", "team-a", true),
            ("*-a", "team-a-b", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbXbYc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("a*ab", "aab", true),
            ("**", "x", true),
            (
                "arn:aws:iam::111122223333:role/team/*",
                "arn:aws:iam::111122223333:role/team/a/b",
                true,
            ),
            ("arn:aws:iam::*:role/x", "arn:aws:iam::111122223333:role/x", true),
            ("arn:aws:iam::*:role/x", "arn:aws:iam::111122223333:role/y/role/x", false),
            ("*/x", "a/b/x", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn what_looks_like_another_kind_of_pattern_is_refused() {
        for text in ["", "team-?", "team-[ab]", "^team", "a b", "{a,b}", "a\\*"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_could_explode_does_not() {
        let pattern: Pattern = "*a".repeat(500).parse().unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(20_000))));
    }
}
