//! The table of what is decided, and the whole life of a CA by repeated decisions.

use super::*;

const HOUR: i64 = 3600;
const NOW: i64 = 1_000 * HOUR;
const LEAF: i64 = 720 * HOUR;
const AUTHORITY: i64 = 10 * LEAF;

fn id(name: u8) -> Id {
    Id([name; 32])
}

/// So many hundredths of its life are over.
fn aged(life: i64, hundredths: i64) -> Span {
    let from = NOW - life * hundredths / 100;
    Span { from: Timestamp::from_secs(from), until: Timestamp::from_secs(from + life) }
}

fn authority(name: u8, hundredths: i64) -> Authority {
    Authority { id: id(name), span: aged(AUTHORITY, hundredths) }
}

fn leaf(issuer: u8, hundredths: i64) -> Leaf {
    Leaf { issuer: id(issuer), span: aged(LEAF, hundredths) }
}

fn trusted(names: &[u8]) -> Bundle {
    Bundle::Of { trusted: names.iter().map(|name| id(*name)).collect(), clean: true }
}

/// One CA, A, a certificate of its, and all trust it.
fn well() -> State {
    State {
        kept: Kept {
            authorities: vec![authority(b'A', 5)],
            newest_signs: true,
            serving: Some(leaf(b'A', 50)),
            previous: Vec::new(),
            rotation_asked: false,
        },
        bundle: trusted(b"A"),
        held: Some(leaf(b'A', 50)),
        trusted_for: Duration::from_secs(300),
        settle: Duration::from_secs(300),
        now: Timestamp::from_secs(NOW),
        draw: Draw::of(0.0),
    }
}

/// A second CA was made, and nothing is issued by it yet.
fn followed() -> State {
    let mut state = well();
    state.kept.authorities.push(authority(b'B', 0));
    state.bundle = trusted(b"AB");
    state
}

/// What is written in a state that differs from `state` by this.
fn written(mut state: State, differs: impl FnOnce(&mut State)) -> Write {
    differs(&mut state);
    decide(&state).write
}

use Edit::{Authority as Make, Issue, Restore, Retire};

fn secret(edits: &[Edit]) -> Write {
    Write::Secret(edits.to_vec())
}

#[test]
fn nothing_is_written_while_all_is_well() {
    assert_eq!(decide(&well()), Plan { serve: Serve::Kept, write: Write::Nothing, trusted: true });
    // Waiting for all to trust B is nothing wrong either.
    let waiting = written(followed(), |state| state.trusted_for = Duration::from_secs(299));
    assert_eq!(waiting, Write::Nothing);
}

#[test]
fn a_cluster_with_nothing_gets_everything_step_by_step() {
    let empty = |state: &mut State| {
        state.kept = Kept::default();
        state.bundle = trusted(b"");
        state.held = None;
        state.trusted_for = Duration::ZERO;
    };
    assert_eq!(written(well(), empty), secret(&[Make, Issue]));
    let mut state = well();
    (state.held, state.bundle) = (None, trusted(b""));
    assert_eq!(
        decide(&state),
        Plan { serve: Serve::Nothing, write: Write::Bundle, trusted: false },
        "what nobody trusts yet is not served"
    );
    state.bundle = trusted(b"A");
    assert_eq!(decide(&state), Plan { serve: Serve::Kept, write: Write::Nothing, trusted: true });
    // Without a webhook configuration all is prepared for one.
    state.bundle = Bundle::Nowhere;
    assert_eq!(decide(&state).write, Write::Nothing);
    state.kept = Kept::default();
    assert_eq!(decide(&state).write, secret(&[Make, Issue]));
}

#[test]
fn a_ca_is_followed_by_another_in_steps_that_wait_for_each_other() {
    let due = written(well(), |state| state.kept.authorities = vec![authority(b'A', 67)]);
    assert_eq!(due, secret(&[Make]));
    let asked = written(well(), |state| state.kept.rotation_asked = true);
    assert_eq!(asked, secret(&[Make]));
    assert_eq!(written(followed(), |state| state.bundle = trusted(b"A")), Write::Bundle);
    assert_eq!(written(followed(), |_| {}), secret(&[Issue]));

    let mut switched = followed();
    switched.kept.serving = Some(leaf(b'B', 0));
    switched.kept.previous = vec![leaf(b'A', 50)];
    assert_eq!(decide(&switched).write, Write::Nothing, "others may still serve A's");
    switched.kept.previous = vec![leaf(b'A', 100)];
    assert_eq!(decide(&switched).write, secret(&[Retire(id(b'A'))]));
    switched.kept.authorities.remove(0);
    assert_eq!(decide(&switched).write, Write::Bundle);
}

