//! Access tokens: what a container presents to get a profile's credentials.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::config::values::TokenDigest;
use crate::credential::Secret;

/// What fresh tokens are made of.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// How many of these: of 6 bits each.
const GENERATED: usize = 43;

/// An access token: printable ASCII without blanks, long enough not to be guessed.
#[derive(Clone, Debug)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// A shorter text is taken for a mistake: it could be guessed, or is no token at all.
    pub const SHORTEST: usize = 16;
    /// A service account's JWT has one or two thousand characters; a longer text does not fit
    /// into a request's head beside the other headers.
    pub const LONGEST: usize = 8 * 1024;

    /// A fresh token of 258 random bits, in characters that need no escaping in a URL.
    ///
    /// # Errors
    /// If the operating system gives no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut random = Zeroizing::new([0_u8; GENERATED]);
        SystemRandom::new().fill(random.as_mut_slice()).map_err(|_| NoRandomness)?;
        let text = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
        Ok(Self(Secret::new(text)))
    }

    /// Whether it has the shape of those that [`AccessToken::generate`] makes.
    pub fn is_generated(&self) -> bool {
        let text = self.expose().as_bytes();
        text.len() == GENERATED && text.iter().all(|byte| ALPHABET.contains(byte))
    }

    /// Whether this was presented; in constant time for texts of its length.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.matches(presented)
    }

    /// By what it is known to who must not hold it.
    pub fn digest(&self) -> TokenDigest {
        digest_of(self.expose().as_bytes())
    }

    /// The token itself, for its file and for an application's environment.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The digest of what may be an access token by its length; what is shorter could be guessed.
pub fn digest_presented(text: &[u8]) -> Option<TokenDigest> {
    (AccessToken::SHORTEST..=AccessToken::LONGEST).contains(&text.len()).then(|| digest_of(text))
}

fn digest_of(text: &[u8]) -> TokenDigest {
    let mut bytes = [0; TokenDigest::LEN];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    TokenDigest::from(bytes)
}

impl FromStr for AccessToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let legal = text.bytes().all(|b| b.is_ascii_graphic())
            && (Self::SHORTEST..=Self::LONGEST).contains(&text.len());
        if legal {
            Ok(Self(Secret::new(text.to_owned())))
        } else {
            Err(TokenError(Shape::of(text.as_bytes())))
        }
    }
}

/// A text that cannot be an access token; only its shape is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenError(Shape);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an access token is {} to {} printable ASCII characters without blanks; this has {}",
            AccessToken::SHORTEST,
            AccessToken::LONGEST,
            self.0
        )
    }
}

impl std::error::Error for TokenError {}

/// The operating system gave no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no random numbers for an access token")
    }
}

impl std::error::Error for NoRandomness {}

/// What may be told of a text that may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    len: usize,
    blanks: bool,
    others: bool,
}

impl Shape {
    /// The shape of a text.
    pub fn of(text: &[u8]) -> Self {
        Self {
            len: text.len(),
            blanks: text.iter().any(u8::is_ascii_whitespace),
            others: text.iter().any(|b| !b.is_ascii_graphic() && !b.is_ascii_whitespace()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} characters", self.len)?;
        if self.blanks {
            f.write_str(", blanks or newlines among them")?;
        }
        if self.others {
            f.write_str(", bytes outside printable ASCII (a byte order mark?) among them")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tokens_are_legal_and_differ() {
        let (one, two) = (AccessToken::generate().unwrap(), AccessToken::generate().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert!(one.is_generated() && one.expose().parse::<AccessToken>().is_ok());
        for other in ["a".repeat(42), "a".repeat(44), "$(POD_IP)".repeat(5)] {
            assert!(!other.parse::<AccessToken>().unwrap().is_generated(), "{other}");
        }
        assert!(!one.matches(two.expose().as_bytes()));
        assert!(one.matches(one.expose().as_bytes()));
    }

    #[test]
    fn a_text_that_is_no_token_is_told_by_its_shape() {
        for (text, shape) in [
            ("", "this has 0 characters"),
            ("hunter2", "this has 7 characters"),
            ("hunter2 hunter2 hunter2", "blanks or newlines"),
            ("\u{feff}hunter2hunter2hunter2", "byte order mark"),
        ] {
            let error = text.parse::<AccessToken>().unwrap_err().to_string();
            assert!(error.contains(shape), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let longest = "x".repeat(AccessToken::LONGEST);
        assert!(longest.parse::<AccessToken>().is_ok());
        assert!(format!("{longest}x").parse::<AccessToken>().is_err());
    }
}
