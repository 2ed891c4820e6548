//! Text that must not be printed.

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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    const TEXT: &str = "a-secret-that-is-long-enough-for-a-piece-of-memory-of-its-own";

    /// Whether the end of the text stands in this process's memory, as whoever dumps it reads it. What is
    /// free begins with notes of the allocator's.
    fn stands_at(address: usize) -> bool {
        // On the stack, so that nothing takes a freed piece for itself.
        let mut piece = [0; TEXT.len()];
        let memory = File::open("/proc/self/mem").unwrap();
        // What was given back to the system cannot be read.
        let there = memory.read_exact_at(&mut piece, address.try_into().unwrap()).is_ok();
        there && piece[32..] == TEXT.as_bytes()[32..]
    }

    #[test]
    fn what_is_dropped_is_wiped() {
        let given = TEXT.to_owned();
        let at = given.as_ptr().addr();
        assert!(stands_at(at));
        let secret = Secret::new(given);
        assert!(!stands_at(at), "the string that it was made of");
        for secret in [secret.trimmed(), secret.clone(), secret] {
            let at = secret.expose().as_ptr().addr();
            assert!(stands_at(at));
            drop(secret);
            assert!(!stands_at(at));
        }
        let shared = wiped(TEXT.to_owned().into_bytes());
        let (at, other) = (shared.as_ptr().addr(), shared.clone());
        drop(shared);
        assert!(stands_at(at), "the other one has it yet");
        drop(other);
        assert!(!stands_at(at));
    }

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
}
