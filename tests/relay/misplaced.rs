//! A secret where another value belongs: mistakes tell its shape.

use std::collections::BTreeSet;

use credential_relay::config::environment::{self, Environment};
use credential_relay::config::mistakes::{Mistakes, Place};
use credential_relay::config::{Config, load};
use serde_json::{Value, json};

use crate::common::{HUB, USER_SECRET, World, two_hops};
use crate::harness::{run, write_config};
use crate::search::Secrets;
use crate::settings::{Schema, written};

/// A secret that many settings take for what they want, as they do not [`USER_SECRET`].
const TOKEN: &str = "kT4vYq8RzP2mWc7LxN5dJf9b";

/// Whole files, with ~ for the secret.
const FILES: &[&str] = &[
    "~",
    "[~]",
    "{ ~: 1 }",
    "{ ~: 1, ~: 2 }",
    "{ x: '~",
    "{ x: *~ }",
    "{ x: !~ 1 }",
    "{ profiles: { ~: {} } }",
];

/// What may stand in a setting's place: the secret alone, and within what settings begin with.
const TEXTS: &[&str] = &[
    "~",
    "~ !",
    "/~",
    "{~}",
    "127.0.0.1:~",
    "https://~",
    "http://~.example",
    "https://user:~@sts.example",
    "https://sts.example/?key=~",
    "arn:aws:iam::~:role/x",
    "arn:aws:iam::111122223333:role/~ !",
    "sha256:~",
    "{\"~\":",
    "{\"~\":1}",
];

/// The ends of the settings that take it for what they want, and why nothing tells the two apart.
const ACCEPTED: &[(&str, &str)] = &[
    (".external_id", "whoever owns the role made it up"),
    (".tags.p", "a tag's value is any text"),
    (".mount", "a path of Vault's, of any names"),
    (".creation_path", "a path of Vault's, of any names"),
    (".namespace", "a path of Vault's, of any names"),
    (".role_id", "Vault's administrator may have made it up"),
    (".server_id", "Vault's administrator made it up"),
    (".source.profile.name", "a section of a file may have any name"),
    (".credentials_file.section", "a section of a file may have any name"),
];

