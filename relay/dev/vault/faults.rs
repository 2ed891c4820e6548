//! Faults on demand: what a real Vault does only when it is least wanted.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::upstream::{Reach, parse_latency};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// The request is performed and answered this much later.
    Latency(Duration),
    /// The request isn't performed, no answer ever comes, and the connection stays open.
    Hang,
    /// The request is performed, but its answer never comes: a user may exist that nobody knows.
    Lost,
    /// The request isn't performed, and the connection is closed.
    Close,
    /// This answer, and the request isn't performed.
    Answer(Canned),
    /// 307 to the request's own path at this address, such as `https://vault-1:8200`.
    Redirect(String),
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with the first half of the right body.
    Truncated,
    /// 200 with the right body and 16 MiB behind it.
    Huge,
    /// No lease: as Vault 1.13.0 and 1.13.1 give sessions.
    NoLease,
    /// Neither a lease nor a `ttl`.
    NoTimes,
    /// Another value at this JSON pointer, or none.
    Field(&'static str, Option<Value>),
}

/// A whole answer that takes another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    /// The fault's name in the ledger.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Its headers, beside those that Vault always puts on.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: String,
}

impl Canned {
    /// An error answer with this text.
    pub fn error(name: &'static str, status: u16, text: &str) -> Self {
        Self { name, status, headers: Vec::new(), body: json!({ "errors": [text] }).to_string() }
    }
}

impl FaultKind {
    /// An error answer with this status and text.
    pub fn status(status: u16, text: &str) -> Self {
        Self::Answer(Canned::error("status", status, text))
    }

    /// A quota is exceeded, and the operator lets the client know for how long.
    pub fn quota(retry_after: Option<Duration>) -> Self {
        let text = "request path \"aws/creds/payments\": rate limit quota exceeded";
        let mut answer = Canned::error("quota", 429, text);
        let seconds = retry_after.map(|wait| ("retry-after", wait.as_secs().to_string()));
        answer.headers.extend(seconds);
        Self::Answer(answer)
    }

    /// The answers that have names on the command line.
    fn named(name: &str) -> Option<Self> {
        let (name, status, text) = *ANSWERS.iter().find(|(known, ..)| *known == name)?;
        Some(Self::Answer(Canned::error(name, status, text)))
    }

    /// Its name on the command line and in the ledger.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Answer(answer) => answer.name,
            Self::Redirect(_) => "redirect",
            Self::Field(..) => "field",
            Self::Hang => "hang",
            Self::Lost => "lost",
            Self::Close => "close",
            Self::Garbage => "garbage",
            Self::Truncated => "truncated",
            Self::Huge => "huge",
            Self::NoLease => "no-lease",
            Self::NoTimes => "no-times",
        }
    }
}

/// Those of the kinds that have no value of their own.
const PLAIN: [FaultKind; 8] = [
    FaultKind::Hang,
    FaultKind::Lost,
    FaultKind::Close,
    FaultKind::Garbage,
    FaultKind::Truncated,
    FaultKind::Huge,
    FaultKind::NoLease,
    FaultKind::NoTimes,
];

/// Answers with names: their status, and the text as Vault writes it.
const ANSWERS: [(&str, u16, &str); 13] = [
    ("sealed", 503, "Vault is sealed"),
    ("overloaded", 503, "overloaded, try again later"),
    ("not-active", 500, "local node not active but active cluster node not found"),
    ("standby", 473, "Vault is in standby mode"),
    ("recovery", 472, "path disabled in replication DR secondary mode"),
    ("stale", 412, "required index state not present"),
    ("quota", 429, "rate limit quota exceeded"),
    ("denied", 403, "1 error occurred:\n\t* permission denied\n\n"),
    ("invalid-token", 403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"),
    ("no-sts", 400, "could not obtain sts client"),
    (
        "aws-denied",
        400,
        "Error assuming role: AccessDenied: User: arn:aws:iam::111122223333:user/vault is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/app\n\tstatus code: 403, request id: 00000000-0000-4000-a000-000000000000",
    ),
    (
        "aws-throttled",
        502,
        "Error assuming role: Throttling: Rate exceeded\n\tstatus code: 400, request id: 00000000-0000-4000-a000-000000000000",
    ),
    ("internal", 500, "1 error occurred:\n\t* internal error\n\n"),
];

/// One fault. On the command line: `sealed`, `latency=200ms`, `auth/:hang` (paths that begin with
/// `auth/`), `aws/creds/:quota=3` (the next three of them), `quota=30%` (that share of all).
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// How the paths begin that it strikes, without `/v1/`; all if it is empty.
    pub path: String,
    /// What goes wrong.
    pub kind: FaultKind,
    /// For which of their calls.
    pub reach: Reach,
}

impl Fault {
    /// A fault that strikes every call of these paths.
    pub fn every(path: &str, kind: FaultKind) -> Self {
        Self { path: path.to_owned(), kind, reach: Reach::Every }
    }

