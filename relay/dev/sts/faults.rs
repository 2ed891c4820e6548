//! Faults on demand: what a real upstream does only when it is least wanted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::upstream::parse_latency;

pub use super::super::upstream::Reach;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The answer comes this much later.
    Latency(Duration),
    /// No answer ever comes, and the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// 503 with a text that is not XML, as a load balancer sends it.
    Outage,
    /// 400 `Throttling`.
    Throttle,
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 403 `ExpiredToken`.
    ExpiredToken,
    /// 200 with a body that is not XML.
    Garbage,
    /// 200 with the first half of the right body.
    Truncated,
    /// Keys whose `Expiration` is a minute ago.
    PastExpiration,
    /// Keys without an `Expiration`.
    NoExpiration,
    /// 200 with the right body and 16 MiB behind it.
    Huge,
}

impl FaultKind {
    /// The kinds that have no value of their own.
    const PLAIN: [Self; 11] = [
        Self::Hang,
        Self::Close,
        Self::Outage,
        Self::Throttle,
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::Garbage,
        Self::Truncated,
        Self::PastExpiration,
        Self::NoExpiration,
        Self::Huge,
    ];

    /// Its name on the command line and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Hang => "hang",
            Self::Close => "close",
            Self::Outage => "outage",
            Self::Throttle => "throttle",
            Self::AccessDenied => "access-denied",
            Self::ExpiredToken => "expired-token",
            Self::Garbage => "garbage",
            Self::Truncated => "truncated",
            Self::PastExpiration => "past-expiration",
            Self::NoExpiration => "no-expiration",
            Self::Huge => "huge",
        }
    }
}

/// One fault. On the command line: `hang`, `latency=200ms`, `throttle=3` (the next three calls),
/// `throttle=0.3` or `throttle=30%` (that share of the calls).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For which calls.
    pub reach: Reach,
}

impl Fault {
    /// A fault that strikes every call.
    pub const fn every(kind: FaultKind) -> Self {
        Self { kind, reach: Reach::Every }
    }

    /// A fault that strikes the next `calls` calls.
    pub const fn next(kind: FaultKind, calls: u32) -> Self {
        Self { kind, reach: Reach::Next(calls) }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if name == "latency" {
            let latency = value.and_then(parse_latency);
            return Ok(Self::every(FaultKind::Latency(latency.ok_or(FaultError::Latency)?)));
        }
        let kind = FaultKind::PLAIN
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
        let reach = match value {
            None => Reach::Every,
            Some(value) => Reach::parse(value).ok_or(FaultError::Reach(kind))?,
        };
        Ok(Self { kind, reach })
    }
}

/// Why a text names no fault; each says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// No fault of this name.
    Unknown(String),
    /// A latency without a duration.
    Latency,
    /// Neither a number of calls nor a share of them.
    Reach(FaultKind),
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "no fault is named '{name}'; there are latency=<duration>")?;
                FaultKind::PLAIN.iter().try_for_each(|kind| write!(f, ", {}", kind.as_str()))
            }
            Self::Latency => f.write_str("write latency=200ms or latency=5s"),
            Self::Reach(kind) => {
                let name = kind.as_str();
                write!(
                    f,
                    "write {name} (every call), {name}=3 (the next three), {name}=0.3 or {name}=30% (that share of them)"
                )
            }
        }
    }
}

impl std::error::Error for FaultError {}

/// The faults of one upstream, which may be changed while it runs.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    /// Where they are looked up before each call, and what stood there last.
    file: Option<(PathBuf, String)>,
}

impl Faults {
    /// Replaces all faults; an empty list ends them.
    pub fn set(&self, faults: Vec<Fault>) {
        self.lock().faults = faults;
    }

    /// From now on the faults are those of a file, one a line, which may change at any time. While it
    /// is not there, there are none.
    pub fn follow(&self, file: PathBuf) {
        self.lock().file = Some((file, String::new()));
    }