/// The same of the variables.
const ACCEPTED_VARIABLES: &[(&str, &str)] = &[
    ("AWS_CONFIG_FILE", "of the SDKs, whose files may be anywhere"),
    ("AWS_SHARED_CREDENTIALS_FILE", "of the SDKs, whose files may be anywhere"),
    ("AWS_PROFILE", "a section of a file may have any name"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a secret is what belongs there"),
    ("VAULT_NAMESPACE", "a path of Vault's, of any names"),
    ("POD_NAME", "what STS does not allow of it is replaced"),
    ("POD_NAMESPACE", "what STS does not allow of it is replaced"),
    ("POD_SERVICE_ACCOUNT", "what STS does not allow of it is replaced"),
    ("KUBERNETES_SERVICE_HOST", "read by the injector alone"),
    ("KUBERNETES_SERVICE_PORT", "read by the injector alone"),
    ("CREDENTIAL_RELAY_CONFIG", "read where the program starts"),
    ("CREDENTIAL_RELAY_LOG", "read where the program starts"),
    ("CREDENTIAL_RELAY_LOG_FORMAT", "read where the program starts"),
    ("CREDENTIAL_RELAY_CACHE", "read by the tests alone"),
];

/// That neither what is wrong nor a warning tells it.
fn is_untold(secrets: &Secrets, read: &Result<Config, Mistakes>, setting: &str) {
    let told = match read {
        Ok(config) => config.warnings.clone(),
        Err(mistakes) => vec![mistakes.to_string(), format!("{mistakes:?}")],
    };
    for told in told {
        assert_eq!(secrets.found_in(&told), None, "{setting}: {told}");
    }
}

/// A host's name is told in small letters, so the secrets are looked for in these too.
fn secrets() -> Secrets {
    let secrets = [USER_SECRET, TOKEN];
    Secrets::new(secrets.iter().flat_map(|secret| [(*secret).to_owned(), secret.to_lowercase()]))
}

fn texts() -> Vec<String> {
    let of_user = TEXTS.iter().map(|text| text.replace('~', USER_SECRET));
    of_user.chain([TOKEN.to_owned(), format!("/{TOKEN}"), format!("https://{TOKEN}")]).collect()
}

/// With what a source or a login needs that may be set there alone.
fn some_pod() -> Environment {
    let variables = [
        ("AWS_REGION", "eu-west-1"),
        ("POD_NAME", "pod"),
        ("VAULT_ADDR", "https://vault.example"),
        ("VAULT_CLIENT_CERT", "/etc/tls.crt"),
        ("VAULT_CLIENT_KEY", "/etc/tls.key"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
    ];
    variables.into_iter().collect()
}

#[test]
fn in_a_file() {
    let secrets = secrets();
    for file in FILES {
        let read = load::parse(&file.replace('~', USER_SECRET), &Environment::default());
        assert!(read.is_err(), "{file}");
        is_untold(&secrets, &read, file);
    }
}

#[test]
fn in_any_setting() {
    let (secrets, schema, pod) = (secrets(), Schema::of_the_file(), some_pod());
    let holders = [json!([USER_SECRET]), json!({ USER_SECRET: 1 }), json!([{ USER_SECRET: 1 }])];
    let values: Vec<Value> = texts().into_iter().map(Value::from).chain(holders).collect();
    for (name, values) in [("p", &values[..]), (USER_SECRET, &values[..1]), (TOKEN, &values[..1])] {
        for way in schema.settings_once(name) {
            for value in values {
                let file = schema.with(&way, value).to_string();
                is_untold(&secrets, &load::parse(&file, &pod), &file);
            }
        }
    }
}

#[test]
fn every_setting_refuses_it_that_can() {
    let (schema, pod) = (Schema::of_the_file(), some_pod());
    let ways = schema.settings("p");
    assert!(ways.len() > 200, "{} settings", ways.len());
    let (mut accepted, mut missed) = (BTreeSet::new(), Vec::new());
    for way in ways {
        let file = schema.with(&way, &USER_SECRET.into()).to_string();
        match load::parse(&file, &pod) {
            Ok(_) => {
                accepted.insert(written(&way));
            }
            Err(mistakes) => {
                let named = mistakes.iter().any(|mistake| match &mistake.place {
                    Place::Setting(at) => at.starts_with(&way),
                    Place::File | Place::Variable(_) => false,
                });
                if !named {
                    missed.push(format!("{}: {mistakes}\n{file}", written(&way)));
                }
            }
        }
    }
    assert!(missed.is_empty(), "what was wrong was something else:\n{}", missed.join("\n"));
    let excused = |setting: &String| ACCEPTED.iter().any(|(end, _)| setting.ends_with(end));
    let unexpected: Vec<_> = accepted.iter().filter(|setting| !excused(setting)).collect();
    assert!(unexpected.is_empty(), "accepted: {unexpected:?}");
    for (end, _) in ACCEPTED {
        assert!(accepted.iter().any(|setting| setting.ends_with(end)), "{end} is refused");
    }
}

/// What stands beside the variable that is wrong: what each of them is about.
const BESIDE: &[&[(&str, &str)]] = &[
    &[
        ("CREDENTIAL_RELAY_ROLE_ARN", HUB),
        ("CREDENTIAL_RELAY_SESSION_NAME", "{namespace}.{service_account}.{pod}"),
        ("POD_NAMESPACE", "payments"),
        ("POD_SERVICE_ACCOUNT", "payments"),
    ],
    &[
        ("CREDENTIAL_RELAY_VAULT_ROLE", "app"),
        ("CREDENTIAL_RELAY_VAULT_AUTH_ROLE", "app"),
        ("VAULT_ADDR", "https://vault.example"),
        ("VAULT_CLIENT_CERT", "/etc/tls.crt"),
        ("VAULT_CLIENT_KEY", "/etc/tls.key"),
    ],
    &[
        ("CREDENTIAL_RELAY_SOURCE", "web_identity"),
        ("AWS_ROLE_ARN", HUB),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/etc/token"),
    ],
    &[
        ("CREDENTIAL_RELAY_SOURCE", "container"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
    ],
    &[
        ("CREDENTIAL_RELAY_SOURCE", "container"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials"),
    ],
    &[("CREDENTIAL_RELAY_SOURCE", "imds")],
    &[("CREDENTIAL_RELAY_SOURCE", "profile")],
    &[("CREDENTIAL_RELAY_SOURCE", "auto")],
];

fn variables() -> impl Iterator<Item = &'static str> {
    let ours = environment::CONFIGURATION.into_iter().chain(environment::PROCESS);
    ours.chain(environment::HONOURED).chain(environment::CLUSTER)
}

/// What comes of that variable among each of those others.
fn read_with(variable: &'static str, value: &str) -> Vec<Result<Config, Mistakes>> {
    let read = |beside: &&[(&'static str, &'static str)]| {
        let pod = [("AWS_DEFAULT_REGION", "us-east-1"), ("POD_NAME", "pod")];
        let others = pod.into_iter().chain(beside.iter().copied());
        let others = others.filter(|(name, _)| *name != variable);
        load::load(None, &others.chain([(variable, value)]).collect())
    };
    BESIDE.iter().map(read).collect()
}

#[test]
fn in_any_variable() {
    let (secrets, texts) = (secrets(), texts());
    for variable in variables() {
        for text in &texts {
            for read in read_with(variable, text) {
                is_untold(&secrets, &read, &format!("{variable}={text}"));
            }
        }
    }
}

#[test]
fn every_variable_refuses_it_that_can() {
    let refused = |read: &Result<Config, Mistakes>, variable: &str| {
        let place = Place::Variable(variable.to_owned());
        read.as_ref().is_err_and(|mistakes| mistakes.iter().any(|mistake| mistake.place == place))
    };
    let accepted = variables().filter(|variable| {
        !read_with(variable, USER_SECRET).iter().any(|read| refused(read, variable))
    });
    let expected: BTreeSet<_> = ACCEPTED_VARIABLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(accepted.collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn in_what_the_program_reads_for_itself() {
    let secrets = Secrets::new([USER_SECRET]);
    for (wrong, told) in [
        ("CREDENTIAL_RELAY_LOG", "CREDENTIAL_RELAY_LOG is"),
        ("CREDENTIAL_RELAY_LOG_FORMAT", "CREDENTIAL_RELAY_LOG_FORMAT is"),
        ("CREDENTIAL_RELAY_CONFIG", "file: a path of 40 characters: there is no such file"),
    ] {
        let left = run(&["check"], &[(wrong, USER_SECRET)]).await;
        assert_eq!(left.code, Some(2), "{left:?}");
        assert!(left.err.contains(told), "{left:?}");
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
