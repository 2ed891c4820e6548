//! The web identity's role through the real STS client, against the embedded STS over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must end")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{HUB, SPOKE, World, parse};
use credential_relay::app::assemble::{Workshop, attempt_timeout};
use credential_relay::config::Config;
use credential_relay::config::environment::Environment;
use credential_relay::config::load;
use credential_relay::credential::{Credential, Principal, Session};
use credential_relay::dev::sts::{Action, Fault, FaultKind, IssuedLifetime, Outcome};
use credential_relay::dev::vault::{self, Grant, Login, Material};
use credential_relay::failure::{Advice, Cause, Failure, Stage};
use credential_relay::sources::{Freshness, Source};

const ISSUER: &str = "https://oidc.eks.eu-west-1.amazonaws.com/id/TEST";
const SUBJECT: &str = "system:serviceaccount:shop:payments";
const SIGNATURE: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODk";
const WORKER: &str = "arn:aws:iam::111122223333:role/worker";

/// A token that lives for so many seconds from the machine's present.
fn jwt(audience: &str, seconds: i64) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = part(serde_json::json!({ "alg": "RS256", "kid": "1" }));
    let claims = part(serde_json::json!({
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": [audience],
        "exp": common::wall().as_secs() + seconds,
    }));
    format!("{header}.{claims}.{SIGNATURE}")
}

fn good() -> String {
    jwt("sts.amazonaws.com", 3600)
}

fn write(world: &World, text: &str) {
    std::fs::write(world.path("jwt"), text).unwrap();
}

/// A configuration with one profile: more of its `web_identity`, and of itself.
fn config(world: &World, more: &str, chain: &str) -> Config {
    config_of(WORKER, world, more, chain)
}

fn config_of(role: &str, world: &World, more: &str, chain: &str) -> Config {
    parse(&format!(
        "{{ sts: {{ region: us-east-1, endpoint: 'http://{}' }},
            profiles: {{ payments: {{ source: {{ web_identity: {{ role_arn: '{role}', token_file: {} {more} }} }}, chain: {chain} }} }} }}",
        world.address,
        world.path("jwt").display()
    ))
}

fn made(world: &World, config: &Config) -> Box<dyn Source> {
    let (name, profile) = config.profiles.first_key_value().unwrap();
    Workshop::new(world.clock.clone(), world.metrics.clone(), &[]).source(name, profile).unwrap()
}

fn source(world: &World) -> Box<dyn Source> {
    made(world, &config(world, "", "[]"))
}

async fn start() -> World {
    let world = World::start(IssuedLifetime::AsAsked).await;
    write(&world, &good());
    world
}

async fn fetch(source: &mut Box<dyn Source>) -> Result<Credential, Failure> {
    source.fetch(Freshness::Reuse).await
}

fn calls(world: &World) -> u64 {
    world.sts.ledger().count(Action::AssumeRoleWithWebIdentity)
}

/// The layer that is to blame. No part of a token may stand in a reason.
fn layer(failure: &Failure) -> &'static str {
    assert!(!failure.reason.contains("eyJ"), "{failure}");
    assert!(!failure.reason.contains(&SIGNATURE[..16]), "{failure}");
    match failure.advice {
        Advice::Known { layer, .. } => layer,
        Advice::ByCause => "",
    }
}

#[tokio::test]
async fn a_token_gives_a_session_of_the_role_and_needs_no_keys() {
    let world = start().await;
    write(&world, &format!("  {}\n\n", good()));
    let more =
        ", session_name: pay-x, duration: 2h, policy: { Version: '2012-10-17', Statement: [] },
        policy_arns: ['arn:aws:iam::aws:policy/ReadOnlyAccess']";
    let mut source = made(&world, &config(&world, more, "[]"));
    let credential = fetch(&mut source).await.unwrap();
    assert_eq!(credential.principal, Principal::Role(WORKER.parse().unwrap()));
    assert!(matches!(credential.session, Session::Token(_)));
    assert_eq!(credential.remaining(world.clock.now()).unwrap().as_secs().div_ceil(60), 120);
    let calls = world.sts.ledger().calls();
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(call.access_key_id, None, "nobody signs it");
    let Outcome::Assumed(assumption) = &call.outcome else { panic!("{call:?}") };
    assert_eq!(assumption.session_name, "pay-x");
    let text = world.metrics.render();
    let counted = r#"upstream="sts",operation="AssumeRoleWithWebIdentity",result="success"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn the_sdks_variables_are_enough() {
    let world = start().await;
    let (address, path) = (format!("http://{}", world.address), world.path("jwt"));
    let environment: Environment = [
        ("CREDENTIAL_RELAY_SOURCE", "web_identity"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_STS", address.as_str()),
        ("AWS_ROLE_ARN", WORKER),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path.to_str().unwrap()),
        ("AWS_ROLE_SESSION_NAME", "from-the-variable"),
    ]
    .into_iter()
    .collect();
    let config = load::load(None, &environment).unwrap();
    fetch(&mut made(&world, &config)).await.unwrap();
    let calls = world.sts.ledger().calls();
    let Outcome::Assumed(assumption) = &calls[0].outcome else { panic!("{calls:?}") };
    assert_eq!(assumption.session_name, "from-the-variable");
}

