//! Session tokens: when they end, and a code that only this process can have made. Nothing is kept,
//! so that nobody can fill the memory by asking for more of them.

use std::fmt;
use std::time::Duration;

use ring::hmac::{self, Key};
use ring::rand::SystemRandom;

use crate::access::NoRandomness;
use crate::clock::Moment;

/// A code's length in hexadecimal digits: HMAC-SHA256.
const CODE: usize = 64;

/// Makes session tokens, and knows them again.
pub(super) struct SessionTokens(Key);

impl fmt::Debug for SessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionTokens([redacted])")
    }
}

impl SessionTokens {
    /// With a key of its own.
    ///
    /// # Errors
    /// If the operating system gives no random numbers.
    pub(super) fn new() -> Result<Self, NoRandomness> {
        let key = Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| NoRandomness)
    }

    /// A token that is accepted for `life` from now on.
    pub(super) fn issue(&self, life: Duration, now: Moment) -> String {
        let end = format!("{:x}", now.boot.saturating_add(life).as_millis());
        let code = hmac::sign(&self.0, end.as_bytes());
        let mut token = String::with_capacity(CODE + 1 + end.len());
        for byte in code.as_ref() {
            token.push_str(&format!("{byte:02x}"));
        }
        token.push('-');
        token.push_str(&end);
        token
    }

    /// Whether a token is one of these and has not ended.
    pub(super) fn accept(&self, token: &[u8], now: Moment) -> bool {
        let Some((code, rest)) = token.split_at_checked(CODE) else { return false };
        let Some(end) = rest.strip_prefix(b"-") else { return false };
        let Some(code) = from_hex(code) else { return false };
        if hmac::verify(&self.0, end, &code).is_err() {
            return false;
        }
        let end = str::from_utf8(end).ok().and_then(|end| u128::from_str_radix(end, 16).ok());
        end.is_some_and(|end| now.boot.as_millis() < end)
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn at(secs: u64) -> Moment {
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(secs) }
    }

    #[test]
    fn a_token_is_known_again_until_its_end_and_by_no_other_process() {
        let tokens = SessionTokens::new().unwrap();
        let token = tokens.issue(Duration::from_secs(60), at(10));
        assert!(tokens.accept(token.as_bytes(), at(10)));
        assert!(tokens.accept(token.as_bytes(), at(69)));
        assert!(!tokens.accept(token.as_bytes(), at(70)));
        assert!(!SessionTokens::new().unwrap().accept(token.as_bytes(), at(10)));
    }

    #[test]
    fn what_was_changed_is_not_accepted() {
        let tokens = SessionTokens::new().unwrap();
        let token = tokens.issue(Duration::from_secs(60), at(10));
        for at_byte in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at_byte] = if changed[at_byte] == b'0' { b'1' } else { b'0' };
            assert!(!tokens.accept(&changed, at(10)), "byte {at_byte}");
            assert!(!tokens.accept(&token.as_bytes()[..at_byte], at(10)), "cut at {at_byte}");
        }
        for other in [&b""[..], &[0xff; 100], "é".repeat(60).as_bytes()] {
            assert!(!tokens.accept(other, at(10)));
        }
    }
}
