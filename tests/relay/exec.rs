//! `exec`: the program beside a relay of its own, and the ways in which either ends.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use credential_relay::dev::sts::{Action, Fault, FaultKind, IssuedLifetime};
use rustix::process::Signal;

use crate::common::{USER_KEY, USER_SECRET, World, two_hops};
use crate::harness::{Left, Program, ask, eventually, write_config};
use crate::search::Secrets;

const PATH: (&str, &str) = ("PATH", "/usr/local/bin:/usr/bin:/bin");

/// The arguments for a shell's script beside the profile `payments`.
fn arguments<'a>(config: &'a str, script: &'a str) -> Vec<&'a str> {
    vec!["exec", "--config", config, "payments", "--", "/bin/sh", "-c", script]
}

fn start(world: &World, chain: &str, script: &str, more: &[(&str, &str)]) -> Program {
    let config = write_config(world, &world.text(&[("payments", chain), ("reports", chain)]));
    let variables = [&[PATH][..], more].concat();
    Program::start(&arguments(config.to_str().unwrap(), script), &variables)
}

async fn run(world: &World, chain: &str, script: &str, more: &[(&str, &str)]) -> Left {
    start(world, chain, script, more).ended().await
}

#[tokio::test]
async fn the_program_finds_the_way_to_the_relay_and_no_other() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let script = "env; echo; cat \"$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\"; echo; \
                  stat -c %a \"$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\" \"$(dirname \"$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\")\"";
    let bypass = [
        ("AWS_ACCESS_KEY_ID", USER_KEY),
        ("AWS_SECRET_ACCESS_KEY", USER_SECRET),
        ("AWS_ACCESS_KEY", USER_KEY),
        ("AWS_SECRET_KEY", USER_SECRET),
        ("AWS_BEARER_TOKEN_BEDROCK", "token"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_SECURITY_TOKEN", "token"),
        ("AWS_PROFILE", "other"),
        ("AWS_DEFAULT_PROFILE", "other"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/other"),
        ("AWS_ROLE_SESSION_NAME", "other"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/other"),
        ("VAULT_TOKEN", "token"),
        ("CREDENTIAL_RELAY_LOG", "warn"),
    ];
    let given = [
        ("AWS_SHARED_CREDENTIALS_FILE", "/home/me/credentials"),
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("NO_PROXY", "corp.example"),
        ("no_proxy", "other.example"),
        ("KEPT", "as it is"),
    ];
    let left = run(&world, &two_hops(), script, &[&bypass[..], &given].concat()).await;
    assert_eq!((left.code, left.err.as_str()), (Some(0), ""), "{left:?}");
    let (environment, rest) = left.out.split_once("\n\n").unwrap();
    let value = |name: &str| {
        let start = format!("{name}=");
        environment.lines().find_map(|line| line.strip_prefix(&start))
    };
    for (name, _) in bypass {
        assert_eq!(value(name), None, "{name}");
    }
    let mut rest = rest.lines();
    let token = value("AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap();
    assert_eq!(rest.next(), Some(token));
    assert_eq!(rest.collect::<Vec<_>>(), ["600", "700"]);
    let url = value("AWS_CONTAINER_CREDENTIALS_FULL_URI").unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert!(url.ends_with("/v1/credentials/payments"), "{url}");
    for (name, expected) in [
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("NO_PROXY", "corp.example,127.0.0.1,localhost"),
        ("no_proxy", "other.example,127.0.0.1,localhost"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("KEPT", "as it is"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
    let folder = value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").unwrap();
    assert!(!std::path::Path::new(folder).exists());
    assert_eq!(world.sts.ledger().count(Action::AssumeRole), 2, "the other profile is not fetched");
    assert!(!world.token_file("payments").exists(), "the configuration's own file is not written");
}

#[tokio::test]
async fn a_region_that_is_given_stays() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let script = "echo \"$AWS_REGION-$AWS_DEFAULT_REGION\"";
    let left = run(&world, &two_hops(), script, &[("AWS_DEFAULT_REGION", "eu-west-1")]).await;
    assert_eq!(left.out, "-eu-west-1\n", "{left:?}");
}

#[tokio::test]
async fn of_the_proxy_variables_the_one_that_is_missing_says_what_the_other_does() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let script = "echo \"$no_proxy\"";
    let left = run(&world, &two_hops(), script, &[("NO_PROXY", "corp.example")]).await;
    assert_eq!(left.out, "corp.example,127.0.0.1,localhost\n", "{left:?}");
}

#[tokio::test]
async fn the_exit_code_is_the_programs() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        let left = run(&world, &two_hops(), script, &[]).await;
        assert_eq!((left.code, left.err.as_str()), (Some(code), ""), "{script}: {left:?}");
    }
    let config = write_config(&world, &world.text(&[("payments", &two_hops())]));
    let config = config.to_str().unwrap();
    for (program, code) in
        [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126)]
    {
        let arguments = ["exec", "--config", config, "--", program];
        let left = Program::start(&arguments, &[PATH]).ended().await;
        assert_eq!(left.code, Some(code), "{left:?}");
        assert!(left.err.contains(&format!("{program} cannot be executed")), "{left:?}");
    }
    let left = Program::start(&["exec", "--config", config, "nobody", "--", "true"], &[PATH]);
    let left = left.ended().await;
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(left.err.contains("there are: payments"), "{left:?}");
    let left = Program::start(&["exec", "--config", config, "payments"], &[PATH]).ended().await;
    assert_eq!(left.code, Some(2), "{left:?}");
}

#[tokio::test]
async fn signals_are_the_programs() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    // Not INT, HUP and QUIT: whoever runs the tests may have them ignored (tests/e2e has them).
    let script = "for s in TERM USR1 USR2; do trap \"echo $s; [ $s = USR2 ] && exit 5\" $s; done; \
                  echo ready; while :; do sleep 0.05; done";
    let program = start(&world, &two_hops(), script, &[]);
    let says = async |text: &str| {
        eventually(text, async || program.out().lines().any(|line| line == text).then_some(()))
            .await;
    };
    says("ready").await;
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::USR1, "USR1")] {
        program.signal(signal);
        says(name).await;
    }
    program.signal(Signal::USR2);
    let left = program.ended().await;
    assert_eq!(left.code, Some(5), "{left:?}");
    assert_eq!(left.out, "ready\nTERM\nUSR1\nUSR2\n");
}