#[tokio::test]
async fn hops_stand_on_it_and_its_session_is_reused() {
    let world = start().await;
    let mut source = made(&world, &config(&world, "", &common::two_hops()));
    let credential = fetch(&mut source).await.unwrap();
    assert_eq!(credential.principal, Principal::Role(SPOKE.parse().unwrap()));
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed(), ["worker", "hub", "spoke", "spoke"]);
    world.pass(31);
    write(&world, &jwt("sts.amazonaws.com", 2 * 3600));
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed()[4..], ["worker", "hub", "spoke"]);
}

#[tokio::test]
async fn the_file_is_read_at_each_call() {
    let world = start().await;
    let mut source = source(&world);
    fetch(&mut source).await.unwrap();
    write(&world, &jwt("nobody", 3600));
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!((failure.cause, layer(&failure)), (Cause::StaleCaller, "web identity token"));
    write(&world, &good());
    fetch(&mut source).await.unwrap();
    assert_eq!(calls(&world), 3, "the same token is not shown twice in a row");
}

#[tokio::test]
async fn a_token_that_was_replaced_meanwhile_is_shown_too() {
    let world = start().await;
    let mut source = source(&world);
    write(&world, &jwt("sts.amazonaws.com", -5));
    world.open.send_replace(false);
    let fetching = async {
        let outcome = fetch(&mut source).await;
        (outcome, calls(&world))
    };
    // The first call waits before the STS: its token has been read by then.
    let replacing = async {
        world.arrived.subscribe().wait_for(|calls| *calls > 0).await.unwrap();
        write(&world, &jwt("sts.amazonaws.com", 1800));
        world.open.send_replace(true);
    };
    let ((outcome, calls), ()) = tokio::join!(fetching, replacing);
    outcome.unwrap();
    assert_eq!(calls, 2);
}

