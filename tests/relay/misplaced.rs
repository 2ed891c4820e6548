//! A secret where another value belongs: mistakes tell its shape.

use credential_relay::config::environment::Environment;
use credential_relay::config::load;

use crate::common::{HUB, USER_SECRET, World, two_hops};
use crate::harness::{run, write_config};
use crate::search::Secrets;

/// Every setting, with ~ for the secret.
const SETTINGS: &[&str] = &[
    "~",
    "[~]",
    "{ ~: 1 }",
    "{ ~: 1, ~: 2 }",
    "{ x: '~",
    "{ x: *~ }",
    "{ x: !~ 1 }",
    "{ endpoint: ~ }",
    "{ endpoint: { ~: 1 } }",
    "{ endpoint: { listen: ~ } }",
    "{ endpoint: { listen: '127.0.0.1:~' } }",
    "{ endpoint: { allow_remote: ~ } }",
    "{ endpoint: { hosts: ~ } }",
    "{ endpoint: { hosts: [~] } }",
    "{ endpoint: { max_connections: ~ } }",
    "{ admin: ~ }",
    "{ admin: { listen: ~ } }",
    "{ admin: { socket: ~ } }",
    "{ sts: ~ }",
    "{ sts: { region: ~ } }",
    "{ sts: { endpoint: ~ } }",
    "{ sts: { endpoint: 'https://~' } }",
    "{ sts: { endpoint: 'https://user:~@sts.example' } }",
    "{ sts: { endpoint: 'https://sts.example/?key=~' } }",
    "{ sts: { endpoint: 'http://~.example' } }",
    "{ sts: { allow_insecure: ~ } }",
    "{ sts: { fips: ~ } }",
    "{ sts: { dual_stack: ~ } }",
    "{ sts: { ca_cert: ~ } }",
    "{ profiles: ~ }",
    "{ profiles: { ~: {} } }",
    "{ profiles: { p: ~ } }",
    "{ profiles: { p: { ~: 1 } } }",
    "{ profiles: { p: { source: ~ } } }",
    "{ profiles: { p: { source: { ~: {} } } } }",
    "{ profiles: { p: { source: { environment: ~ } } } }",
    "{ profiles: { p: { source: { environment: { AWS_SECRET_ACCESS_KEY: ~ } } } } }",
    "{ profiles: { p: { source: { file: ~ } } } }",
    "{ profiles: { p: { source: { file: { path: ~ } } } } }",
    "{ profiles: { p: { serve_long_lived_keys: ~ } } }",
    "{ profiles: { p: { access: ~ } } }",
    "{ profiles: { p: { access: { token: ~ } } } }",
    "{ profiles: { p: { access: { token_file: ~ } } } }",
    "{ profiles: { p: { chain: ~ } } }",
    "{ profiles: { p: { chain: [~] } } }",
    "{ profiles: { p: { chain: [{ ~: 1 }] } } }",
    "{ profiles: { p: { chain: [{ role_arn: ~ }] } } }",
    "{ profiles: { p: { chain: [{ role_arn: 'arn:aws:iam::~:role/x' }] } } }",
    "{ profiles: { p: { chain: [{ session_name: ~ }] } } }",
    "{ profiles: { p: { chain: [{ session_name: '{~}' }] } } }",
    "{ profiles: { p: { chain: [{ external_id: '~ !' }] } } }",
    "{ profiles: { p: { chain: [{ duration: ~ }] } } }",
    "{ profiles: { p: { chain: [{ tags: ~ }] } } }",
    "{ profiles: { p: { chain: [{ tags: { '~!': x } }] } } }",
    "{ profiles: { p: { chain: [{ tags: { team: '~!' } }] } } }",
    "{ profiles: { p: { chain: [{ tags: { team: '{~}' } }] } } }",
    "{ profiles: { p: { chain: [{ transitive_tags: [~] }] } } }",
    "{ profiles: { p: { chain: [{ source_identity: ~ }] } } }",
    "{ profiles: { p: { chain: [{ policy: ~ }] } } }",
    "{ profiles: { p: { chain: [{ policy: '{\"~\":' }] } } }",
    "{ profiles: { p: { chain: [{ policy: { ~: 1 } }] } } }",
    "{ profiles: { p: { chain: [{ policy_arns: [~] }] } } }",
    "{ profiles: { p: { chain: [{ region: ~ }] } } }",
    "{ profiles: { p: { chain: [{ endpoint: ~ }] } } }",
    "{ profiles: { p: { chain: [{ fips: ~ }] } } }",
    "{ profiles: { p: { chain: [{ ca_cert: ~ }] } } }",
];

