//! Time: the one place that reads the wall clock.
//!
//! An expiry is judged by two clocks at once. The wall clock is what AWS and the SDKs go by, but it
//! can be stepped; the clock since boot cannot, and it goes on while the machine is suspended. A
//! credential has ended as soon as either says so.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "host")]
use std::time::SystemTime;

/// A point on the wall clock, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 time with any offset, as AWS and `credential_process` programs write it.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed =
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
                .ok()?;
        i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Self)
    }

    /// Reads the time of an HTTP header, such as `Wed, 25 Nov 2026 00:07:10 GMT`.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let rfc2822 = &time::format_description::well_known::Rfc2822;
        let parsed = time::OffsetDateTime::parse(text, rfc2822).ok()?;
        Some(Self::from_secs(parsed.unix_timestamp()))
    }
}

#[cfg(feature = "host")]
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |since: Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        })
    }
}

#[cfg(feature = "host")]
impl From<Timestamp> for SystemTime {
    /// A time before the epoch becomes the epoch.
    fn from(time: Timestamp) -> Self {
        Self::UNIX_EPOCH + time.saturating_since(Timestamp(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`, rounded down: no offset (JavaScript and Rust refuse one) and no
/// fraction (Swift would never refresh); endpoint-contract section 3.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match time::OffsetDateTime::from_unix_timestamp(self.as_secs()) {
            Ok(at) => write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second()
            ),
            Err(_) => f.write_str("(beyond the calendar)"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the wall clock says.
    pub wall: Timestamp,
    /// Time since boot, suspended time included.
    pub boot: Duration,
}

impl Moment {
    /// Time from `now` until this moment by the clock on which it comes first; zero once either
    /// clock has reached it.
    pub fn remaining(self, now: Self) -> Duration {
        self.wall.saturating_since(now.wall).min(self.boot.saturating_sub(now.boot))
    }

    /// Whether either clock has reached this moment.
    pub fn reached(self, now: Self) -> bool {
        now.wall >= self.wall || now.boot >= self.boot
    }

    /// This moment moved `by` earlier on both clocks.
    pub fn before(self, by: Duration) -> Self {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self {
            wall: Timestamp(self.wall.0.saturating_sub(millis)),
            boot: self.boot.saturating_sub(by),
        }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self { wall: self.wall + by, boot: self.boot.saturating_add(by) }
    }
}

/// Where [`Clock`] reads from; tests bring their own.
pub trait TimeSource: Send + Sync {
    /// The present instant on both clocks.
    fn now(&self) -> Moment;
}

/// A shared handle on the clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The machine's own clocks.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// Any other source of time.
    pub fn from_source(source: impl TimeSource + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The present instant on both clocks.
    pub fn now(&self) -> Moment {
        self.0.now()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now().wall)
    }
}

struct System;

impl TimeSource for System {
    fn now(&self) -> Moment {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Moment {
            wall: Timestamp(
                wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000),
            ),
            boot: Duration::new(
                u64::try_from(boot.tv_sec).unwrap_or(0),
                u32::try_from(boot.tv_nsec).unwrap_or(0),
            ),
        }
    }
}

/// A clock for tests: it moves with tokio's (pausable) time, and can be stepped or suspended.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualState>);

#[derive(Debug)]
struct ManualState {
    started: tokio::time::Instant,
    at_start: Timestamp,
    shift: std::sync::Mutex<Shift>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    wall_millis: i64,
    boot: Duration,
}

impl ManualClock {
    /// A clock that reads `at` now and advances with tokio's time.
    pub fn starting_at(at: Timestamp) -> Self {
        Self(Arc::new(ManualState {
            started: tokio::time::Instant::now(),
            at_start: at,
            shift: std::sync::Mutex::default(),
        }))
    }

    /// A handle to hand to the code under test.
    pub fn clock(&self) -> Clock {
        Clock::from_source(self.clone())
    }

    /// Steps the wall clock alone, as a time correction does.
    pub fn step_wall(&self, by_millis: i64) {
        self.shift().wall_millis += by_millis;
    }

    /// Moves both clocks on without tokio's time moving, as a suspended machine does.
    pub fn suspend(&self, by: Duration) {
        let mut shift = self.shift();
        shift.wall_millis += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        shift.boot += by;
    }

    fn shift(&self) -> std::sync::MutexGuard<'_, Shift> {
        self.0.shift.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl TimeSource for ManualClock {
    fn now(&self) -> Moment {
        let ran = self.0.started.elapsed();
        let shift = *self.shift();
        let wall = (self.0.at_start + ran).0.saturating_add(shift.wall_millis);
        Moment { wall: Timestamp(wall), boot: ran + shift.boot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_without_offset_or_fraction() {
        assert_eq!(Timestamp::from_millis(1_795_565_230_999).to_string(), "2026-11-25T00:07:10Z");
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        for text in
            ["2026-11-25T00:07:10Z", "2026-11-25T01:07:10+01:00", "2026-11-25T00:07:10.000Z"]
        {
            assert_eq!(
                Timestamp::parse_rfc3339(text),
                Some(Timestamp::from_secs(1_795_565_230)),
                "{text}"
            );
        }
        assert_eq!(Timestamp::parse_rfc3339("1795565230"), None);
    }

    #[test]
    fn the_time_of_a_header_is_read() {
        let read = |text| Timestamp::parse_http_date(text).map(Timestamp::as_secs);
        assert_eq!(read("Wed, 25 Nov 2026 00:07:10 GMT"), Some(1_795_565_230));
        assert_eq!(read("2026-11-25T00:07:10Z"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_clock_decides() {
        let manual = ManualClock::starting_at(Timestamp::from_secs(1_000));
        let clock = manual.clock();
        let end = clock.now() + Duration::from_secs(60);

        manual.step_wall(-3_600_000);
        assert_eq!(end.remaining(clock.now()), Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(end.reached(clock.now()), "a wall clock stepped back must not prolong a life");
    }
}
