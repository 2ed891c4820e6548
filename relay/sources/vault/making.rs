//! Whether a user of IAM may have been made of which only Vault knows: its answer was lost.

use std::time::Duration;

use crate::clock::Moment;

/// A read that may have made a user nobody knows of is not repeated sooner (upstreams section 1).
/// The wait doubles with each that is lost in a row: an AWS that is slower than the time that Vault
/// is given would make one each time.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);

/// What became of the reads that make users. The number counts answers lost in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// All that was made is known.
    Known,
    /// A read has begun. Found so by the next, it was given up half way.
    UnderWay(u32),
    /// Nobody knows what came of the last.
    Unknown { since: Moment, lost: u32 },
}

impl Making {
    /// Begins a read, or says how long to wait before one.
    pub(super) fn begin(&mut self, now: Moment) -> Result<(), Duration> {
        if let Self::UnderWay(_) = self {
            self.lost(now);
        }
        let lost = match *self {
            Self::Known | Self::UnderWay(_) => 0,
            Self::Unknown { since, lost } => {
                let wait = FIRST.saturating_mul(1 << (lost.max(1) - 1).min(16)).min(LONGEST);
                let left = (since + wait).remaining(now);
                if !left.is_zero() {
                    return Err(left);
                }
                lost
            }
        };
        *self = Self::UnderWay(lost);
        Ok(())
    }

    /// The answer came, or the read was never carried out.
    pub(super) fn known(&mut self) {
        *self = Self::Known;
    }

    /// The answer is lost.
    pub(super) fn lost(&mut self, now: Moment) {
        let lost = match *self {
            Self::Known => 0,
            Self::UnderWay(lost) | Self::Unknown { lost, .. } => lost,
        };
        *self = Self::Unknown { since: now, lost: lost.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    #[test]
    fn each_answer_that_is_lost_doubles_the_wait_up_to_an_hour() {
        let mut making = Making::Known;
        let mut now = NOW;
        for secs in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            making.begin(now).unwrap();
            making.lost(now);
            assert_eq!(making.begin(now), Err(Duration::from_secs(secs)));
            now = now + Duration::from_secs(secs);
        }
        making.begin(now).unwrap();
        making.known();
        making.begin(now).unwrap();
        making.lost(now);
        assert_eq!(making.begin(now), Err(FIRST), "one that came starts it again");
    }

    #[test]
    fn a_read_that_was_given_up_counts_from_when_that_is_seen() {
        let mut making = Making::Known;
        making.begin(NOW).unwrap();
        let later = NOW + Duration::from_secs(100);
        assert_eq!(making.begin(later), Err(FIRST));
    }
}
