//! The commands beside `serve`, with and without a relay that runs.

use std::fs;

use credential_relay::dev::sts::{Action, Fault, FaultKind, IssuedLifetime};

use crate::common::{HUB, SPOKE, USER_KEY, USER_SECRET, World, two_hops};
use crate::harness::{Left, Program, run, write_config};

fn assumptions(world: &World) -> u64 {
    world.sts.ledger().count(Action::AssumeRole)
}

async fn get(config: &str, format: &str) -> Left {
    run(&["get", "payments", "--format", format, "--config", config], &[]).await
}

#[tokio::test]
async fn get_prints_what_the_relay_holds_and_fetches_nothing() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let mut relay = Program::serve(&world, &text, &[]);
    let place = relay.place(&world.path("admin.sock")).await;
    let served = place.answers(&world, "payments", 200).await.json();
    let config = write_config(&world, &text);
    let config = config.to_str().unwrap();
    for call in 0..20 {
        let format = ["process", "env", "json"][call % 3];
        let left = get(config, format).await;
        assert_eq!(left.code, Some(0), "{left:?}");
        assert_eq!(left.err, "");
        let member = |name: &str| served[name].as_str().unwrap();
        if format == "env" {
            for (variable, name) in [
                ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
                ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
                ("AWS_SESSION_TOKEN", "Token"),
                ("AWS_CREDENTIAL_EXPIRATION", "Expiration"),
            ] {
                let line = format!("export {variable}='{}'\n", member(name));
                assert!(left.out.contains(&line), "{variable}");
            }
            continue;
        }
        let printed: serde_json::Value = serde_json::from_str(&left.out).unwrap();
        if format == "json" {
            assert!(printed == served);
        } else {
            assert_eq!(printed["Version"], 1);
            assert!(printed["AccessKeyId"] == served["AccessKeyId"]);
            assert!(printed["SecretAccessKey"] == served["SecretAccessKey"]);
            assert!(printed["SessionToken"] == served["Token"]);
            assert!(printed["Expiration"] == served["Expiration"]);
        }
    }
    assert_eq!(assumptions(&world), 2, "the relay's own first fetch");

    let left = run(&["status", "--config", config], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.out.contains(served["AccessKeyId"].as_str().unwrap()), "{left:?}");
    let left = run(&["status", "--json", "--config", config], &[]).await;
    let status: serde_json::Value = serde_json::from_str(&left.out).unwrap();
    assert_eq!(status["profiles"][0]["state"], "ready");
    for probe in ["live", "ready", "startup"] {
        let left = run(&["healthcheck", "--probe", probe, "--config", config], &[]).await;
        assert_eq!(left.code, Some(0), "{left:?}");
    }
    let left = run(&["rotate", "payments", "--config", config], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let now = place.credential(&world, "payments").await.key_id();
    assert!(left.out.starts_with(&format!("payments: now {now} until ")), "{left:?}");
    let left = run(&["rotate", "nobody", "--config", config], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.err.contains("there is no profile of that name"), "{left:?}");
}

