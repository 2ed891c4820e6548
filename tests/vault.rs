//! Vault's roles through the real client, against the embedded Vault over real sockets, under a
//! clock that the test moves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must end")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{HUB, World, parse};
use credential_relay::app::assemble::Workshop;
use credential_relay::clock::Timestamp;
use credential_relay::credential::{Credential, Principal, Propagation, Secret, Session, Validity};
use credential_relay::dev::sts::IssuedLifetime;
use credential_relay::dev::vault::{
    Canned, CredentialType, Fault, FaultKind, Grant, Lease, Login, Material, Operation, Role,
    Settings, StaticRole, Vault,
};
use credential_relay::failure::{Cause, Failure};
use credential_relay::schedule::{self, Draw};
use credential_relay::sources::{Freshness, Source};
use futures_util::FutureExt;

const HOUR: Duration = Duration::from_secs(3600);
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpwYXltZW50cyJ9.MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5";

/// An embedded Vault with one role of each kind, and sources over it.
struct Bench {
    world: World,
    vault: Vault,
    address: String,
    /// `vault.timeout`.
    timeout: &'static str,
    workshop: Workshop,
}

fn settings(grant: Grant) -> Settings {
    let role = |kind| Role::new(kind);
    Settings {
        logins: vec![Login {
            mount: "kubernetes".to_owned(),
            role: "app".to_owned(),
            material: Material::Kubernetes { jwt: Secret::new(JWT.to_owned()) },
            grant,
        }],
        roles: BTreeMap::from([
            ("user".to_owned(), role(CredentialType::IamUser)),
            ("hub".to_owned(), role(CredentialType::AssumedRole(vec![HUB.parse().unwrap()]))),
            ("federated".to_owned(), role(CredentialType::FederationToken)),
            ("session".to_owned(), role(CredentialType::SessionToken)),
        ]),
        static_roles: BTreeMap::from([(
            "legacy".to_owned(),
            StaticRole { user: "legacy".to_owned(), period: 2 * HOUR, late: Duration::ZERO },
        )]),
        lease: Lease { ttl: HOUR, max: 4 * HOUR },
        ..Settings::default()
    }
}

/// A token that outlives every lease here.
fn long_token() -> Grant {
    Grant { ttl: 24 * HOUR, max_ttl: Some(48 * HOUR), ..Grant::default() }
}

impl Bench {
    async fn start(grant: Grant) -> Self {
        Self::with(settings(grant)).await
    }

    async fn with(settings: Settings) -> Self {
        let world = World::start(IssuedLifetime::AsAsked).await;
        let (vault, address) = world.vault(settings);
        std::fs::write(world.path("jwt"), format!("{JWT}\n")).unwrap();
        let workshop = Workshop::new(world.clock.clone(), world.metrics.clone(), &[]);
        Self { world, vault, address: format!("http://{address}"), timeout: "2s", workshop }
    }

    /// The source of a profile with this `source.vault`, and more of the profile.
    fn source(&mut self, name: &str, vault: &str, more: &str) -> Box<dyn Source> {
        let text = format!(
            "{{ sts: {{ region: us-east-1, endpoint: 'http://{}' }},
                vault: {{ address: '{}', timeout: {}, auth: {{ kubernetes: {{ role: app, token_file: {} }} }} }},
                profiles: {{ {name}: {{ source: {{ vault: {vault} }} {more} }} }} }}",
            self.world.address,
            self.address,
            self.timeout,
            self.world.path("jwt").display()
        );
        let config = parse(&text);
        let (name, profile) = config.profiles.first_key_value().unwrap();
        self.workshop.source(name, profile).unwrap()
    }

    fn user(&mut self) -> Box<dyn Source> {
        self.source("user", "{ role: user }", ", serve_long_lived_keys: true")
    }

    fn pass(&self, time: Duration) {
        self.world.manual.suspend(time);
    }

    fn left(&self, credential: &Credential) -> u64 {
        credential.remaining(self.world.clock.now()).unwrap().as_secs()
    }

    fn count(&self, operation: Operation) -> u64 {
        self.vault.ledger().count(operation)
    }

    fn users(&self) -> u64 {
        self.count(Operation::Creds("user".to_owned()))
    }
}

