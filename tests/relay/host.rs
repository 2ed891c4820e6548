//! The sources of a host: programs, and the SDKs' shared files.

use std::fs;
use std::path::PathBuf;

use credential_relay::dev::sts::IssuedLifetime;

use crate::common::{HUB, SPOKE, USER_KEY, USER_SECRET, World, two_hops};
use crate::harness::{Left, run, write_config};
use crate::search::Secrets;

/// A home folder, and a relay whose one profile has this source.
struct Host {
    world: World,
    secrets: Secrets,
}

impl Host {
    async fn new() -> Self {
        let world = World::live(IssuedLifetime::AsAsked).await;
        fs::create_dir(world.path(".aws")).unwrap();
        Self { world, secrets: Secrets::new([USER_SECRET]) }
    }

    fn shared(&self, config: &str, credentials: &str) {
        fs::write(self.world.path(".aws/config"), config).unwrap();
        fs::write(self.world.path(".aws/credentials"), credentials).unwrap();
    }

    /// A program's script, which prints the user's keys.
    fn keys(&self) -> PathBuf {
        self.world.path("base.json")
    }

    fn config(&self, source: &str, chain: &str) -> PathBuf {
        let file = format!("{{ file: {{ path: {} }} }}", self.world.path("base.json").display());
        let text = self.world.text(&[("app", chain)]);
        assert!(text.contains(&file), "{text}");
        write_config(&self.world, &text.replace(&file, source))
    }

    async fn run(&self, command: &[&str], config: &std::path::Path) -> Left {
        let sts = format!("http://{}", self.world.address);
        let variables = [
            ("HOME", self.world.folder.path().to_str().unwrap()),
            ("PATH", "/usr/bin:/bin"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL_STS", sts.as_str()),
            ("CREDENTIAL_RELAY_LOG", "trace"),
        ];
        let arguments = [command, &["--config", config.to_str().unwrap()]].concat();
        let left = run(&arguments, &variables).await;
        assert_eq!(self.secrets.found_in(&left.err), None, "{left:?}");
        left
    }

    /// The document that `get` prints.
    async fn get(&self, source: &str, chain: &str) -> serde_json::Value {
        let left = self.run(&["get", "--format", "json"], &self.config(source, chain)).await;
        assert_eq!(left.code, Some(0), "{left:?}");
        serde_json::from_str(&left.out).unwrap()
    }

    /// What `check --connect` says of a source that fails.
    async fn explained(&self, source: &str) -> String {
        let left = self.run(&["check", "--connect"], &self.config(source, "[]")).await;
        assert_eq!(left.code, Some(1), "{left:?}");
        assert_eq!(self.secrets.found_in(&left.out), None, "{left:?}");
        left.out
    }
}

#[tokio::test]
async fn a_program_is_a_base_with_and_without_a_chain() {
    let host = Host::new().await;
    let source = format!("{{ process: {{ command: [/bin/cat, {}] }} }}", host.keys().display());
    assert_eq!(host.get(&source, "[]").await["AccessKeyId"], USER_KEY);
    assert_eq!(host.get(&source, &two_hops()).await["RoleArn"], SPOKE);
}

#[tokio::test]
async fn a_profile_is_a_base_with_and_without_a_chain() {
    let host = Host::new().await;
    let keys = format!("aws_access_key_id = {USER_KEY}\naws_secret_access_key = {USER_SECRET}\n");
    let hub = format!("[profile hub]\nrole_arn = {HUB}\nsource_profile = base\n");
    host.shared(&hub, &format!("[default]\n{keys}[base]\n{keys}"));
    assert_eq!(host.get("{ profile: {} }", "[]").await["AccessKeyId"], USER_KEY);
    assert_eq!(host.get("{ profile: {} }", &two_hops()).await["RoleArn"], SPOKE);
    let served = host.get("{ profile: { name: hub } }", "[]").await;
    assert!(served["AccessKeyId"].as_str().unwrap().starts_with("ASIA"), "{served}");
    assert!(served["Expiration"].is_string() && served["Token"].is_string());
    assert_eq!(host.world.assumed(), ["hub", "spoke", "hub"]);
}

#[tokio::test]
async fn the_program_of_a_profile_is_run_for_the_roles_above_it() {
    let host = Host::new().await;
    let config = format!(
        "[profile base]\ncredential_process = cat '{}'\n\
         [profile hub]\nrole_arn = {HUB}\nsource_profile = base\n\
         [profile spoke]\nrole_arn = {SPOKE}\nexternal_id = open-sesame\nsource_profile = hub\n",
        host.keys().display()
    );
    host.shared(&config, "");
    assert_eq!(host.get("{ profile: { name: base } }", "[]").await["AccessKeyId"], USER_KEY);
    let served = host.get("{ profile: { name: spoke } }", "[]").await;
    assert!(served["Token"].is_string(), "{served}");
    assert_eq!(host.world.assumed(), ["hub", "spoke"]);

    host.shared(&config.replace("open-sesame", "open-barley"), "");
    let said = host.explained("{ profile: { name: spoke } }").await;
    assert!(
        said.contains("source profile: profile spoke: STS answered 403 AccessDenied"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_explained() {
    let host = Host::new().await;
    host.shared("[profile empty]\nregion = eu-west-1\n[profile ecs]\nrole_arn = arn:aws:iam::111122223333:role/a\ncredential_source = EcsContainer\n", "");
    let shell = |script: &str, more: &str| {
        format!("{{ process: {{ command: [/bin/sh, -c, \"{script}\"]{more} }} }}")
    };
    let printed = format!("echo not {USER_SECRET}");
    let said_so = format!("echo refused {USER_SECRET} >&2; exit 1");
    for (source, words) in [
        (
            "{ process: { command: [/no/such/program] } }".to_owned(),
            "/no/such/program: there is no such program",
        ),
        ("{ process: { command: [/etc/passwd] } }".to_owned(), "this user may not execute it"),
        (shell(&printed, ""), "what it printed: line 1 column 2"),
        (shell(&said_so, ""), "exit code 1; the last that it said: refused [redacted]"),
        (shell("exit 1", ""), "it ended with exit code 1 and said nothing"),
        (shell("exec sleep 600", ", timeout: 1s"), "it did not end within 1 s, and was killed"),
        ("{ profile: { name: nobody } }".to_owned(), "profile nobody: there is no such profile"),
        ("{ profile: { name: empty } }".to_owned(), "profile empty: it says of no credentials"),
        (
            "{ profile: { name: ecs } }".to_owned(),
            "credential_source = EcsContainer is not followed",
        ),
        ("{ profile: { config_file: /no/such/config } }".to_owned(), "/no/such/config"),
    ] {
        let said = host.explained(&source).await;
        assert!(said.contains(words), "{source}: {said}");
    }
}

/// A profile that is not there gives way; one that is there and is wrong does not.
#[tokio::test]
async fn only_a_profile_that_is_not_configured_gives_way() {
    let host = Host::new().await;
    let said = host.explained("{ auto: {} }").await;
    assert!(said.contains("profile default: there is no such profile"), "{said}");
    host.shared(
        "[default]\nrole_arn = arn:aws:iam::111122223333:role/hub\nsource_profile = gone\n",
        "",
    );
    let said = host.explained("{ auto: {} }").await;
    assert!(said.contains("source profile: profile default: "), "{said}");
    assert!(said.contains("gone"), "{said}");
}
