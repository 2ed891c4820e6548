//! Text that must not be printed, and the removal of such text from what others wrote.

use std::fmt;

use bytes::Bytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text: it prints as its length, compares in constant time and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes the text over; the string's own allocation is wiped when the secret is dropped.
    pub fn new(text: String) -> Self {
        // `into_boxed_str` may move the text to a smaller allocation and leave the old one
        // unwiped, so the copy is made here and the original wiped.
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(Box::from(text.as_str())))
    }

    /// The same text without blanks around it: secrets come out of files with a newline at the end.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        Self(Zeroizing::new(Box::from(self.0.trim())))
    }

    /// The text itself, for the few places that must write it on a wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes: the shape that an error may tell.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in constant time for texts of one length: by words of 8 bytes, which costs a
    /// request of the endpoint a fifth of what bytes do.
    pub fn matches(&self, presented: &[u8]) -> bool {
        if self.len() != presented.len() {
            return false;
        }
        let (words, rest) = self.0.as_bytes().as_chunks::<8>();
        let (presented_words, presented_rest) = presented.as_chunks::<8>();
        let same =
            words.iter().zip(presented_words).fold(rest.ct_eq(presented_rest), |same, (a, b)| {
                same & u64::from_ne_bytes(*a).ct_eq(&u64::from_ne_bytes(*b))
            });
        same.into()
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[redacted, {} characters]", self.len())
    }
}

/// Bytes that are wiped as soon as the last of those who share them has dropped them.
pub fn wiped(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes))
}

/// The longest reason that is kept of an upstream's message, in bytes.
const LONGEST_REASON: usize = 600;

/// A run of base64 characters that is longer than this is taken for a secret. Session tokens are
/// several hundred long; the longest role name is 64, and few roles have a path that long.
const LONGEST_WORD: usize = 100;

/// How Vault's tokens begin, before a dot: service, batch and recovery tokens.
const VAULTS: [&str; 3] = ["hvs", "hvb", "hvr"];

/// Makes a text that an upstream wrote fit for a log: without the `known` secrets, without
/// anything that looks like a token, on one line, and bounded.
///
/// AWS's SignatureDoesNotMatch quotes the canonical request with the session token in it, so an
/// upstream's text can never be passed on as it is.
pub fn scrub<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut text = Zeroizing::new(text.to_owned());
    for secret in known.into_iter().filter(|secret| secret.len() >= 8) {
        *text = text.replace(secret.expose(), "[redacted]");
    }
    let mut clean = String::with_capacity(text.len().min(LONGEST_REASON));
    let mut word = Zeroizing::new(String::new());
    // Tokens have dots in them, and what comes after one looks like any word.
    let mut within_token = false;
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || "+/=_-".contains(c) {
            word.push(c);
            continue;
        }
        let secret = within_token || looks_secret(&word);
        clean.push_str(if secret && !word.is_empty() { "[redacted]" } else { word.as_str() });
        within_token = c == '.' && (secret || VAULTS.iter().any(|kind| word.ends_with(kind)));
        word.clear();
        clean.push(if c.is_control() { ' ' } else { c });
    }
    clean.truncate(clean.trim_end().len());
    if clean.len() > LONGEST_REASON {
        clean.truncate(clean.floor_char_boundary(LONGEST_REASON));
        clean.push('…');
    }
    clean
}

/// Whether a run of base64 characters must not be printed: a part of a JWT, or any very long run.
fn looks_secret(word: &str) -> bool {
    word.len() > LONGEST_WORD || (word.starts_with("eyJ") && word.len() > 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_the_length_alone() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "[redacted, 7 characters]");
    }

    #[test]
    fn every_byte_of_every_length_counts() {
        let text = b"0123456789abcdefghi";
        for length in 0..=text.len() {
            let own = &text[..length];
            let secret = Secret::new(String::from_utf8(own.to_vec()).unwrap());
            assert!(secret.matches(own));
            assert!(!secret.matches(&[own, b"x"].concat()));
            for at in 0..length {
                let mut other = own.to_vec();
                other[at] ^= 1;
                assert!(!secret.matches(&other), "{length} {at}");
            }
        }
    }

    #[test]
    fn a_known_secret_is_cut_out_even_when_it_is_short_and_has_slashes() {
        let secret = Secret::new("wJalr/XUtn+FEMI".into());
        assert_eq!(
            scrub("signed with wJalr/XUtn+FEMI, no", [&secret]),
            "signed with [redacted], no"
        );
    }

    #[test]
    fn long_runs_and_jwts_are_cut_out_and_arns_are_kept() {
        let token = "FwoGZXIvYXdzE".repeat(9);
        let arn = "arn:aws:iam::111122223333:role/a/long/path/of/many/words/that/is/still/a/role";
        let said =
            scrub(&format!("token {token}\nfor {arn} eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0x.c"), []);
        assert_eq!(said, format!("token [redacted] for {arn} [redacted].[redacted].[redacted]"));
    }

    #[test]
    fn vaults_tokens_are_cut_out_though_nobody_knows_them() {
        for kind in VAULTS {
            let page = format!("{{\"client_token\": \"{kind}.CAESIJ-token_1\"}}");
            let said = format!("{{\"client_token\": \"{kind}.[redacted]\"}}");
            assert_eq!(scrub(&page, []), said);
        }
        assert_eq!(scrub("token=hvs.CAESIJ", []), "token=hvs.[redacted]");
        assert_eq!(scrub("no hvs. at vault.hvs", []), "no hvs. at vault.hvs");
    }

    #[test]
    fn a_long_text_is_bounded() {
        assert_eq!(scrub(&"a b ".repeat(1000), []).chars().count(), LONGEST_REASON + 1);
        let wide = scrub(&"a \u{fffd} ".repeat(1000), []);
        assert!(wide.ends_with('…') && wide.len() <= LONGEST_REASON + '…'.len_utf8(), "{wide}");
    }
}