#[tokio::test]
async fn get_fetches_itself_where_no_relay_runs() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, &world.text(&[("payments", &two_hops())]));
    let left = get(config.to_str().unwrap(), "process").await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let printed: serde_json::Value = serde_json::from_str(&left.out).unwrap();
    assert!(printed["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
    assert_eq!(assumptions(&world), 2);
    let left = run(&["get", "nobody", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(left.err.contains("there are: payments"), "{left:?}");
}

/// What a relay refuses, `get` does not fetch behind its back.
#[tokio::test]
async fn get_tells_what_the_relay_answers() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let own = World::live(IssuedLifetime::AsAsked).await;
    let denied = two_hops().replace("open-sesame", "open-barley");
    let profiles = [("payments", two_hops()), ("denied", denied)];
    let profiles = profiles.each_ref().map(|(name, chain)| (*name, chain.as_str()));
    let text = world.text(&profiles);
    let mut relay = Program::serve(&world, &text, &[]);
    let place = relay.place(&world.path("admin.sock")).await;
    place.answers(&world, "denied", 403).await;
    // `get` has a configuration of its own, whose upstream would grant everything.
    let upstream = format!("{{ region: us-east-1, endpoint: 'http://{}' }}", own.address);
    let config = write_config(&own, &world.text_with(&upstream, &profiles));
    let config = config.to_str().unwrap();
    let left = run(&["get", "denied", "--config", config], &[]).await;
    assert_eq!((left.code, left.out.as_str()), (Some(1), ""), "{left:?}");
    assert!(left.err.contains("answered 403: "), "{left:?}");
    assert!(left.err.contains("is not authorized to perform: sts:AssumeRole"), "{left:?}");
    let left = run(&["rotate", "denied", "--config", config], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.err.contains("denied was not rotated: hop 2 ("), "{left:?}");
    let left = run(&["healthcheck", "--config", config], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.err.contains("denied: not ready: hop 2 ("), "{left:?}");
    drop(relay);

    world.sts.faults().set(vec![Fault::every(FaultKind::Garbage)]);
    let mut relay = Program::serve(&world, &text, &[]);
    relay.place(&world.path("admin.sock")).await;
    relay.says("refresh failed").await;
    let left = run(&["get", "payments", "--config", config], &[]).await;
    assert_eq!((left.code, left.out.as_str()), (Some(1), ""), "{left:?}");
    assert!(left.err.contains("answered 503: "), "{left:?}");
    assert!(left.err.contains("hop 1 ("), "{left:?}");
    assert_eq!(own.sts.ledger().calls(), []);
}

#[tokio::test]
async fn check_tells_warnings_and_prints_the_schema() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let long = two_hops().replace("open-sesame", "open-sesame, duration: 2h");
    let config = write_config(&world, &world.text(&[("payments", &long)]));
    let left = run(&["check", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let told = left
        .out
        .lines()
        .any(|line| line.starts_with("warning: ") && line.contains("chain[1].duration"));
    assert!(told, "{left:?}");
    assert!(
        left.out.contains("payments: file -> 2 hop(s) -> arn:aws:iam::444455556666:role/spoke"),
        "{left:?}"
    );
    assert_eq!(world.sts.ledger().calls(), [], "nobody was asked");

    let mut relay = Program::start(
        &["serve", "--config", config.to_str().unwrap()],
        &[("CREDENTIAL_RELAY_LOG", "warn")],
    );
    relay.place(&world.path("admin.sock")).await;
    relay.says("chain[1].duration").await;

    let left = run(&["check", "--schema"], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let schema: serde_json::Value = serde_json::from_str(&left.out).unwrap();
    assert!(schema["properties"]["profiles"].is_object(), "{schema}");
}

#[tokio::test]
async fn inject_checks_its_configuration_and_prints_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("injector.yaml");
    let path = file.to_str().unwrap();
    let right = include_str!("../inject_cases/injector.yaml");
    fs::write(&file, right).unwrap();
    let left = run(&["inject", "--check", "--config", path], &[]).await;
    assert_eq!(
        (left.code, left.out.as_str()),
        (Some(0), "the configuration is right\n"),
        "{left:?}"
    );
    fs::write(&file, right.replace("image:", "imgae:")).unwrap();
    let left = run(&["inject", "--config", path], &[]).await;
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(left.err.contains("sidecar.imgae: not known here; did you mean image?"), "{left:?}");
    let left = run(&["inject", "--schema"], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let schema: serde_json::Value = serde_json::from_str(&left.out).unwrap();
    assert!(schema["properties"]["policy"].is_object(), "{schema}");
}

/// As it stands in a pod that was injected.
#[tokio::test]
async fn a_text_in_a_variable_is_a_configuration_that_serves() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let variables = [("CREDENTIAL_RELAY_CONFIG_TEXT", text.as_str())];
    let mut relay = Program::start(&["serve"], &variables);
    let place = relay.place(&world.path("admin.sock")).await;
    place.answers(&world, "payments", 200).await;
    let left = run(&["healthcheck"], &variables).await;
    assert_eq!(left.code, Some(0), "{left:?}");
}

#[tokio::test]
async fn variables_alone_are_a_configuration_that_serves() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let roles = format!("{HUB},{SPOKE}");
    let upstream = format!("http://{}", world.address);
    let (socket, token) = (world.path("admin.sock"), world.token_file("default"));
    let variables = [
        ("CREDENTIAL_RELAY_ROLE_ARN", roles.as_str()),
        ("CREDENTIAL_RELAY_EXTERNAL_ID", "open-sesame"),
        ("CREDENTIAL_RELAY_SESSION_NAME", "by-variables"),
        ("CREDENTIAL_RELAY_LISTEN", "127.0.0.1:0"),
        ("CREDENTIAL_RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("CREDENTIAL_RELAY_ADMIN_SOCKET", socket.to_str().unwrap()),
        ("CREDENTIAL_RELAY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_STS", upstream.as_str()),
        ("AWS_ACCESS_KEY_ID", USER_KEY),
        ("AWS_SECRET_ACCESS_KEY", USER_SECRET),
    ];
    let mut relay = Program::start(&["serve"], &variables);
    let place = relay.place(&socket).await;
    let served = place.answers(&world, "default", 200).await.json();
    assert_eq!(served["RoleArn"], SPOKE, "{}", fs::read_to_string(&token).unwrap().len());
    let left = run(&["get", "--format", "json"], &variables).await;
    assert!(serde_json::from_str::<serde_json::Value>(&left.out).unwrap() == served);
    assert_eq!(world.assumed(), ["hub", "spoke"]);
}

#[tokio::test]
async fn get_needs_no_token_file_where_no_relay_runs() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let get_from = async |endpoint: &str| {
        let config = write_config(&world, &text.replacen("127.0.0.1:0", endpoint, 1));
        get(config.to_str().unwrap(), "process").await
    };
    // Nobody has listened on this port for decades.
    let left = get_from("127.0.0.1:1").await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let left = get_from(&world.address.to_string()).await;
    assert_eq!(left.code, Some(1), "somebody listens: {left:?}");
    assert!(left.err.contains("access.token_file "), "{left:?}");
    assert!(!world.token_file("payments").exists());
}

#[tokio::test]
async fn what_cannot_be_printed_fails() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, &world.text(&[("payments", &two_hops())]));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_credential-relay"))
        .args(["check", "--config", config.to_str().unwrap()])
        .env_clear()
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("standard output cannot be written"), "{said}");
}

