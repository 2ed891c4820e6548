//! A token of Vault's: how long it lives, how often it may be used, and whether it can be renewed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::credential::Secret;
use crate::metrics::ProfileMetrics;

/// A token counts as ended so long before its end, for the time that a call takes; or a tenth of
/// its life, if that is less.
const MARGIN: Duration = Duration::from_secs(10);

/// A renewal that gives so much less than the token's first life was cut by a maximum, and a
/// further one would give nothing more. Vault floors to seconds.
const CUT: Duration = Duration::from_secs(2);

/// What a read wants of the token that it is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources::vault) enum Need {
    /// It must live for the read: what is read does not depend on it.
    Read,
    /// What is read dies with it, so it should live for this long.
    Outlive(Duration),
}

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources::vault) enum End {
    At(Moment),
    /// A root token.
    Never,
}

/// Whose a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources::vault) enum Owner {
    /// The relay logged in for it, and gives it back at its own end.
    Relay,
    /// Somebody else made it; the relay only uses it.
    Other,
}

/// How a token is kept at Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources::vault) enum Kind {
    Service,
    /// It is stored nowhere: it can be neither renewed nor revoked.
    Batch,
}

impl Kind {
    pub(in crate::sources::vault) fn of(token_type: &str) -> Self {
        if token_type == "batch" { Self::Batch } else { Self::Service }
    }

    pub(in crate::sources::vault) const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }
}

/// What Vault granted by a login, or said of a token that was found.
#[derive(Clone, Debug)]
pub(in crate::sources::vault) struct Grant {
    pub(in crate::sources::vault) secret: Secret,
    pub(in crate::sources::vault) owner: Owner,
    pub(in crate::sources::vault) kind: Kind,
    /// When the request began of which the rest is counted.
    pub(in crate::sources::vault) started: Moment,
    /// How long it lives from then on; nothing for a token without an end.
    pub(in crate::sources::vault) life: Option<Duration>,
    pub(in crate::sources::vault) renewable: bool,
    /// How often it may be used from then on, where that is counted.
    pub(in crate::sources::vault) uses: Option<u64>,
}

/// A token of Vault's.
pub(in crate::sources::vault) struct Token {
    secret: Secret,
    owner: Owner,
    kind: Kind,
    /// When the relay first knew it.
    since: Moment,
    /// Of the profile for which it was logged in: its revocation at the end is counted there.
    metrics: ProfileMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    end: End,
    /// The longest life that it was ever given at once.
    fresh: Duration,
    renewable: bool,
    uses: Option<u64>,
    /// When a renewal in the background is due.
    renew: Option<Moment>,
    revoked: bool,
}

impl Token {
    pub(super) fn new(grant: &Grant, metrics: ProfileMetrics) -> Self {
        let state = State {
            end: End::Never,
            fresh: Duration::ZERO,
            renewable: false,
            uses: grant.uses,
            renew: None,
            revoked: false,
        };
        let token = Self {
            secret: grant.secret.clone(),
            owner: grant.owner,
            kind: grant.kind,
            since: grant.started,
            metrics,
            state: Mutex::new(state),
        };
        token.learn(grant);
        token
    }

    /// What is sent to Vault. Its uses may be counted, and the session counts one for each time that
    /// it gives the token out: whoever asks more than once with it asks the session each time.
    pub(in crate::sources::vault) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Its end as it stands: a renewal moves it.
    pub(in crate::sources::vault) fn end(&self) -> End {
        self.state().end
    }

    /// Whether the relay logged in for it, so that nobody else uses it.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == Owner::Relay
    }

    /// Whether Vault was found to have revoked it before its end.
    pub(in crate::sources::vault) fn is_revoked(&self) -> bool {
        self.state().revoked
    }

    /// Counts one use, if there is one to be had. The last is never used: with it Vault gives no
    /// secret, and using it up ends the keys that hang on the token (upstreams section 1).
    pub(super) fn spend(&self) -> bool {
        match &mut self.state().uses {
            None => true,
            Some(0 | 1) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Whether it serves such a read as it is.
    pub(super) fn serves(&self, need: Need, now: Moment) -> bool {
        let state = self.state();
        if state.revoked || matches!(state.uses, Some(0 | 1)) {
            return false;
        }
        let End::At(end) = state.end else {
            return true;
        };
        let margin = MARGIN.min(state.fresh / 10);
        let wanted = match need {
            Need::Read => margin,
            Need::Outlive(wanted) => wanted.min(state.fresh.mul_f64(0.9)).max(margin),
        };
        end.remaining(now) > wanted
    }

    /// Whether Vault may be asked to renew it.
    pub(super) fn renewable(&self, now: Moment) -> bool {
        let state = self.state();
        let alive = matches!(state.end, End::At(end) if !end.reached(now));
        // The renewal takes a use, and whoever needs it another.
        state.renewable && alive && !state.revoked && state.uses.is_none_or(|left| left > 2)
    }

    /// When a renewal in the background is due, if it can be renewed.
    pub(super) fn renewal_due(&self) -> Option<Moment> {
        let state = self.state();
        state.renew.filter(|_| state.renewable && !state.revoked)
    }

    /// Whether revoking it gives something back: it lives, and it is the relay's own.
    pub(in crate::sources::vault) fn is_to_be_revoked(&self, now: Moment) -> bool {
        let state = self.state();
        let alive = !matches!(state.end, End::At(end) if end.reached(now));
        alive && !state.revoked && self.is_ours() && self.kind == Kind::Service
    }

    /// Whether it was had less than `age` ago.
    pub(super) fn is_younger_than(&self, age: Duration, now: Moment) -> bool {
        !(self.since + age).reached(now)
    }

    pub(super) fn metrics(&self) -> &ProfileMetrics {
        &self.metrics
    }

    /// Whether this is what was granted: a token that is found may be the same as before.
    pub(super) fn is(&self, grant: &Grant) -> bool {
        self.secret.matches(grant.secret.expose().as_bytes())
    }

    /// Takes what a look-up said of it.
    pub(super) fn learn(&self, grant: &Grant) {
        self.state().uses = grant.uses;
        self.prolong(grant.started, grant.life, grant.renewable && self.kind == Kind::Service);
    }

    /// Takes a renewal's answer.
    pub(super) fn renewed(&self, started: Moment, life: Duration, renewable: bool) {
        let cut = life + CUT < self.state().fresh;
        self.prolong(started, Some(life), renewable && !cut);
    }

    fn prolong(&self, started: Moment, life: Option<Duration>, renewable: bool) {
        let mut state = self.state();
        state.end = life.map_or(End::Never, |life| End::At(started + life));
        state.fresh = state.fresh.max(life.unwrap_or_default());
        state.renewable = renewable;
        // At two thirds of the life, as Vault's own agents do, and up to a tenth of it earlier.
        let share = 2.0 / 3.0 - 0.1 * fastrand::f64();
        state.renew = life.map(|life| started + life.mul_f64(share));
    }

    /// Vault will not renew it; it is used on until its end.
    pub(super) fn not_renewable(&self) {
        self.state().renewable = false;
    }

    /// Vault no longer knows it. Says whether that came before its end.
    pub(super) fn dead(&self, now: Moment) -> bool {
        let mut state = self.state();
        let early = !matches!(state.end, End::At(end) if end.reached(now));
        state.revoked |= early;
        if !early {
            state.renewable = false;
        }
        early
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("owner", &self.owner)
            .field("kind", &self.kind)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
