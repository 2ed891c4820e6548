//! What is to be done about the certificates: a pure function of what the cluster holds and of the
//! time.
//!
//! A CA is followed by another in an order that leaves no moment in which an API server does not
//! trust what a replica shows:
//!
//! 1. the new CA is put into the Secret, and from there into the caBundle, beside the old one;
//! 2. once it has been there for a while, the first serving certificate of its own is issued;
//! 3. once the last serving certificate of the old CA has ended, the old CA leaves both.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::schedule::Draw;

/// No more CAs than this stand side by side because somebody asks for rotations.
const MOST_AUTHORITIES: usize = 4;

/// A CA, by the SHA-256 of its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) [u8; 32]);

/// The life of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Span {
    pub(super) fn has_ended(self, now: Timestamp) -> bool {
        now >= self.until
    }

    /// Whether two thirds of it are over, or up to a twentieth less: so not all replicas find it due at
    /// the same moment.
    fn is_due(self, now: Timestamp, draw: Draw) -> bool {
        let life = self.until.saturating_since(self.from);
        now >= self.from + (life * 2 / 3).saturating_sub(draw.share(life / 20))
    }
}

/// A CA's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) id: Id,
    pub(super) span: Span,
}

/// A serving certificate that is sound: it is for the Service's names, and of that CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) issuer: Id,
    pub(super) span: Span,
}

/// What is sound in the Secret; nothing if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The oldest first.
    pub(super) authorities: Vec<Authority>,
    /// Whether the key of the newest is there.
    pub(super) newest_signs: bool,
    pub(super) serving: Option<Leaf>,
    /// Those that were served before from another CA, and may be still where the Secret was not
    /// looked at.
    pub(super) previous: Vec<Leaf>,
    /// Whether somebody asked for a new CA.
    pub(super) rotation_asked: bool,
}

/// What the API servers trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bundle {
    /// There is no webhook of this Service.
    Nowhere,
    /// What is in every caBundle.
    Of {
        trusted: Vec<Id>,
        /// Whether there is nothing else in any of them.
        clean: bool,
    },
}

impl Bundle {
    pub(super) fn has(&self, id: Id) -> bool {
        matches!(self, Self::Of { trusted, .. } if trusted.contains(&id))
    }

    /// Whether something of it must be written.
    fn differs(&self, authorities: &[Authority]) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Of { trusted, clean } => {
                !clean
                    || trusted.len() != authorities.len()
                    || !authorities.iter().all(|each| trusted.contains(&each.id))
            }
        }
    }
}

/// All that a decision rests on.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) kept: Kept,
    pub(super) bundle: Bundle,
    /// What this replica serves.
    pub(super) held: Option<Leaf>,
    /// How long the newest CA of the Secret has been in the caBundle at each look.
    pub(super) trusted_for: Duration,
    /// How long that must be.
    pub(super) settle: Duration,
    pub(super) now: Timestamp,
    /// One for each replica.
    pub(super) draw: Draw,
}

/// What this replica is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serve {
    /// The Secret's.
    Kept,
    /// What it has served until now.
    Held,
    /// There is nothing that an API server would trust.
    Nothing,
}

/// One change of the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Put back what this replica serves, with its CA as the oldest one.
    Restore,
    /// Make a new CA, the newest.
    Authority,
    /// Issue a serving certificate of the newest CA.
    Issue,
    /// Leave this CA out.
    Retire(Id),
}

/// What the leader is to write. It is one thing at a time: what follows from it is seen at the next look, which
/// comes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Nothing,
    /// Let each caBundle be what the Secret says.
    Bundle,
    /// Change the Secret, by these in their order.
    Secret(Vec<Edit>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) serve: Serve,
    pub(super) write: Write,
    /// Whether the caBundle trusts what is served.
    pub(super) trusted: bool,
}

/// Decides.
pub(super) fn decide(state: &State) -> Plan {
    let kept = state.kept.serving.filter(|leaf| !leaf.span.has_ended(state.now));
    let (serve, served) = match kept {
        Some(leaf) if state.bundle.has(leaf.issuer) => (Serve::Kept, Some(leaf)),
        _ if state.held.is_some() => (Serve::Held, state.held),
        _ => (Serve::Nothing, None),
    };
    let trusted =
        served.is_some_and(|leaf| state.bundle.has(leaf.issuer) && !leaf.span.has_ended(state.now));
    Plan { serve, trusted, write: write(state) }
}

fn write(state: &State) -> Write {
    let repair = repair(state);
    if !repair.is_empty() {
        return Write::Secret(repair);
    }
    if state.bundle.differs(&state.kept.authorities) {
        return Write::Bundle;
    }
    let next = next(state);
    if next.is_empty() { Write::Nothing } else { Write::Secret(next) }
}

/// What a Secret needs that cannot serve or not go on: it comes before the caBundle, which follows
/// the Secret.
fn repair(state: &State) -> Vec<Edit> {
    let State { kept, held, now, .. } = state;
    let serves = kept.serving.is_some_and(|leaf| !leaf.span.has_ended(*now));
    // The replicas serve it, so the API servers must go on to trust it.
    let restores = !serves && held.is_some_and(|leaf| !leaf.span.has_ended(*now));
    let signs =
        kept.newest_signs && kept.authorities.last().is_some_and(|last| !last.span.has_ended(*now));
    let edits = [
        (restores, Edit::Restore),
        (!signs, Edit::Authority),
        // With nothing to lose, it need not wait until its CA is trusted everywhere.
        (!serves && !restores, Edit::Issue),
    ];
    edits.into_iter().filter_map(|(wanted, edit)| wanted.then_some(edit)).collect()
}

/// The next step of a Secret that is sound, once the caBundle says what it does.
fn next(state: &State) -> Vec<Edit> {
    let State { kept, now, draw, .. } = state;
    let (Some(newest), Some(serving)) = (kept.authorities.last(), kept.serving) else {
        return Vec::new();
    };
    let asked = kept.rotation_asked && kept.authorities.len() < MOST_AUTHORITIES;
    if asked || newest.span.is_due(*now, *draw) {
        return vec![Edit::Authority];
    }
    let settled = state.bundle.has(newest.id) && state.trusted_for >= state.settle;
    if settled && (serving.issuer != newest.id || serving.span.is_due(*now, *draw)) {
        return vec![Edit::Issue];
    }
    let in_use = |id| {
        let live = kept.previous.iter().filter(|leaf| !leaf.span.has_ended(*now));
        live.chain([&serving]).any(|leaf| leaf.issuer == id) || id == newest.id
    };
    let authorities = kept.authorities.iter().map(|each| each.id);
    authorities.filter(|id| !in_use(*id)).map(Edit::Retire).collect()
}

#[cfg(test)]
mod tests;