async fn fetch(source: &mut Box<dyn Source>) -> Result<Credential, Failure> {
    source.fetch(Freshness::Reuse).await
}

#[tokio::test]
async fn each_kind_is_what_its_fields_say() {
    let mut bench = Bench::start(long_token()).await;
    for (role, session, propagation) in [
        ("user", false, Propagation::Pending),
        ("hub", true, Propagation::Done),
        ("federated", true, Propagation::Done),
        ("session", true, Propagation::Done),
    ] {
        let mut source = bench.source("p", &format!("{{ role: {role}, ttl: 1h }}"), "");
        let credential = fetch(&mut source).await.unwrap();
        assert_eq!(matches!(credential.session, Session::Token(_)), session, "{role}");
        assert_eq!(credential.propagation, propagation, "{role}");
        assert!((3590..=3600).contains(&bench.left(&credential)), "{role}");
        let Validity::Until(life) = credential.validity else { panic!("{role} has no end") };
        assert_eq!(life.nominal(), HOUR, "{role}: a floored ttl counts as what was asked for");
        assert_eq!(source.kind(), "vault");
    }
    assert_eq!(bench.count(Operation::Login), 1, "one session for all of them");
    let role_arn = format!("{{ role: hub, role_arn: '{HUB}' }}");
    let credential = fetch(&mut bench.source("p", &role_arn, "")).await.unwrap();
    assert_eq!(credential.principal, Principal::Role(HUB.parse().unwrap()));
}

#[tokio::test]
async fn a_users_lease_is_renewed_while_it_pays_and_then_another_user_is_made() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    let first = fetch(&mut source).await.unwrap();
    let mut renewals = 0;
    let second = loop {
        bench.pass(HOUR / 2);
        let next = fetch(&mut source).await.unwrap();
        assert!(bench.left(&next) >= 2600, "what is given is worth it: {}", bench.left(&next));
        if next.access_key_id != first.access_key_id {
            break next;
        }
        renewals += 1;
        assert!(renewals < 10);
    };
    assert_eq!(bench.count(Operation::RenewLease), 7, "every half hour of four, and once in vain");
    assert_eq!((renewals, bench.users(), bench.count(Operation::Login)), (6, 2, 1));
    assert!(bench.left(&second) > 3500);
    assert_eq!(bench.vault.users_alive(), 2, "the old user lives on until nobody holds its keys");
}

#[tokio::test]
async fn keys_are_told_to_end_with_their_token_and_the_login_comes_before_that() {
    let short = Grant { ttl: HOUR / 2, max_ttl: Some(HOUR / 2), ..Grant::default() };
    let mut bench = Bench::start(short).await;
    let mut source = bench.user();
    let first = fetch(&mut source).await.unwrap();
    assert!((1790..=1800).contains(&bench.left(&first)), "the lease says an hour");
    bench.pass(Duration::from_secs(1400));
    let second = fetch(&mut source).await.unwrap();
    assert_ne!(second.access_key_id, first.access_key_id);
    assert!(bench.left(&second) >= 1790, "{}", bench.left(&second));
    assert_eq!(bench.count(Operation::Login), 2);
    assert_eq!(bench.vault.users_alive(), 2, "the first one's token was not revoked");
    bench.pass(Duration::from_secs(401));
    assert_eq!(bench.vault.users_alive(), 1, "it ends no sooner than was told");
}

#[tokio::test]
async fn a_token_that_can_be_renewed_is_and_no_other_user_is_made() {
    let grant = Grant { ttl: HOUR, max_ttl: Some(24 * HOUR), ..Grant::default() };
    let mut bench = Bench::start(grant).await;
    let mut source = bench.user();
    let first = fetch(&mut source).await.unwrap();
    for _ in 0..4 {
        bench.pass(HOUR / 2);
        let same = fetch(&mut source).await.unwrap();
        assert_eq!(same.access_key_id, first.access_key_id);
        assert!(bench.left(&same) >= 3590, "{}", bench.left(&same));
    }
    assert_eq!((bench.count(Operation::Login), bench.count(Operation::RenewSelf)), (1, 4));
    assert_eq!((bench.users(), bench.count(Operation::RenewLease)), (1, 4));
}

