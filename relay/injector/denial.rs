//! Why a pod is refused: everything at once, each with what would be right.

use std::fmt;

/// How many reasons are kept and told; whoever has more has one cause for them, or means harm.
const MOST: usize = 20;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    place: String,
    what: String,
}

/// All that is wrong with a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    reasons: Vec<Reason>,
    more: usize,
}

impl Denial {
    /// A single one.
    pub(super) fn one(place: impl Into<String>, what: impl Into<String>) -> Self {
        let mut denial = Self::default();
        denial.add(place, what);
        denial
    }

    /// Notes one more: `place` is an annotation or a field of the pod, `what` says what is there and
    /// what would be right. Neither holds a value that may be a secret.
    pub(super) fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        let reason = Reason { place: place.into(), what: what.into() };
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < MOST {
            self.reasons.push(reason);
        } else {
            self.more += 1;
        }
    }

    /// Takes in those of another check.
    pub(super) fn extend(&mut self, other: Self) {
        for Reason { place, what } in other.reasons {
            self.add(place, what);
        }
        self.more += other.more;
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Nothing, or all that is wrong.
    ///
    /// # Errors
    /// All that is wrong, where something is.
    pub(super) fn checked(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reasons.as_slice() {
            [Reason { place, what }] => return write!(f, "{place}: {what}"),
            several => write!(f, "{} things are wrong:", several.len() + self.more)?,
        }
        for Reason { place, what } in &self.reasons {
            write!(f, "\n  {place}: {what}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Denial {}
