//! Why a credential could not be had: what rotation waits by, and what a client is told.

use std::fmt;
use std::time::Duration;

/// What went wrong, in classes that differ in what to do next (endpoint-contract section 5,
/// upstreams section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection, no name, or no answer in time.
    Unreachable,
    /// The upstream's certificate was not accepted.
    Tls,
    /// The upstream asked to be called less.
    Throttled {
        /// How long it asked to wait, where it said so.
        retry_after: Option<Duration>,
    },
    /// The upstream answered that it cannot answer now, or in a way that makes no sense.
    Transient,
    /// The credentials with which the upstream was asked are not (or no longer) accepted.
    StaleCaller,
    /// The upstream understood and refused. Fresh trust takes seconds to spread, so it may heal.
    Denied,
    /// What was asked can never be granted as it stands: a setting must change.
    Misconfigured,
    /// The source has nothing to work with: an environment variable or file is not there.
    NotConfigured,
    /// A fault of the relay's own.
    Internal,
}

/// Whether waiting alone can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It may heal by itself: a client is answered 503, after a short hold.
    MayHeal,
    /// Somebody must act: a client is answered 403 at once.
    Permanent,
}

impl Cause {
    /// Whether waiting alone can help.
    pub const fn outlook(self) -> Outlook {
        match self {
            Self::Denied | Self::Misconfigured => Outlook::Permanent,
            Self::Unreachable
            | Self::Tls
            | Self::Throttled { .. }
            | Self::Transient
            | Self::StaleCaller
            | Self::NotConfigured
            | Self::Internal => Outlook::MayHeal,
        }
    }

    /// A short name: a metric's label and the log's `cause`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Throttled { .. } => "throttled",
            Self::Transient => "transient",
            Self::StaleCaller => "stale_caller",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::NotConfigured => "not_configured",
            Self::Internal => "internal",
        }
    }

    /// Every short name, so that a metric can start at zero.
    pub const NAMES: [&'static str; 9] = [
        "unreachable",
        "tls",
        "throttled",
        "transient",
        "stale_caller",
        "denied",
        "misconfigured",
        "not_configured",
        "internal",
    ];
}

/// The part of a chain in which something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The base: the kind of the source.
    Base(&'static str),
    /// A hop, counted from 1, and the role that it assumes.
    Hop {
        /// Its place, from 1.
        number: usize,
        /// The role's ARN.
        role: String,
    },
    /// A call to STS that is no hop: its operation.
    Sts(&'static str),
    /// The relay itself, after the upstreams had answered.
    Relay,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(kind) => write!(f, "source {kind}"),
            Self::Hop { number, role } => write!(f, "hop {number} ({role})"),
            Self::Sts(operation) => write!(f, "sts {operation}"),
            Self::Relay => f.write_str("relay"),
        }
    }
}

/// What an operator does about a failure: for `check --connect` and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// What the cause alone says.
    ByCause,
    /// More is known than the cause.
    Known {
        /// What failed: an address, TLS, a login, a policy, an engine, AWS…
        layer: &'static str,
        /// What would be right.
        fix: &'static str,
    },
}

impl Advice {
    /// What would be right, where more is known than the cause.
    pub const fn fix(self) -> Option<&'static str> {
        match self {
            Self::ByCause => None,
            Self::Known { fix, .. } => Some(fix),
        }
    }
}

/// One failed fetch. Its reason is already scrubbed: every text of an upstream goes through
/// [`crate::credential::scrub`] before it gets here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do next.
    pub cause: Cause,
    /// Where in the chain.
    pub stage: Stage,
    /// In words for a log or a client, without any secret.
    pub reason: String,
    /// What to do about it.
    pub advice: Advice,
}

impl Failure {
    /// A failure with its reason, which must hold no secret.
    pub fn new(cause: Cause, stage: Stage, reason: impl Into<String>) -> Self {
        Self { cause, stage, reason: reason.into(), advice: Advice::ByCause }
    }

    /// The same, where it is known what would be right.
    pub fn advised(self, layer: &'static str, fix: &'static str) -> Self {
        Self { advice: Advice::Known { layer, fix }, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.reason)
    }
}

impl std::error::Error for Failure {}