    /// What strikes the present call: how much later it is answered, and the first of the faults
    /// that take its answer's place.
    pub(super) fn draw(&self) -> (Duration, Option<FaultKind>) {
        let mut latency = Duration::ZERO;
        let mut first = None;
        let mut state = self.lock();
        state.look_up();
        for fault in &mut state.faults {
            let kind = fault.kind;
            match kind {
                FaultKind::Latency(more) if fault.reach.strikes() => latency += more,
                _ if first.is_none() && fault.reach.strikes() => first = Some(kind),
                _ => {}
            }
        }
        (latency, first)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes over what the file says, if that has changed: a fault that has struck as often as it was
    /// to does not begin anew at each look.
    fn look_up(&mut self) {
        let Some((file, known)) = &mut self.file else {
            return;
        };
        let said = std::fs::read_to_string(&*file).unwrap_or_default();
        if said == *known {
            return;
        }
        match said.lines().map(str::parse).collect() {
            Ok(faults) => self.faults = faults,
            Err(error) => {
                let error: FaultError = error;
                tracing::warn!(file = %file.display(), %error, "the faults from before stay");
            }
        }
        *known = said;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_command_line() {
        let share = |share| Fault { kind: FaultKind::Throttle, reach: Reach::Share(share) };
        for (text, fault) in [
            ("latency=200ms", Fault::every(FaultKind::Latency(Duration::from_millis(200)))),
            ("latency=5s", Fault::every(FaultKind::Latency(Duration::from_secs(5)))),
            ("hang", Fault::every(FaultKind::Hang)),
            ("throttle=3", Fault::next(FaultKind::Throttle, 3)),
            ("throttle=0.25", share(0.25)),
            ("throttle=25%", share(0.25)),
        ] {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
        for plain in FaultKind::PLAIN {
            assert_eq!(plain.as_str().parse(), Ok(Fault::every(plain)));
        }
    }

    #[test]
    fn a_wrong_fault_is_told_what_would_be_right() {
        for (text, says) in [
            ("trottle", "throttle"),
            ("latency", "latency=200ms"),
            ("latency=200", "latency=200ms"),
            ("throttle=", "throttle=30%"),
            ("throttle=1.5", "throttle=30%"),
            ("throttle=NaN", "throttle=30%"),
            ("throttle=-1", "throttle=30%"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn faults_strike_in_their_order_and_as_often_as_asked() {
        let faults = Faults::default();
        let second = Duration::from_secs(1);
        faults.set(vec![
            Fault::next(FaultKind::Throttle, 2),
            Fault::every(FaultKind::Latency(second)),
            Fault::next(FaultKind::Close, 1),
        ]);
        let drawn: Vec<_> = (0..4).map(|_| faults.draw()).collect();
        assert_eq!(
            drawn,
            [
                (second, Some(FaultKind::Throttle)),
                (second, Some(FaultKind::Throttle)),
                (second, Some(FaultKind::Close)),
                (second, None)
            ]
        );
        faults.set(vec![]);
        assert_eq!(faults.draw(), (Duration::ZERO, None));
    }

    #[test]
    fn faults_follow_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("faults");
        let faults = Faults::default();
        faults.follow(file.clone());
        assert_eq!(faults.draw(), (Duration::ZERO, None));
        std::fs::write(&file, "latency=1s\nthrottle=1\n").unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(faults.draw(), (second, Some(FaultKind::Throttle)));
        assert_eq!(faults.draw(), (second, None));
        std::fs::write(&file, "latency=1s\nflood\n").unwrap();
        assert_eq!(faults.draw(), (second, None));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(faults.draw(), (Duration::ZERO, None));
    }

    #[test]
    fn a_share_strikes_about_that_often() {
        fastrand::seed(1);
        let faults = Faults::default();
        faults.set(vec!["outage=0.3".parse().unwrap()]);
        let struck = (0..1000).filter(|_| faults.draw().1.is_some()).count();
        assert!((250..350).contains(&struck), "{struck}");
    }
}