#[test]
fn serving_certificates_are_renewed_at_two_thirds_or_a_little_sooner() {
    for (age, draw, renewed) in
        [(66, 0.0, false), (67, 0.0, true), (61, 0.999, false), (63, 0.999, true), (100, 0.0, true)]
    {
        let write = written(well(), |state| {
            state.kept.serving = Some(leaf(b'A', age));
            state.draw = Draw::of(draw);
            // One that has ended is served by nobody.
            state.held = None;
        });
        let expected = if renewed { secret(&[Issue]) } else { Write::Nothing };
        assert_eq!(write, expected, "{age} {draw}");
    }
}

#[test]
fn a_ca_that_signed_nothing_leaves_when_a_newer_one_is_there() {
    let state = |state: &mut State| {
        state.kept.authorities.push(authority(b'C', 0));
        state.bundle = trusted(b"ABC");
        state.trusted_for = Duration::ZERO;
    };
    assert_eq!(written(followed(), state), secret(&[Retire(id(b'B'))]));
}

#[test]
fn whoever_asks_for_ever_new_cas_gets_four_at_most() {
    let mut state = followed();
    state.kept.rotation_asked = true;
    state.kept.previous = vec![leaf(b'B', 10), leaf(b'C', 10)];
    state.kept.authorities.extend([authority(b'C', 0), authority(b'D', 0)]);
    state.bundle = trusted(b"ABCD");
    state.trusted_for = Duration::ZERO;
    assert_eq!(decide(&state).write, Write::Nothing);
}

#[test]
fn a_bundle_that_somebody_changed_is_set_right_before_anything_else() {
    let others = [
        trusted(b""),
        trusted(b"B"),
        trusted(b"AB"),
        Bundle::Of { trusted: vec![id(b'A')], clean: false },
    ];
    for bundle in others {
        let write = written(well(), |state| {
            state.bundle = bundle.clone();
            state.kept.authorities = vec![authority(b'A', 67)];
        });
        assert_eq!(write, Write::Bundle, "{bundle:?}");
    }
}

#[test]
fn a_replica_serves_what_the_bundle_trusts() {
    let mut state = followed();
    state.kept.serving = Some(leaf(b'B', 0));
    assert_eq!(decide(&state).serve, Serve::Kept);
    // Somebody reset the bundle to A: what is served is of A.
    state.bundle = trusted(b"A");
    assert_eq!(decide(&state), Plan { serve: Serve::Held, write: Write::Bundle, trusted: true });
    state.bundle = trusted(b"");
    assert_eq!(decide(&state), Plan { serve: Serve::Held, write: Write::Bundle, trusted: false });
    state.held = None;
    assert_eq!(decide(&state).serve, Serve::Nothing);
}

#[test]
fn a_secret_that_is_lost_is_made_again_around_what_is_served() {
    let lost = |state: &mut State| state.kept = Kept::default();
    assert_eq!(written(well(), lost), secret(&[Restore, Make]));
    // What has ended is of no use.
    let ended = written(well(), |state| {
        lost(state);
        state.held = Some(leaf(b'A', 100));
    });
    assert_eq!(ended, secret(&[Make, Issue]));
}

#[test]
fn of_a_secret_with_rubbish_the_wrong_part_alone_is_replaced() {
    type Breaks = fn(&mut Kept);
    let broken: [(Breaks, Write); 4] = [
        (|kept| kept.newest_signs = false, secret(&[Make])),
        (|kept| kept.serving = None, secret(&[Restore])),
        (|kept| kept.authorities.clear(), secret(&[Make])),
        (|kept| *kept = Kept { rotation_asked: true, ..Kept::default() }, secret(&[Restore, Make])),
    ];
    for (number, (breaks, expected)) in broken.into_iter().enumerate() {
        assert_eq!(written(well(), |state| breaks(&mut state.kept)), expected, "{number}");
    }
    let alone = written(well(), |state| {
        state.held = None;
        state.kept.serving = None;
    });
    assert_eq!(alone, secret(&[Issue]));
}

#[test]
fn a_clock_that_is_behind_takes_nothing_for_wrong() {
    let write = written(well(), |state| state.now = Timestamp::from_secs(NOW - AUTHORITY));
    assert_eq!(write, Write::Nothing);
}