#[test]
fn in_a_file() {
    let secrets = Secrets::new([USER_SECRET]);
    for setting in SETTINGS {
        let text = setting.replace('~', USER_SECRET);
        let mistakes = load::parse(&text, &Environment::default()).unwrap_err();
        for told in [mistakes.to_string(), format!("{mistakes:?}")] {
            assert_eq!(secrets.found_in(&told), None, "{setting}: {told}");
        }
    }
}

#[test]
fn in_a_variable() {
    let secrets = Secrets::new([USER_SECRET]);
    let right =
        [("CREDENTIAL_RELAY_ROLE_ARN", HUB), ("AWS_REGION", "us-east-1"), ("POD_NAME", "pod")];
    for wrong in [
        "CREDENTIAL_RELAY_PROFILE",
        "CREDENTIAL_RELAY_ROLE_ARN",
        "CREDENTIAL_RELAY_SESSION_NAME",
        "CREDENTIAL_RELAY_DURATION",
        "CREDENTIAL_RELAY_TOKEN_FILE",
        "CREDENTIAL_RELAY_SOURCE_FILE",
        "CREDENTIAL_RELAY_LISTEN",
        "CREDENTIAL_RELAY_ADMIN_LISTEN",
        "CREDENTIAL_RELAY_ADMIN_SOCKET",
        "CREDENTIAL_RELAY_SECRET",
        "AWS_REGION",
        "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_CA_BUNDLE",
    ] {
        let others = right.into_iter().filter(|(name, _)| *name != wrong);
        let environment: Environment = others.chain([(wrong, USER_SECRET)]).collect();
        let mistakes = load::load(None, &environment)
            .map(|_| ())
            .expect_err(&format!("{wrong} may be {USER_SECRET}"));
        for told in [mistakes.to_string(), format!("{mistakes:?}")] {
            assert_eq!(secrets.found_in(&told), None, "{wrong}: {told}");
        }
    }
}

#[tokio::test]
async fn in_what_the_program_reads_for_itself() {
    let secrets = Secrets::new([USER_SECRET]);
    for wrong in ["CREDENTIAL_RELAY_LOG", "CREDENTIAL_RELAY_LOG_FORMAT"] {
        let left = run(&["check"], &[(wrong, USER_SECRET)]).await;
        assert_eq!(left.code, Some(2), "{left:?}");
        assert!(left.err.contains(wrong), "{left:?}");
        assert_eq!(secrets.found_in(&format!("{left:?}")), None, "{left:?}");
    }
}

#[tokio::test]
async fn in_the_files_of_a_profile() {
    let world = World::start(credential_relay::dev::sts::IssuedLifetime::AsAsked).await;
    let secrets = Secrets::new([USER_SECRET]);
    let config = write_config(&world, &world.text(&[("payments", &two_hops())]));
    for base in [
        USER_SECRET.to_owned(),
        format!("{{\"{USER_SECRET}\":1}}"),
        format!("{{\"Version\":\"{USER_SECRET}\"}}"),
        format!("{{\"Version\":1,\"AccessKeyId\":\"{USER_SECRET}\",\"SecretAccessKey\":\"x\"}}"),
        format!("{{\"Version\":1,\"AccessKeyId\":7,\"SecretAccessKey\":\"{USER_SECRET}\"}}"),
        format!(
            "{{\"Version\":1,\"AccessKeyId\":\"AKIAIOSFODNN7EXAMPLE\",\"SecretAccessKey\":\"x\",\"Expiration\":\"{USER_SECRET}\"}}"
        ),
    ] {
        std::fs::write(world.path("base.json"), base).unwrap();
        for command in [&["get"][..], &["check", "--connect"]] {
            let arguments = [command, &["--config", config.to_str().unwrap()]].concat();
            let left = run(&arguments, &[("CREDENTIAL_RELAY_LOG", "trace")]).await;
            assert_eq!(left.code, Some(1), "{left:?}");
            assert!(format!("{left:?}").contains("base.json"), "{left:?}");
            assert_eq!(secrets.found_in(&format!("{left:?}")), None, "{left:?}");
        }
    }
    assert_eq!(world.sts.ledger().calls(), []);
}
