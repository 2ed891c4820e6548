//! A record of what was asked of an upstream, for tests and for whoever watches a rotation.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Calls that are remembered one by one; all are counted.
const LAST_CALLS: usize = 1_000;

/// A call that can be counted with others of its kind.
pub trait Recorded: Clone + Debug {
    /// What is counted.
    type Kind: Ord + Debug;

    /// What this call counts as.
    fn kind(&self) -> Self::Kind;
}

/// The record of all calls; cheap to clone.
#[derive(Debug)]
pub struct Ledger<C: Recorded>(Arc<Mutex<Entries<C>>>);

#[derive(Debug)]
struct Entries<C: Recorded> {
    counts: BTreeMap<C::Kind, u64>,
    last: VecDeque<C>,
}

impl<C: Recorded> Clone for Ledger<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Recorded> Default for Ledger<C> {
    fn default() -> Self {
        let entries = Entries { counts: BTreeMap::new(), last: VecDeque::new() };
        Self(Arc::new(Mutex::new(entries)))
    }
}

impl<C: Recorded> Ledger<C> {
    /// How often something was asked for, whatever came of it.
    pub fn count(&self, kind: impl Borrow<C::Kind>) -> u64 {
        self.lock().counts.get(kind.borrow()).copied().unwrap_or(0)
    }

    /// The last calls, oldest first.
    pub fn calls(&self) -> Vec<C> {
        self.lock().last.iter().cloned().collect()
    }

    pub(super) fn record(&self, call: C) {
        let mut entries = self.lock();
        *entries.counts.entry(call.kind()).or_default() += 1;
        if entries.last.len() == LAST_CALLS {
            entries.last.pop_front();
        }
        entries.last.push_back(call);
    }

    fn lock(&self) -> MutexGuard<'_, Entries<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