#[tokio::test]
async fn sessions_ask_nothing_of_a_token_but_that_it_lives() {
    let short = Grant { ttl: HOUR / 3, max_ttl: Some(HOUR / 3), ..Grant::default() };
    let mut bench = Bench::start(short).await;
    let mut source = bench.source("hub", "{ role: hub, ttl: 1h }", "");
    for _ in 0..3 {
        let credential = fetch(&mut source).await.unwrap();
        assert!(bench.left(&credential) >= 3590);
        bench.pass(HOUR / 2);
    }
    let hub = bench.count(Operation::Creds("hub".to_owned()));
    assert_eq!((hub, bench.count(Operation::Login)), (3, 3), "a login where the token had ended");
    assert_eq!(bench.count(Operation::RenewSelf), 0);
}

#[tokio::test]
async fn an_answer_without_a_lease_or_any_time_is_survived() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("hub", "{ role: hub, ttl: 1h }", "");
    bench.vault.faults().set(vec![Fault::every("aws/creds/", FaultKind::NoLease)]);
    let left = fetch(&mut source).await.map(|credential| bench.left(&credential)).unwrap();
    assert!((3590..=3600).contains(&left), "1.13.0 gives data.ttl alone: {left}");
    bench.vault.faults().set(vec![Fault::every("aws/creds/", FaultKind::NoTimes)]);
    let left = fetch(&mut source).await.map(|credential| bench.left(&credential)).unwrap();
    assert!((890..=900).contains(&left), "{left}");
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_user_for_half_a_minute() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    bench.vault.faults().set(vec![Fault::next("aws/creds/", FaultKind::Lost, 1)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreachable, "{failure}");
    for _ in 0..3 {
        let failure = fetch(&mut source).await.unwrap_err();
        assert!(matches!(failure.cause, Cause::Throttled { retry_after: Some(_) }), "{failure}");
    }
    assert_eq!(bench.users(), 1);
    bench.pass(Duration::from_secs(31));
    fetch(&mut source).await.unwrap();
    assert_eq!(bench.users(), 2);
}

#[tokio::test]
async fn a_refusal_is_no_lost_answer() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    bench.vault.seal(true);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Transient, "{failure}");
    bench.vault.seal(false);
    bench.pass(Duration::from_secs(20));
    fetch(&mut source).await.unwrap();
    assert_eq!(bench.users(), 1);
}

#[tokio::test]
async fn a_token_that_was_revoked_makes_its_keys_suspect_and_heals_in_the_same_fetch() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    let first = fetch(&mut source).await.unwrap();
    assert!(source.suspect().now_or_never().is_none());
    bench.vault.revoke_all_tokens();
    bench.pass(HOUR / 2);
    let second = fetch(&mut source).await.unwrap();
    assert_ne!(second.access_key_id, first.access_key_id);
    assert_eq!(source.suspect().now_or_never(), Some(first.access_key_id));
    assert!(source.suspect().now_or_never().is_none(), "each is told once");
    assert_eq!((bench.users(), bench.count(Operation::Login)), (2, 2));
}

#[tokio::test]
async fn one_who_finds_out_tells_all_who_share_the_session() {
    let mut bench = Bench::start(long_token()).await;
    let mut user = bench.user();
    let mut other = bench.source("hub", "{ role: hub }", "");
    let key = fetch(&mut user).await.unwrap().access_key_id;
    fetch(&mut other).await.unwrap();
    bench.vault.revoke_all_tokens();
    fetch(&mut other).await.unwrap();
    assert_eq!(bench.count(Operation::Login), 2);
    let told = tokio::time::timeout(Duration::from_secs(10), user.suspect()).await;
    assert_eq!(told.unwrap(), key);
    fetch(&mut user).await.unwrap();
    assert_eq!(bench.count(Operation::Login), 2, "the new session is shared too");
}

