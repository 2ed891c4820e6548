//! By what an access token is known to a configuration that must hold no secrets.

use std::fmt;
use std::str::FromStr;

/// What such a text starts with.
const KIND: &str = "sha256:";

/// Of a variable that is not set.
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The SHA-256 of an access token. It is no secret: the relay's own tokens cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenDigest([u8; Self::LEN]);

impl TokenDigest {
    /// Its length in bytes.
    pub const LEN: usize = 32;
}

impl From<[u8; TokenDigest::LEN]> for TokenDigest {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl FromStr for TokenDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == EMPTY {
            return Err(
                "this is the digest of an empty text: the token was not there when it was made"
                    .to_owned(),
            );
        }
        let bytes = text.strip_prefix(KIND).and_then(bytes);
        bytes.map(Self).ok_or_else(|| {
            "the digest of an access token is sha256: and 64 of 0-9 a-f, as `printf %s \"$TOKEN\" | sha256sum` prints them".to_owned()
        })
    }
}

fn bytes(text: &str) -> Option<[u8; TokenDigest::LEN]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; TokenDigest::LEN];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KIND)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<TokenDigest>().unwrap().to_string(), text);
        assert!(EMPTY.parse::<TokenDigest>().unwrap_err().contains("empty"));
        for wrong in [
            String::new(),
            "0f".repeat(32),
            format!("sha256:{}", "0f".repeat(31)),
            format!("sha256:{}0", "0f".repeat(32)),
            format!("sha256:{}", "0F".repeat(32)),
            format!("sha256:{}", "é".repeat(32)),
            format!("md5:{}", "0f".repeat(32)),
        ] {
            let error = wrong.parse::<TokenDigest>().unwrap_err();
            assert!(error.contains("sha256sum") && !error.contains("0f0f"), "{error}");
        }
    }
}