/// A cluster in a model: several replicas decide over years, each on what it saw at its own last look, and
/// API servers trust what the bundle was a minute ago.
#[test]
fn whatever_the_order_of_looks_api_servers_trust_what_is_served() {
    for seed in 0..20 {
        let mut model = Model::new(seed);
        let end = NOW + 3 * AUTHORITY;
        while model.now < end {
            model.step();
        }
        assert!(model.authorities > 3, "{}", model.authorities);
    }
}

struct Model {
    random: fastrand::Rng,
    now: i64,
    kept: Kept,
    bundle: Vec<Id>,
    /// What the bundle was, and until when.
    before: (Vec<Id>, i64),
    replicas: Vec<Replica>,
    authorities: u8,
}

struct Replica {
    held: Option<Leaf>,
    since: Option<(Id, i64)>,
    draw: f64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut replica = || Replica { held: None, since: None, draw: random.f64() };
        let replicas = vec![replica(), replica(), replica()];
        let (kept, bundle, before) = (Kept::default(), Vec::new(), (Vec::new(), 0));
        Self { random, now: NOW, kept, bundle, before, replicas, authorities: 0 }
    }

    /// One replica looks; hours pass while nothing is under way.
    fn step(&mut self) {
        let looks = self.random.usize(..self.replicas.len());
        let state = self.seen_by(looks);
        let plan = decide(&state);
        if plan.serve == Serve::Kept {
            self.replicas[looks].held = state.kept.serving;
        }
        self.all_that_is_served_is_trusted();
        match plan.write {
            Write::Nothing => self.now += self.random.i64(5..40 * HOUR),
            Write::Bundle => {
                let ids = self.kept.authorities.iter().map(|each| each.id).collect();
                self.before = (std::mem::replace(&mut self.bundle, ids), self.now + 60);
                self.now += self.random.i64(1..20);
            }
            Write::Secret(edits) => {
                for edit in edits {
                    self.apply(edit, looks);
                }
                self.now += self.random.i64(1..20);
            }
        }
        self.all_that_is_served_is_trusted();
    }

    fn seen_by(&mut self, looks: usize) -> State {
        let newest = self.kept.authorities.last().map(|newest| newest.id);
        let replica = &mut self.replicas[looks];
        let trusted = newest.filter(|newest| self.bundle.contains(newest));
        replica.since = trusted.map(|newest| match replica.since {
            Some((before, since)) if before == newest => (newest, since),
            _ => (newest, self.now),
        });
        let for_secs = replica.since.map_or(0, |(_, since)| self.now - since);
        State {
            kept: self.kept.clone(),
            bundle: Bundle::Of { trusted: self.bundle.clone(), clean: true },
            held: replica.held,
            trusted_for: Duration::from_secs(u64::try_from(for_secs).unwrap()),
            settle: Duration::from_secs(300),
            now: Timestamp::from_secs(self.now),
            draw: Draw::of(replica.draw),
        }
    }

    fn span(&self, life: i64) -> Span {
        let at = Timestamp::from_secs;
        Span { from: at(self.now), until: at(self.now + life) }
    }

    fn apply(&mut self, edit: Edit, looks: usize) {
        let kept = self.kept.clone();
        match edit {
            Edit::Restore => self.kept.serving = self.replicas[looks].held,
            Edit::Authority => {
                self.authorities += 1;
                let made = Authority { id: id(self.authorities), span: self.span(AUTHORITY) };
                self.kept.authorities.push(made);
                self.kept.newest_signs = true;
            }
            Edit::Issue => {
                let issuer = kept.authorities.last().unwrap().id;
                self.kept.serving = Some(Leaf { issuer, span: self.span(LEAF) });
                self.kept.previous.extend(kept.serving.filter(|before| before.issuer != issuer));
            }
            Edit::Retire(id) => self.kept.authorities.retain(|each| each.id != id),
        }
    }

    /// What a replica serves is trusted by an API server that knows the newest bundle, and by one that
    /// is a minute behind.
    fn all_that_is_served_is_trusted(&self) {
        for held in self.replicas.iter().filter_map(|replica| replica.held) {
            if held.span.has_ended(Timestamp::from_secs(self.now)) {
                // It was asleep for more than ten days, as no replica is.
                continue;
            }
            assert!(self.bundle.contains(&held.issuer), "{held:?} at {}", self.now);
            let behind = self.now < self.before.1 && !self.before.0.is_empty();
            assert!(!behind || self.before.0.contains(&held.issuer), "{held:?} at {}", self.now);
        }
    }
}