#[tokio::test]
async fn a_role_of_another_kind_than_was_said_makes_one_user_and_no_more() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("p", "{ role: user, credential_type: assumed_role }", "");
    for _ in 0..3 {
        let failure = fetch(&mut source).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
        assert!(failure.reason.contains("iam_user"), "{failure}");
    }
    assert_eq!(bench.users(), 1);
}

#[tokio::test]
async fn a_federation_token_under_a_chain_is_refused_when_it_comes() {
    let mut bench = Bench::start(long_token()).await;
    let chain = format!(", chain: [{{ role_arn: '{HUB}' }}]");
    let mut source = bench.source("p", "{ role: federated }", &chain);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
    assert!(failure.reason.contains("federation_token"), "{failure}");
}

#[tokio::test]
async fn a_hops_renewal_makes_no_new_user() {
    let mut bench = Bench::start(long_token()).await;
    let chain = format!(", chain: [{{ role_arn: '{HUB}', duration: 1h }}]");
    let mut source = bench.source("p", "{ role: user }", &chain);
    for _ in 0..6 {
        fetch(&mut source).await.unwrap();
        bench.pass(HOUR / 2);
    }
    assert_eq!(bench.users(), 1, "its lease was renewed");
    assert_eq!(bench.world.assumed().len(), 6);
}

#[tokio::test]
async fn break_glass_makes_a_new_user() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    let first = fetch(&mut source).await.unwrap();
    let second = source.fetch(Freshness::Anew).await.unwrap();
    assert_ne!(first.access_key_id, second.access_key_id);
    assert_eq!(bench.count(Operation::Login), 1);
}

#[tokio::test]
async fn a_policy_is_told_from_a_bad_token_by_one_look() {
    let denied = Grant { denied: vec!["aws/creds/user".to_owned()], ..long_token() };
    let mut bench = Bench::start(denied).await;
    let mut source = bench.user();
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
    assert_eq!((bench.count(Operation::Login), bench.count(Operation::LookupSelf)), (1, 1));
}

#[tokio::test]
async fn a_policy_that_forbids_even_a_look_costs_one_login_and_no_user() {
    let denied = ["auth/token/lookup-self", "aws/creds/hub"].map(str::to_owned).to_vec();
    let mut bench = Bench::start(Grant { denied, ..long_token() }).await;
    let mut user = bench.user();
    let mut other = bench.source("hub", "{ role: hub }", "");
    fetch(&mut user).await.unwrap();
    for _ in 0..5 {
        bench.pass(Duration::from_secs(90));
        let failure = fetch(&mut other).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
    }
    assert!(bench.count(Operation::Login) <= 2, "{}", bench.count(Operation::Login));
    assert!(user.suspect().now_or_never().is_none(), "nothing was revoked");
    bench.workshop.vaults.revoke().await;
    assert_eq!(bench.vault.users_alive(), 0, "the token from before is given back too");
}

#[tokio::test]
async fn a_token_that_ends_and_cannot_be_replaced_makes_no_user_that_ends_with_it() {
    let short = Grant { ttl: HOUR / 2, max_ttl: Some(HOUR / 2), ..Grant::default() };
    let mut bench = Bench::start(short).await;
    let mut source = bench.user();
    let first = fetch(&mut source).await.unwrap();
    bench
        .vault
        .faults()
        .set(vec![Fault::every("auth/", FaultKind::status(403, "permission denied"))]);
    for _ in 0..3 {
        bench.pass(Duration::from_secs(400));
        let same = fetch(&mut source).await.unwrap();
        assert_eq!(same.access_key_id, first.access_key_id);
    }
    assert_eq!(bench.users(), 1);
    bench.vault.faults().set(Vec::new());
    bench.pass(Duration::from_secs(30));
    assert_ne!(fetch(&mut source).await.unwrap().access_key_id, first.access_key_id);
}

