//! What the embedded upstreams have in common: what becomes of a request, how often a fault
//! strikes, and texts at random.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::Timestamp;
use crate::listener::Closed;

/// What follows the right body of a huge answer. A client that reads answers whole, whatever their
/// length, would need more than a sidecar's memory for it.
pub(super) const HUGE: usize = 16 * 1024 * 1024;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    Send(Box<Response<Full<Bytes>>>),
    Close,
    Hang,
}

impl Verdict {
    /// Answers, or doesn't.
    pub(super) async fn carry_out(self) -> Result<Response<Full<Bytes>>, Closed> {
        match self {
            Self::Send(response) => Ok(*response),
            Self::Close => Err(Closed),
            Self::Hang => std::future::pending().await,
        }
    }
}

/// Which calls a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// Every call.
    Every,
    /// As many calls as this, then none.
    Next(u32),
    /// Each call with this probability, between 0 and 1.
    Share(f64),
}

impl Reach {
    /// Whether the present call is struck, which it thereby counts.
    pub(super) fn strikes(&mut self) -> bool {
        match self {
            Self::Every => true,
            Self::Next(left) => {
                let strikes = *left > 0;
                *left = left.saturating_sub(1);
                strikes
            }
            Self::Share(share) => fastrand::f64() < *share,
        }
    }

    /// Reads `3`, `0.3` or `30%`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(calls) = text.parse() {
            return Some(Self::Next(calls));
        }
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().ok()? / 100.0,
            None => text.parse::<f64>().ok()?,
        };
        (0.0..=1.0).contains(&share).then_some(Self::Share(share))
    }
}

/// Reads a fault's `200ms` or `5s`.
pub(super) fn parse_latency(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1000),
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(unit)?;
    Some(Duration::from_millis(millis))
}

/// The letters and digits that AWS's ids are made of.
pub(super) const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Characters of an alphabet whose length is a power of two, so that each is as likely.
pub(super) fn draw<const N: usize>(
    random: &SystemRandom,
    alphabet: &[u8; N],
    length: usize,
) -> Option<String> {
    let mut bytes = zeroize::Zeroizing::new(vec![0; length]);
    random.fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % N])).collect())
}

/// An id of a request, as a UUID of version 4 is written.
pub(super) fn request_id() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

/// RFC 9110's IMF-fixdate.
pub(super) fn http_date(at: Timestamp) -> Option<String> {
    let at = time::OffsetDateTime::from_unix_timestamp(at.as_secs()).ok()?;
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    Some(format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        weekday.get(..3)?,
        at.day(),
        month.get(..3)?,
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_http_s() {
        assert_eq!(
            http_date(Timestamp::from_secs(784_111_777)).unwrap(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }
}