#[tokio::test]
async fn a_file_without_a_token_is_told_by_its_name_and_shown_to_nobody() {
    let world = start().await;
    let mut source = source(&world);
    for (text, says) in [
        (None, "it cannot be read"),
        (Some(String::new()), "it is empty (0 bytes"),
        (Some("\n".to_owned()), "it is empty (1 bytes"),
        (Some(format!("{} {}", good(), good())), "visible ASCII characters on one line"),
        (Some(good()[..40].to_owned()), "no JWT"),
        (
            Some("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            "its 40 characters are no JWT",
        ),
    ] {
        match &text {
            Some(text) => write(&world, text),
            None => std::fs::remove_file(world.path("jwt")).unwrap(),
        }
        let failure = fetch(&mut source).await.unwrap_err();
        // Anything but NotConfigured, which would let `auto` go on to another identity.
        assert_eq!(failure.cause, Cause::StaleCaller, "{failure}");
        assert_eq!(failure.stage, Stage::Base("web_identity"));
        assert_eq!(layer(&failure), "web identity token");
        let path = world.path("jwt");
        for words in [says, path.to_str().unwrap(), "AWS_WEB_IDENTITY_TOKEN_FILE"] {
            assert!(failure.reason.contains(words), "{words}: {failure}");
        }
        assert!(!failure.reason.contains("wJalrXUtnFEMI"), "{failure}");
    }
    assert_eq!(calls(&world), 0);
}

#[tokio::test]
async fn a_refusal_says_what_the_token_is_and_what_would_be_right() {
    let world = start().await;
    let mut source = source(&world);
    for (token, says) in [
        (jwt("sts.amazonaws.com", -60), "400 ExpiredTokenException: Token expired"),
        (jwt("vault", 3600), "400 InvalidIdentityToken: Incorrect token audience"),
    ] {
        write(&world, &token);
        let failure = fetch(&mut source).await.unwrap_err();
        assert_eq!((failure.cause, layer(&failure)), (Cause::StaleCaller, "web identity token"));
        for words in [says, ISSUER, SUBJECT] {
            assert!(failure.reason.contains(words), "{words}: {failure}");
        }
    }
    // The spoke wants an external id, which a web identity cannot have.
    write(&world, &good());
    let mut denied = made(&world, &config_of(SPOKE, &world, "", "[]"));
    let failure = fetch(&mut denied).await.unwrap_err();
    assert_eq!((failure.cause, layer(&failure)), (Cause::Denied, "trust policy"));
    assert!(failure.reason.contains(SUBJECT), "{failure}");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_never_served() {
    let world = start().await;
    let mut source = source(&world);
    for kind in [
        FaultKind::PastExpiration,
        FaultKind::NoExpiration,
        FaultKind::Garbage,
        FaultKind::Truncated,
        FaultKind::Outage,
        FaultKind::Close,
        FaultKind::Huge,
    ] {
        world.sts.faults().set(vec![Fault::every(kind)]);
        let failure = fetch(&mut source).await.unwrap_err();
        let trouble = matches!(failure.cause, Cause::Transient | Cause::Unreachable);
        assert!(trouble, "{kind:?}: {failure:?}");
        layer(&failure);
    }
    world.sts.faults().set(vec![Fault::every(FaultKind::Throttle)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Throttled { retry_after: None });
    world.sts.faults().set(vec![Fault::every(FaultKind::AccessDenied)]);
    assert_eq!(layer(&fetch(&mut source).await.unwrap_err()), "trust policy");
}

#[tokio::test]
async fn an_sts_that_never_answers_is_waited_for_within_the_attempts_limit() {
    let world = start().await;
    let config = config(&world, "", "[]");
    let mut source = made(&world, &config);
    world.sts.faults().set(vec![Fault::every(FaultKind::Hang)]);
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreachable, "{failure}");
    let limit = attempt_timeout(&config.profiles["payments"]);
    assert!(began.elapsed() < limit, "{:?} of {limit:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let world = start().await;
    // Nobody has listened on this port for decades; one that was free a moment ago may be somebody's.
    let more = ", endpoint: 'http://127.0.0.1:1'";
    let failure = fetch(&mut made(&world, &config(&world, more, "[]"))).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreachable, "{failure}");
    assert!(failure.reason.contains("refused"), "{failure}");
}

#[tokio::test]
async fn vault_is_logged_in_to_with_it() {
    let world = start().await;
    let (_, address) = world.vault(vault::Settings {
        logins: vec![Login {
            mount: "aws".to_owned(),
            role: "app".to_owned(),
            material: Material::Aws { principal: Some(WORKER.to_owned()), server_id: None },
            grant: Grant::default(),
        }],
        roles: BTreeMap::from([(
            "hub".to_owned(),
            vault::Role::new(vault::CredentialType::AssumedRole(vec![HUB.parse().unwrap()])),
        )]),
        ..vault::Settings::default()
    });
    let text = format!(
        "{{ sts: {{ region: us-east-1, endpoint: 'http://{}' }},
            vault: {{ address: 'http://{address}', timeout: 2s, auth: {{ aws: {{ role: app,
                source: {{ web_identity: {{ role_arn: '{WORKER}', token_file: {} }} }} }} }} }},
            profiles: {{ payments: {{ source: {{ vault: {{ role: hub, credential_type: assumed_role }} }} }} }} }}",
        world.address,
        world.path("jwt").display()
    );
    let config = parse(&text);
    let mut source = made(&world, &config);
    std::fs::remove_file(world.path("jwt")).unwrap();
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Base("vault"));
    assert_eq!(layer(&failure), "web identity token", "{failure}");
    write(&world, &good());
    // A login that failed is not made again at once.
    world.pass(1);
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed(), ["worker"], "the rest is between Vault and AWS");
    let alone = Duration::from_secs(2 * 3);
    assert!(attempt_timeout(&config.profiles["payments"]) > alone, "STS has its own time");
}