#[tokio::test]
async fn break_glass_on_what_is_refused_makes_no_more_until_somebody_may_have_mended_it() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("p", "{ role: user, credential_type: assumed_role }", "");
    fetch(&mut source).await.unwrap_err();
    for _ in 0..4 {
        source.fetch(Freshness::Anew).await.unwrap_err();
        bench.pass(Duration::from_secs(60));
    }
    assert_eq!(bench.users(), 1);
    bench.pass(HOUR);
    for _ in 0..2 {
        fetch(&mut source).await.unwrap_err();
    }
    assert_eq!(bench.users(), 2, "it is looked at again after an hour");
}

#[tokio::test]
async fn a_page_of_something_between_is_a_lost_answer_too() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    let reset = "upstream connect error or disconnect/reset before headers";
    let page =
        Canned { headers: Vec::new(), body: reset.into(), ..Canned::error("reset", 503, "") };
    bench.vault.faults().set(vec![Fault::next("aws/creds/", FaultKind::Answer(page), 1)]);
    fetch(&mut source).await.unwrap_err();
    let failure = fetch(&mut source).await.unwrap_err();
    assert!(matches!(failure.cause, Cause::Throttled { .. }), "{failure}");
}

#[tokio::test]
async fn a_life_beyond_the_calendar_is_cut() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("hub", "{ role: hub }", "");
    let endless = FaultKind::Field("/data/ttl", Some(u64::MAX.into()));
    bench.vault.faults().set(vec![Fault::next("aws/creds/", endless, 1)]);
    let credential = fetch(&mut source).await.unwrap();
    assert!(bench.left(&credential) <= 10 * 365 * 86_400);
}

#[tokio::test]
async fn a_node_that_lags_is_asked_again_and_quotas_are_heeded() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("hub", "{ role: hub }", "");
    let stale = || "aws/creds/:stale=2".parse::<Fault>().unwrap();
    bench.vault.faults().set(vec![stale()]);
    fetch(&mut source).await.unwrap();
    let quota = FaultKind::quota(Some(Duration::from_secs(17)));
    bench.vault.faults().set(vec![Fault::next("aws/creds/", quota, 1)]);
    let failure = fetch(&mut source).await.unwrap_err();
    let asked = Some(Duration::from_secs(17));
    assert_eq!(failure.cause, Cause::Throttled { retry_after: asked }, "{failure}");
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_not_to_another_host() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("hub", "{ role: hub }", "");
    let redirect = |to: &str, times| Fault::next("", FaultKind::Redirect(to.to_owned()), times);
    bench.vault.faults().set(vec![redirect(&bench.address, 1)]);
    fetch(&mut source).await.unwrap();
    bench.vault.faults().set(vec![redirect(&bench.address, 2)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
    for elsewhere in ["http://vault.example.com:8200", "https://127.0.0.1:8200"] {
        bench.vault.faults().set(vec![redirect(elsewhere, 1)]);
        let failure = fetch(&mut source).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Misconfigured, "{failure}");
        assert!(failure.reason.contains(elsewhere), "{failure}");
    }
}

#[tokio::test]
async fn garbage_is_survived_and_told_without_its_text() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("hub", "{ role: hub }", "");
    fetch(&mut source).await.unwrap();
    let keys = |pointer: &'static str, value| FaultKind::Field(pointer, value);
    for kind in [
        FaultKind::Garbage,
        FaultKind::Truncated,
        FaultKind::Huge,
        FaultKind::Close,
        keys("/data", None),
        keys("/data/access_key", Some(7.into())),
        keys("/data/access_key", Some("short".into())),
        keys("/data/secret_key", None),
        keys("/lease_duration", Some("soon".into())),
    ] {
        let told = format!("{kind:?}");
        bench.vault.faults().set(vec![Fault::next("aws/creds/", kind, 1)]);
        let failure = fetch(&mut source).await.unwrap_err();
        let may_heal = matches!(failure.cause, Cause::Transient | Cause::Unreachable);
        assert!(may_heal, "{told}: {failure}");
        fetch(&mut source).await.unwrap();
    }
}

