//! The life of tokens: what each rule costs in calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::super::login::Ambient;
use super::super::tests::{World, secret, secs, ttl};
use super::*;
use crate::config::vault::{Login, RoleId, SecretId};
use crate::dev::vault::{self, Fault, FaultKind, Material, Operation, TokenKind};

fn granted(max: Option<u64>, ttl: u64) -> vault::Grant {
    vault::Grant { ttl: secs(ttl), max_ttl: max.map(secs), ..vault::Grant::default() }
}

/// What a policy forbids.
fn without(path: &str, ttl: u64) -> vault::Grant {
    vault::Grant { denied: vec![path.to_owned()], ..granted(None, ttl) }
}

/// A login by a secret id, which may not be possible again.
async fn approle(grant: vault::Grant) -> World {
    let material = Material::AppRole {
        role_id: "role-id".into(),
        secret_ids: vec![vault::SecretId { value: secret("secret-id"), uses: 0 }],
    };
    let world = World::new("approle", material, grant).await;
    let login = Login::AppRole {
        mount: "approle".parse().unwrap(),
        role_id: RoleId::Plain("role-id".into()),
        secret_id: SecretId::File(world.write("secret-id", "secret-id\n")),
    };
    world.by(login, Ambient::Nothing)
}

/// Runs the upkeep until Vault was asked so often to renew.
async fn keep_alive_until(world: &World, renewals: u64) {
    let mut upkeep = pin!(world.session.keep_alive(&world.metrics));
    while world.count(Operation::RenewSelf) < renewals {
        assert!(upkeep.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    // The answer is read when the turn is free again.
    drop(world.session.shared.turn.lock().await);
}

/// Polls the upkeep once and waits for what that may have begun.
async fn keep_alive_once(world: &World) {
    assert!(pin!(world.session.keep_alive(&world.metrics)).now_or_never().is_none());
    tokio::task::yield_now().await;
    drop(world.session.shared.turn.lock().await);
}

#[tokio::test]
async fn a_token_is_used_as_long_as_it_serves() {
    let world = World::kubernetes(ttl(3600)).await;
    let first = world.read().await;
    world.pass(3500);
    assert!(Arc::ptr_eq(&first, &world.read().await));
    assert_eq!(world.calls(), [1, 0, 0]);
    assert_eq!(world.vault.ledger().calls()[0].namespace.as_deref(), Some("team/auth"));
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_and_one_that_ended_is_replaced() {
    let world = World::kubernetes(ttl(3600)).await;
    let first = world.read().await;
    world.pass(3595);
    assert!(Arc::ptr_eq(&first, &world.read().await));
    assert_eq!(world.calls(), [1, 1, 0]);
    let End::At(end) = first.end() else { panic!("no end") };
    assert!(end.remaining(world.manual.clock().now()) > secs(3590));
    world.pass(3601);
    assert!(!Arc::ptr_eq(&first, &world.read().await));
    assert_eq!(world.calls(), [2, 1, 0]);
}

#[tokio::test]
async fn many_who_want_a_token_make_one_login() {
    let world = World::kubernetes(ttl(3600)).await;
    let tokens = join_all((0..20).map(|_| world.read())).await;
    assert!(tokens.iter().all(|token| Arc::ptr_eq(token, &tokens[0])));
    assert_eq!(world.calls(), [1, 0, 0]);
}

#[tokio::test]
async fn what_dies_with_the_token_gets_one_that_lives_long_enough() {
    let world = World::kubernetes(granted(Some(7200), 3600)).await;
    let hour = Need::Outlive(secs(3600));
    let first = world.token(hour).await.unwrap();
    // Nine tenths of a life are enough where more can't be had.
    world.pass(300);
    world.token(hour).await.unwrap();
    assert_eq!(world.calls(), [1, 0, 0]);
    world.pass(300);
    assert!(Arc::ptr_eq(&first, &world.token(hour).await.unwrap()));
    assert_eq!(world.calls(), [1, 1, 0], "renewed");
    // A renewal is cut by the maximum: a login in its place, before the end.
    world.pass(3500);
    let second = world.token(hour).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(world.calls(), [2, 2, 0]);
    assert!(!first.is_revoked());
    assert_eq!(world.vault.tokens_alive(), 2, "the one before is left to its end");
    // A fresh one is used, whatever is wanted.
    world.token(Need::Outlive(Duration::MAX)).await.unwrap();
    assert_eq!(world.calls(), [2, 2, 0]);
}

#[tokio::test]
async fn a_policy_without_renewal_is_asked_once() {
    let world = approle(without("auth/token/renew-self", 3600)).await;
    let first = world.read().await;
    world.pass(2500);
    keep_alive_until(&world, 1).await;
    keep_alive_once(&world).await;
    assert!(Arc::ptr_eq(&first, &world.read().await), "it is used until its end");
    world.token(Need::Outlive(secs(3000))).await.unwrap();
    assert_eq!(world.calls(), [2, 1, 0]);
}

#[tokio::test]
async fn batch_tokens_are_neither_renewed_nor_revoked() {
    let grant = vault::Grant { kind: TokenKind::Batch, ..ttl(3600) };
    let world = approle(grant).await;
    world.read().await;
    world.pass(3000);
    keep_alive_once(&world).await;
    world.token(Need::Outlive(secs(3600))).await.unwrap();
    world.session.end().await;
    assert_eq!(world.calls(), [2, 0, 0]);
    assert_eq!(world.count(Operation::RevokeSelf), 0);
}

#[tokio::test]
async fn a_period_is_given_again_and_again() {
    let grant = vault::Grant { period: Some(secs(600)), ttl: secs(600), ..granted(None, 600) };
    let world = approle(grant).await;
    let first = world.read().await;
    for renewals in 1..=5 {
        world.pass(500);
        keep_alive_until(&world, renewals).await;
    }
    assert!(Arc::ptr_eq(&first, &world.read().await));
    assert_eq!(world.calls(), [1, 5, 0]);
}

#[tokio::test]
async fn a_renewal_that_a_maximum_cuts_is_the_last() {
    let world = approle(granted(Some(4000), 3600)).await;
    world.read().await;
    world.pass(2500);
    keep_alive_until(&world, 1).await;
    world.pass(1400);
    keep_alive_once(&world).await;
    world.read().await;
    assert_eq!(world.calls(), [1, 1, 0]);
}

#[tokio::test]
async fn the_last_use_of_a_token_is_never_used() {
    let grant = vault::Grant { num_uses: 3, ..ttl(3600) };
    let world = World::kubernetes(grant).await;
    let first = world.read().await;
    assert!(Arc::ptr_eq(&first, &world.read().await));
    assert!(!first.spend());
    assert!(!Arc::ptr_eq(&first, &world.read().await));
    assert_eq!(world.calls(), [2, 0, 0]);

    let once = World::kubernetes(vault::Grant { num_uses: 1, ..ttl(3600) }).await;
    let failure = once.token(Need::Read).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
}

#[tokio::test]
async fn a_renewal_that_fails_for_now_leaves_the_token_in_use() {
    let world = World::kubernetes(ttl(3600)).await;
    let first = world.read().await;
    world.pass(2000);
    world.vault.faults().set(vec![Fault::every("", FaultKind::status(503, "Vault is sealed"))]);
    for _ in 0..5 {
        assert!(Arc::ptr_eq(&first, &world.token(Need::Outlive(secs(3600))).await.unwrap()));
    }
    assert_eq!(world.calls(), [1, 1, 0], "it is backed off from");
    world.vault.faults().set(Vec::new());
    world.pass(11);
    assert!(Arc::ptr_eq(&first, &world.token(Need::Outlive(secs(3600))).await.unwrap()));
    assert_eq!(world.calls(), [1, 2, 0]);
}

#[tokio::test]
async fn where_no_login_succeeds_a_token_with_life_left_is_used_on() {
    let world = World::kubernetes(without("auth/token/renew-self", 3600)).await;
    let first = world.read().await;
    world.pass(2000);
    world.vault.faults().set(vec![Fault::every("auth/k8s", FaultKind::status(403, "denied"))]);
    assert!(Arc::ptr_eq(&first, &world.token(Need::Outlive(secs(3600))).await.unwrap()));
    world.pass(1600);
    assert_eq!(world.token(Need::Read).await.unwrap_err().cause, Cause::StaleCaller);
}

#[tokio::test(start_paused = true)]
async fn a_failed_login_is_shared_for_a_while_that_grows() {
    let world = World::kubernetes(ttl(3600)).await;
    world.vault.faults().set(vec![Fault::every("", FaultKind::status(403, "permission denied"))]);
    let failures = join_all((0..20).map(|_| world.token(Need::Read))).await;
    assert!(
        failures.iter().all(|failure| failure.as_ref().unwrap_err().cause == Cause::StaleCaller)
    );
    assert_eq!(world.calls(), [1, 0, 0]);
    for (logins, hold) in [(2, 2), (3, 4), (4, 8), (5, 15), (6, 15), (7, 15)] {
        world.pass(hold - 1);
        let again = world.token(Need::Read).await.unwrap_err();
        assert!(again.reason.contains("the last login said so"), "{again}");
        assert_eq!(world.count(Operation::Login), logins - 1, "{hold}");
        world.pass(1);
        world.token(Need::Read).await.unwrap_err();
        assert_eq!(world.count(Operation::Login), logins, "{hold}");
    }
    world.vault.faults().set(Vec::new());
    world.pass(15);
    world.read().await;
}

#[tokio::test]
async fn a_login_goes_on_when_whoever_wanted_it_is_gone() {
    let world = World::kubernetes(ttl(3600)).await;
    {
        let mut asked = pin!(world.token(Need::Read));
        assert!(asked.as_mut().now_or_never().is_none());
    }
    world.read().await;
    assert_eq!(world.calls(), [1, 0, 0]);
}

#[tokio::test]
async fn a_policy_s_refusal_is_told_from_a_bad_token_s() {
    let world = World::kubernetes(ttl(3600)).await;
    let token = world.read().await;
    let verdict = world.session.refused(&token, false, &world.metrics).await.unwrap();
    assert_eq!(verdict, Verdict::Policy);
    assert_eq!(world.calls(), [1, 0, 1]);

    world.vault.revoke_all_tokens();
    let judged =
        join_all((0..5).map(|_| world.session.refused(&token, false, &world.metrics))).await;
    assert!(judged.iter().all(|verdict| *verdict == Ok(Verdict::Token)), "{judged:?}");
    assert_eq!(world.calls(), [1, 0, 2], "it is looked up once");
    assert!(token.is_revoked());
    assert!(!Arc::ptr_eq(&token, &world.read().await));
    assert_eq!(world.calls(), [2, 0, 2]);
}

#[tokio::test]
async fn a_young_token_that_may_not_look_at_itself_lacks_a_policy() {
    let world = World::kubernetes(without("auth/token/lookup-self", 3600)).await;
    let token = world.read().await;
    let refused = || world.session.refused(&token, false, &world.metrics);
    assert_eq!(refused().await, Ok(Verdict::Policy));
    world.pass(61);
    // Vault before 1.17 would say the same of a bad one.
    assert_eq!(refused().await, Ok(Verdict::Unclear));
    assert!(!token.is_revoked(), "nobody is told before another token shows it");
    world.session.settle(&token, true);
    assert_eq!(refused().await, Ok(Verdict::Policy), "that is known from now on");
}

#[tokio::test]
async fn a_vault_that_cannot_say_leaves_the_token_alone() {
    let world = World::kubernetes(ttl(3600)).await;
    let token = world.read().await;
    world.vault.faults().set(vec![Fault::every("", FaultKind::status(503, "Vault is sealed"))]);
    let unsure = world.session.refused(&token, false, &world.metrics).await;
    assert_eq!(unsure.unwrap_err().cause, Cause::Transient);
    assert!(!token.is_revoked());
}

#[tokio::test]
async fn everybody_is_told_of_a_revoked_token_once() {
    let world = World::kubernetes(ttl(3600)).await;
    let token = world.read().await;
    let (mut first, mut second) = (world.session.watcher(), world.session.watcher());
    assert!(pin!(world.session.revoked(&mut first, &world.metrics)).now_or_never().is_none());
    for _ in 0..3 {
        let verdict = world.session.refused(&token, true, &world.metrics).await;
        assert_eq!(verdict, Ok(Verdict::Token));
    }
    assert!(pin!(world.session.revoked(&mut first, &world.metrics)).now_or_never().is_some());
    assert!(pin!(world.session.revoked(&mut second, &world.metrics)).now_or_never().is_some());
    assert!(pin!(world.session.revoked(&mut first, &world.metrics)).now_or_never().is_none());
    assert_eq!(world.calls(), [1, 0, 0]);
}

#[tokio::test]
async fn a_token_past_its_end_was_not_revoked() {
    let world = World::kubernetes(ttl(60)).await;
    let token = world.read().await;
    let mut watcher = world.session.watcher();
    world.pass(61);
    let verdict = world.session.refused(&token, true, &world.metrics).await;
    assert_eq!(verdict, Ok(Verdict::Token));
    assert!(!token.is_revoked());
    assert!(pin!(world.session.revoked(&mut watcher, &world.metrics)).now_or_never().is_none());
}

#[tokio::test]
async fn a_renewal_that_finds_the_token_revoked_logs_in() {
    let world = World::kubernetes(ttl(3600)).await;
    let first = world.read().await;
    world.vault.revoke_all_tokens();
    world.pass(1000);
    assert!(!Arc::ptr_eq(&first, &world.token(Need::Outlive(secs(3600))).await.unwrap()));
    assert!(first.is_revoked());
    assert_eq!(world.calls(), [2, 1, 0]);
}

#[tokio::test]
async fn what_can_be_logged_in_for_again_is_not_kept_alive() {
    let world = World::kubernetes(ttl(3600)).await;
    world.read().await;
    world.pass(3500);
    keep_alive_once(&world).await;
    assert_eq!(world.calls(), [1, 0, 0]);
}

#[tokio::test]
async fn many_who_wait_renew_once_at_two_thirds_of_the_life() {
    let world = approle(ttl(3600)).await;
    world.read().await;
    world.pass(2000);
    keep_alive_once(&world).await;
    assert_eq!(world.calls(), [1, 0, 0], "not before");
    world.pass(401);
    let mut upkeep: Vec<_> =
        (0..20).map(|_| Box::pin(world.session.keep_alive(&world.metrics))).collect();
    while world.count(Operation::RenewSelf) == 0 {
        for one in &mut upkeep {
            assert!(one.as_mut().now_or_never().is_none());
        }
        tokio::task::yield_now().await;
    }
    drop(upkeep);
    drop(world.session.shared.turn.lock().await);
    keep_alive_once(&world).await;
    assert_eq!(world.calls(), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_upkeep_backs_off() {
    let world = approle(ttl(36_000)).await;
    world.read().await;
    world.pass(24_001);
    world.vault.faults().set(vec![Fault::every("", FaultKind::status(503, "Vault is sealed"))]);
    for (renewals, wait) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300)] {
        keep_alive_until(&world, renewals).await;
        world.pass(wait - 1);
        keep_alive_once(&world).await;
        assert_eq!(world.count(Operation::RenewSelf), renewals);
        world.pass(1);
    }
}

#[tokio::test]
async fn the_end_revokes_every_token_on_which_keys_hang() {
    let world = World::kubernetes(granted(Some(3600), 3600)).await;
    let held = world.read().await;
    world.pass(1800);
    world.token(Need::Outlive(secs(3600))).await.unwrap();
    assert_eq!(world.vault.tokens_alive(), 2);
    world.session.end().await;
    assert_eq!(world.count(Operation::RevokeSelf), 2);
    assert_eq!(world.vault.tokens_alive(), 0);
    drop(held);
}

#[tokio::test]
async fn nobody_else_s_token_is_revoked() {
    let world = World::kubernetes(ttl(3600)).await;
    let theirs = world.read().await;
    let path = world.write("sink", theirs.secret().expose());
    let world = world.by(Login::TokenFile { path }, Ambient::Nothing);
    assert!(!world.read().await.is_ours());
    world.session.end().await;
    assert_eq!(world.count(Operation::RevokeSelf), 0);
}

#[test]
fn a_root_token_never_ends() {
    let now = crate::clock::Clock::system().now();
    let grant = Grant {
        secret: secret("root"),
        owner: Owner::Other,
        kind: Kind::Service,
        started: now,
        life: None,
        renewable: false,
        uses: None,
    };
    let metrics = crate::metrics::Metrics::new().profile(&"app".parse().unwrap());
    let token = Token::new(&grant, metrics);
    assert_eq!(token.end(), End::Never);
    assert!(token.serves(Need::Outlive(Duration::MAX), now + secs(1 << 40)));
    assert!(!format!("{token:?}").contains("root"));
}