    /// A fault that strikes the next `calls` calls of these paths.
    pub fn next(path: &str, kind: FaultKind, calls: u32) -> Self {
        Self { path: path.to_owned(), kind, reach: Reach::Next(calls) }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (path, text) = text.rsplit_once(':').unwrap_or(("", text));
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if name == "latency" {
            let latency = value.and_then(parse_latency).ok_or(FaultError::Latency)?;
            return Ok(Self::every(path, FaultKind::Latency(latency)));
        }
        let kind = PLAIN
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .or_else(|| FaultKind::named(name))
            .ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
        let reach = match value {
            None => Reach::Every,
            Some(value) => Reach::parse(value).ok_or_else(|| FaultError::Reach(name.to_owned()))?,
        };
        Ok(Self { path: path.to_owned(), kind, reach })
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
    Reach(String),
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "no fault of Vault is named '{name}'; there are latency=<duration>")?;
                let answers = ANSWERS.iter().map(|(name, ..)| *name);
                PLAIN
                    .iter()
                    .map(FaultKind::as_str)
                    .chain(answers)
                    .try_for_each(|name| write!(f, ", {name}"))?;
                f.write_str(", each with <path>: before it to strike paths that begin so")
            }
            Self::Latency => f.write_str("write latency=200ms or latency=5s"),
            Self::Reach(name) => write!(
                f,
                "write {name} (every call), {name}=3 (the next three), {name}=0.3 or {name}=30% (that share of them)"
            ),
        }
    }
}

impl std::error::Error for FaultError {}

/// The faults of one Vault, which may be changed while it runs.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

/// What strikes one call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Struck {
    pub(super) latency: Duration,
    /// The first fault that struck, and if it only changes a field, whichever others do.
    pub(super) kinds: Vec<FaultKind>,
}

impl Faults {
    /// Replaces all faults; an empty list ends them.
    pub fn set(&self, faults: Vec<Fault>) {
        *self.lock() = faults;
    }

    /// What strikes the present call.
    pub(super) fn draw(&self, path: &str) -> Struck {
        let field = |kind: &FaultKind| matches!(kind, FaultKind::Field(..));
        let mut struck = Struck::default();
        for fault in self.lock().iter_mut().filter(|fault| path.starts_with(&fault.path)) {
            let latency = matches!(fault.kind, FaultKind::Latency(_));
            let with_others = field(&fault.kind) && struck.kinds.iter().all(field);
            let may = latency || struck.kinds.is_empty() || with_others;
            if !may || !fault.reach.strikes() {
                continue;
            }
            match &fault.kind {
                FaultKind::Latency(more) => struck.latency += *more,
                kind => struck.kinds.push(kind.clone()),
            }
        }
        struck
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_command_line() {
        let quota = FaultKind::named("quota").unwrap();
        for (text, fault) in [
            ("hang", Fault::every("", FaultKind::Hang)),
            ("auth/:hang", Fault::every("auth/", FaultKind::Hang)),
            ("aws/creds/:quota=3", Fault::next("aws/creds/", quota, 3)),
            ("latency=5s", Fault::every("", FaultKind::Latency(Duration::from_secs(5)))),
        ] {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
        for plain in PLAIN {
            assert_eq!(plain.as_str().parse(), Ok(Fault::every("", plain)));
        }
        for (name, ..) in ANSWERS {
            assert_eq!(name.parse::<Fault>().unwrap().kind.as_str(), name);
        }
    }

    #[test]
    fn a_wrong_fault_is_told_what_would_be_right() {
        for (text, says) in
            [("seald", "sealed"), ("latency", "latency=200ms"), ("aws/:quota=1.5", "quota=30%")]
        {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn faults_strike_their_paths_in_their_order_and_as_often_as_asked() {
        let faults = Faults::default();
        let second = Duration::from_secs(1);
        faults.set(vec![
            Fault::next("auth/", FaultKind::Close, 1),
            Fault::next("", FaultKind::Hang, 1),
            Fault::every("aws/", FaultKind::Latency(second)),
        ]);
        let struck = |kinds: &[FaultKind], latency| Struck { latency, kinds: kinds.to_vec() };
        let path = "auth/kubernetes/login";
        assert_eq!(faults.draw(path), struck(&[FaultKind::Close], Duration::ZERO));
        assert_eq!(faults.draw("aws/creds/a"), struck(&[FaultKind::Hang], second));
        assert_eq!(faults.draw("aws/creds/a"), struck(&[], second));
        assert_eq!(faults.draw(path), Struck::default());
    }

    #[test]
    fn fields_are_changed_together() {
        let faults = Faults::default();
        let field = |pointer| FaultKind::Field(pointer, None);
        faults.set(vec![
            Fault::every("", field("/data/ttl")),
            Fault::next("", FaultKind::Hang, 1),
            Fault::every("", field("/lease_id")),
        ]);
        assert_eq!(faults.draw("x").kinds, [field("/data/ttl"), field("/lease_id")]);
    }
}