#[tokio::test]
async fn check_finds_the_ca_file_on_which_serve_would_not_start() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    fs::write(world.path("ca.pem"), "no certificate").unwrap();
    let sts = format!("{{ region: us-east-1, ca_cert: {} }}", world.path("ca.pem").display());
    let chain = two_hops();
    let text = world.text_with(&sts, &[("payments", &chain), ("reports", &chain)]);
    let config = write_config(&world, &text);
    let left = run(&["check", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    for profile in ["payments", "reports"] {
        let said = format!("FAILED: profiles.{profile}: sts.ca_cert: ");
        assert!(left.out.contains(&said), "{left:?}");
    }
    assert!(!left.out.contains("the configuration is right"), "{left:?}");
}

/// `get` prints them all the same: as a `credential_process` it may.
#[tokio::test]
async fn check_refuses_the_keys_that_serve_refuses() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, &world.text(&[("payments", "[]")]));
    let config = config.to_str().unwrap();
    let left = run(&["check", "--connect", "--config", config], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    let whose = format!("payments: {USER_KEY} is arn:aws:iam::111122223333:user/base");
    let why = format!(
        "FAILED at the endpoint, which does not serve them: the keys {USER_KEY} have no session token"
    );
    for said in [&whose, &why, "a chain", "get_session_token", "serve_long_lived_keys"] {
        assert!(left.out.contains(said), "{said}: {left:?}");
    }
    let printed = get(config, "process").await;
    assert_eq!(printed.code, Some(0));
    assert!(printed.out.contains(USER_KEY) && !printed.out.contains("SessionToken"), "{printed:?}");
}