#[tokio::test]
async fn a_static_key_is_looked_for_after_its_rotation_and_served_past_it() {
    let mut bench = Bench::start(long_token()).await;
    let mut source =
        bench.source("old", "{ static_role: legacy }", ", serve_long_lived_keys: true");
    let first = fetch(&mut source).await.unwrap();
    let now = bench.world.clock.now();
    let left = bench.left(&first);
    assert!((8090..=8100).contains(&left), "two hours and a quarter: {left}");
    let due = schedule::due(&first.validity, now, Draw::of(0.5)).remaining(now).as_secs();
    assert!((7250..=7320).contains(&due), "a minute or two after the rotation: {due}");
    bench.pass(2 * HOUR + Duration::from_secs(70));
    let second = fetch(&mut source).await.unwrap();
    assert_ne!(second.access_key_id, first.access_key_id);
    assert!(
        first.usable(bench.world.clock.now()),
        "the old key is served until the new one is proven"
    );
    assert_eq!(bench.count(Operation::StaticCreds("legacy".to_owned())), 2);
}

#[tokio::test]
async fn what_lives_is_revoked_at_the_end() {
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.user();
    fetch(&mut source).await.unwrap();
    source.fetch(Freshness::Anew).await.unwrap();
    assert_eq!((bench.vault.users_alive(), bench.vault.tokens_alive()), (2, 1));
    bench.workshop.vaults.revoke().await;
    assert_eq!((bench.vault.users_alive(), bench.vault.tokens_alive()), (0, 0));
    assert_eq!(bench.count(Operation::RevokeSelf), 1);
}

/// On paused time, which goes on by itself to whatever is waited for.
#[tokio::test]
async fn a_vault_that_hangs_holds_the_end_up_for_two_seconds_and_no_more() {
    let mut bench = Bench::start(long_token()).await;
    bench.timeout = "30s";
    let mut source = bench.user();
    fetch(&mut source).await.unwrap();
    bench.vault.faults().set(vec![Fault::every("", FaultKind::Hang)]);
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    bench.workshop.revoke().await;
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(bench.vault.tokens_alive(), 1, "it was asked, and did not answer");
}

#[tokio::test]
async fn the_leases_of_a_token_that_is_not_the_relays_are_revoked_one_by_one() {
    let mut bench = Bench::start(long_token()).await;
    let mut first = bench.user();
    fetch(&mut first).await.unwrap();
    // Whoever keeps the file has logged in: here, another session of the same Vault.
    let token = bench.world.issued.all().into_iter().find(|text| text.starts_with("hvs.")).unwrap();
    std::fs::write(bench.world.path("sink"), token + "\n").unwrap();
    let sink = bench.world.path("sink");
    let vault = format!("{{ role: user, auth: {{ token_file: {{ path: {} }} }} }}", sink.display());
    let mut source = bench.source("sink", &vault, ", serve_long_lived_keys: true");
    fetch(&mut source).await.unwrap();
    assert_eq!(bench.count(Operation::Login), 1);
    drop(first);
    bench.workshop.vaults.revoke().await;
    assert_eq!(bench.count(Operation::RevokeLease), 1);
}

#[tokio::test]
async fn many_profiles_make_one_login() {
    let mut bench = Bench::start(long_token()).await;
    let sources: Vec<_> =
        (0..10).map(|n| bench.source(&format!("p{n}"), "{ role: hub }", "")).collect();
    let fetches = sources.into_iter().map(|mut source| async move { fetch(&mut source).await });
    for fetched in futures_util::future::join_all(fetches).await {
        fetched.unwrap();
    }
    assert_eq!(bench.count(Operation::Login), 1);
    assert_eq!(bench.count(Operation::Creds("hub".to_owned())), 10);
}

#[tokio::test]
async fn a_clock_far_ahead_of_vaults_changes_nothing() {
    // Vault gives durations; the relay's own clock turns them into times.
    let mut bench = Bench::start(long_token()).await;
    let mut source = bench.source("hub", "{ role: hub, ttl: 1h }", "");
    let credential = fetch(&mut source).await.unwrap();
    let Validity::Until(life) = credential.validity else { panic!() };
    let now: Timestamp = bench.world.clock.now().wall;
    assert!(life.expiry().wall.saturating_since(now) <= HOUR);
}
