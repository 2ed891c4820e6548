//! `dev`, from its greeting to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::harness::{Answer, Program, ask, eventually, exchange, request, run};
use crate::search::Secrets;

/// The variables that a greeting exports.
fn exported(greeting: &str) -> BTreeMap<String, String> {
    let lines = greeting.lines().filter_map(|line| line.strip_prefix("export "));
    let variables = lines.flat_map(|line| line.split(' ')).filter_map(|word| word.split_once('='));
    variables
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
        .collect()
}

/// Waits for the greeting and reads it.
async fn greeted(relay: &Program) -> BTreeMap<String, String> {
    eventually("the greeting", async || relay.out().contains("Ctrl-C").then_some(())).await;
    exported(&relay.out())
}

/// Asks as an SDK does that goes by the variables alone.
async fn credential(variables: &BTreeMap<String, String>) -> Answer {
    let url = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"].strip_prefix("http://").unwrap();
    let (address, path) = url.split_once('/').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let token = fs::read_to_string(&variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).unwrap();
    ask(address, "GET", &format!("/{path}"), &[("Authorization", &token)]).await
}

fn folder_of(variables: &BTreeMap<String, String>) -> PathBuf {
    Path::new(&variables["CREDENTIAL_RELAY_CONFIG"]).parent().unwrap().to_owned()
}

#[tokio::test]
async fn one_command_serves_keys_that_rotate_and_leaves_nothing() {
    let relay = Program::start(&["dev", "--lifetime", "3"], &[("CREDENTIAL_RELAY_LOG", "trace")]);
    let variables = greeted(&relay).await;
    for name in [
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_ENDPOINT_URL_STS",
        "AWS_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "NO_PROXY",
        "no_proxy",
        "CREDENTIAL_RELAY_CONFIG",
    ] {
        assert!(variables.contains_key(name), "{name}: {}", relay.out());
    }
    let mut keys = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    eventually("three keys", async || {
        let answer = credential(&variables).await;
        if answer.status == 200 {
            keys.insert(answer.key_id());
            for name in ["SecretAccessKey", "Token"] {
                secrets.insert(answer.json()[name].as_str().unwrap().to_owned());
            }
        }
        (keys.len() >= 3).then_some(())
    })
    .await;
    let folder = folder_of(&variables);
    assert!(folder.starts_with(relay.folder()), "{}", folder.display());
    let base: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("base.json")).unwrap()).unwrap();
    secrets.insert(base["SecretAccessKey"].as_str().unwrap().to_owned());
    let token = &variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
    secrets.insert(fs::read_to_string(token).unwrap());

    let config = variables["CREDENTIAL_RELAY_CONFIG"].as_str();
    let status = run(&["status"], &[("CREDENTIAL_RELAY_CONFIG", config)]).await;
    assert_eq!(status.code, Some(0), "{status:?}");

    relay.signal(Signal::INT);
    let gone = async || (!folder.exists()).then_some(());
    eventually("the folder is gone", gone).await;
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");
    let texts = [("its output", left.out), ("its log", left.err), ("status", status.out)];
    let texts = texts.map(|(origin, text)| (origin.to_owned(), text));
    Secrets::new(secrets).assert_untold(&texts);
}

#[tokio::test]
async fn faults_are_had_on_demand() {
    let relay = Program::start(&["dev", "--fault", "outage"], &[]);
    let variables = greeted(&relay).await;
    let said = eventually("the outage is told", async || {
        let answer = credential(&variables).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        Some(answer.body).filter(|body| body.contains("CredentialsUnavailable"))
    })
    .await;
    assert!(said.contains("hop 1 (arn:aws:iam::111122223333:role/hub)"), "{said}");
    let folder = folder_of(&variables);
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().await.code, Some(0));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_vault_is_there_on_demand() {
    let faults = ["--vault-fault", "aws/creds/payments-user:sealed=1"];
    let relay = Program::start(&[&["dev", "--vault"][..], &faults].concat(), &[]);
    let variables = greeted(&relay).await;
    let address = variables["VAULT_ADDR"].strip_prefix("http://").unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let jwt = fs::read_to_string(folder_of(&variables).join("jwt")).unwrap();
    let login = serde_json::json!({ "role": "payments", "jwt": jwt }).to_string();
    let length = login.len().to_string();
    let head = request("POST", "/v1/auth/kubernetes/login", &[("Content-Length", &length)]);
    let stream = TcpStream::connect(address).await.unwrap();
    let answer = exchange(stream, &format!("{head}{login}")).await.unwrap();
    let token = answer.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    let creds = async |role: &str| {
        let path = format!("/v1/aws/creds/{role}?ttl=1h");
        ask(address, "GET", &path, &[("X-Vault-Token", &token)]).await
    };
    assert_eq!(creds("payments-user").await.status, 503);
    let session = creds("payments").await;
    assert_eq!(session.status, 200, "{session:?}");
    assert!(session.json()["lease_duration"].as_u64().unwrap() <= 60);
    assert_eq!(creds("payments-user").await.json()["renewable"], true);
    let served = eventually("what Vault gave is served", async || {
        Some(credential(&variables).await).filter(|answer| answer.status == 200)
    })
    .await;
    assert!(served.body.contains("arn:aws:iam::444455556666:role/spoke"), "{served:?}");
    Secrets::new([jwt, token]).assert_untold(&[("its output".to_owned(), relay.out())]);
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().await.code, Some(0));
}

#[tokio::test]
async fn what_dev_does_not_know_is_told() {
    for (arguments, said) in [
        (["--fault", "flood"], "no fault is named 'flood'"),
        (["--fault", "latency"], "latency=200ms"),
        (["--fault", "outage=-1"], "outage=3"),
        (["--vault-fault", "hang"], "--vault"),
        (["--lifetime", "1"], "2..=43200"),
        (["--listen", "nowhere"], "--listen"),
    ] {
        let left = run(&[&["dev"][..], &arguments].concat(), &[]).await;
        assert_eq!(left.code, Some(2), "{left:?}");
        assert!(left.err.contains(said), "{left:?}");
    }
}