#[tokio::test]
async fn without_a_credential_the_program_does_not_start() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let denied = two_hops().replace("open-sesame", "open-barley");
    let left = run(&world, &denied, "echo started", &[]).await;
    assert_eq!((left.code, left.out.as_str()), (Some(1), ""), "{left:?}");
    assert!(left.err.contains("hop 2 ("), "{left:?}");
    assert!(left.err.contains("is not authorized to perform: sts:AssumeRole"), "{left:?}");

    fs::remove_file(world.path("base.json")).unwrap();
    let left = run(&world, &two_hops(), "echo started", &[]).await;
    assert_eq!((left.code, left.out.as_str()), (Some(1), ""), "{left:?}");
    assert!(left.err.contains("base.json"), "{left:?}");
}

#[tokio::test]
async fn who_asks_for_an_end_before_is_heard() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    world.sts.faults().set(vec![Fault::every(FaultKind::Hang)]);
    let program = start(&world, &two_hops(), "echo started", &[("CREDENTIAL_RELAY_LOG", "info")]);
    let folder = program.folder().to_owned();
    let tokens = || {
        let names = fs::read_dir(&folder).into_iter().flatten().flatten();
        names.filter(|entry| entry.file_type().unwrap().is_dir()).count()
    };
    // It listens for signals before it makes that.
    eventually("the access token has its folder", async || (tokens() == 1).then_some(())).await;
    program.signal(Signal::TERM);
    let left = program.ended().await;
    assert_eq!((left.code, left.out.as_str()), (Some(143), ""), "{left:?}");
    assert!(left.err.contains("the program was not started"), "{left:?}");
    assert_eq!(tokens(), 0);
}

/// The test asks in the program's place, with what the program was told.
#[tokio::test]
async fn credentials_rotate_for_as_long_as_the_program_runs() {
    let lifetime = IssuedLifetime::AtMost(Duration::from_secs(4));
    let world = World::live(lifetime).await;
    let script = "echo $AWS_CONTAINER_CREDENTIALS_FULL_URI; echo $AWS_CONTAINER_AUTHORIZATION_TOKEN; \
                  while :; do sleep 0.05; done";
    let program = start(&world, &two_hops(), script, &[("CREDENTIAL_RELAY_LOG", "trace")]);
    let (url, token) = eventually("the program runs", async || {
        let out = program.out();
        let (url, rest) = out.split_once('\n')?;
        let (token, _) = rest.split_once('\n')?;
        Some((url.to_owned(), token.to_owned()))
    })
    .await;
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (address, path) = (address.parse().unwrap(), format!("/{path}"));
    let mut keys = BTreeSet::new();
    eventually("three keys", async || {
        let answer = ask(address, "GET", &path, &[("Authorization", &token)]).await;
        if answer.status == 200 {
            keys.insert(answer.key_id());
        }
        (keys.len() == 3).then_some(())
    })
    .await;
    assert_eq!(ask(address, "GET", &path, &[]).await.status, 401);
    program.signal(Signal::TERM);
    let left = program.ended().await;
    assert_eq!(left.code, Some(143), "{left:?}");
    assert!(std::net::TcpStream::connect(address).is_err(), "the endpoint is gone");
    let secrets = Secrets::new([USER_SECRET, &token]);
    assert_eq!(secrets.found_in(&left.err), None, "{left:?}");
}
