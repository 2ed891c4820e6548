//! Reading the configuration: from a file, or from the environment alone.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use deserr::Deserr;

use super::document::Document;
use super::environment::{self, Environment, Origins};
use super::mistakes::{Mistakes, Place, told};
use super::resolve::{self, Listening};
use super::{Admin, Config};
use crate::files;

/// The largest file that is read; a thousand profiles need a third of it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Reads and checks the configuration: the file, or the text of one in
/// `CREDENTIAL_RELAY_CONFIG_TEXT`, or without either the environment alone.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Config, Mistakes> {
    load_where(file, environment, Listening::AsConfigured)
}

/// The same for a relay that does not listen where the configuration says: what leads there leads to
/// another relay.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_elsewhere(file: Option<&Path>, environment: &Environment) -> Result<Config, Mistakes> {
    load_where(file, environment, Listening::Elsewhere)
}

fn load_where(
    file: Option<&Path>,
    environment: &Environment,
    listening: Listening,
) -> Result<Config, Mistakes> {
    match (file, environment.get(environment::TEXT)) {
        (Some(_), Some(_)) => Err(Mistakes::one(
            Place::variable(environment::TEXT),
            "there is a file too (--config or CREDENTIAL_RELAY_CONFIG), and one of them would be ignored; keep one",
        )),
        (Some(path), None) => of_text(&text_of(path)?, environment, listening),
        (None, Some(text)) => {
            of_text(text, environment, listening).map_err(|mistakes| mistakes.moved(to_variable))
        }
        (None, None) => of_environment(environment, listening),
    }
}

/// What is wrong with the text as a whole is wrong with the variable.
fn to_variable(place: &mut Place) {
    if *place == Place::File {
        *place = Place::variable(environment::TEXT);
    }
}

/// Where a relay that runs is asked, for the commands that ask it: its configuration may have changed since
/// it was read, for the worse. With it comes what is wrong, if anything is.
///
/// # Errors
/// Everything that is wrong, where not even that much can be told.
pub fn admin(
    file: Option<&Path>,
    environment: &Environment,
) -> Result<(Admin, Mistakes), Mistakes> {
    match load(file, environment) {
        Ok(config) => Ok((config.admin, Mistakes::default())),
        Err(mistakes) => {
            let document = rest(file, environment).unwrap_or_default();
            match resolve::admin(&document, environment) {
                Some(admin) => Ok((admin, mistakes)),
                None => Err(mistakes),
            }
        }
    }
}

/// What can be read of a configuration that has mistakes.
fn rest(file: Option<&Path>, environment: &Environment) -> Result<Document, Mistakes> {
    let text = file.map(text_of).transpose()?;
    match text.as_deref().or(environment.get(environment::TEXT)) {
        Some(text) => document(&mut yaml(text)?, &mut Mistakes::default()),
        None => environment::document(environment).map(|(document, _)| document),
    }
}

/// The text of a file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn text_of(path: &Path) -> Result<String, Mistakes> {
    read(path).map_err(|why| Mistakes::one(Place::File, format!("{}: {why}", told_path(path))))
}

/// The file's path as it may be told: where it looks like one. A secret of AWS has slashes as well.
fn told_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let ending = path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json");
    if path.is_absolute() || ending || told(&text) == text {
        text.into_owned()
    } else {
        format!("a path of {} characters", text.chars().count())
    }
}

/// Reads and checks the text of a file.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(text: &str, environment: &Environment) -> Result<Config, Mistakes> {
    of_text(text, environment, Listening::AsConfigured)
}

fn of_text(
    text: &str,
    environment: &Environment,
    listening: Listening,
) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    environment::check_names(environment, true, &mut mistakes);
    let document = yaml(text).and_then(|mut value| document(&mut value, &mut mistakes));
    let document: Document = match document {
        Ok(document) => document,
        Err(more) => {
            mistakes.extend(more);
            return Err(mistakes.in_order());
        }
    };
    resolve::resolve(&document, &Origins::default(), environment, listening, mistakes)
}

/// The JSON schema of the file, draft 2020-12: what [`schema_of_types`] makes, kept as text because
/// the binary is then smaller by all the code that makes it. `tests/configuration.rs` holds the two
/// equal.
pub const SCHEMA: &str = include_str!("relay.schema.json");

/// The JSON schema as the file's types have it.
pub fn schema_of_types() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

fn of_environment(environment: &Environment, listening: Listening) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    environment::check_names(environment, false, &mut mistakes);
    match environment::document(environment) {
        Ok((document, origins)) => {
            resolve::resolve(&document, &origins, environment, listening, mistakes)
        }
        Err(missing) => {
            mistakes.extend(missing);
            Err(mistakes.in_order())
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let why = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        // One that was explained has words of its own.
        ErrorKind::PermissionDenied if error.get_ref().is_none() => {
            "this user may not read it".to_owned()
        }
        ErrorKind::IsADirectory => "it is a directory; give the file in it".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| why(files::explain(error, path)))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("it is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is not UTF-8: the byte at offset {at} belongs to no character")
    })
}

/// The document, without what is wrong with it, so that the rest of it can be checked too. What is
/// wrong is cut out of `value`.
///
/// # Errors
/// What is wrong, where there is no rest.
pub(super) fn document<T: Deserr<Mistakes>>(
    value: &mut serde_json::Value,
    found: &mut Mistakes,
) -> Result<T, Mistakes> {
    let mistakes: Mistakes = match deserr::deserialize(value.clone()) {
        Ok(document) => return Ok(document),
        Err(mistakes) => mistakes,
    };
    mistakes.cut_out_of(value);
    match deserr::deserialize::<_, _, Mistakes>(value.clone()) {
        Ok(document) => {
            found.extend(mistakes);
            Ok(document)
        }
        // Such as a file that is a list: there is no rest to check.
        Err(_) => Err(mistakes),
    }
}

/// The value of a YAML text.
///
/// # Errors
/// That it is none, or empty.
pub(super) fn yaml(text: &str) -> Result<serde_json::Value, Mistakes> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 32,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 2,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        // An account or an external id may start with zeros.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        // A snippet of the file may hold a secret.
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(serde_json::Value::Null) => {
            Err(Mistakes::one(Place::File, "empty; at least one profile is needed"))
        }
        Ok(value) => Ok(value),
        Err(error) => Err(Mistakes::one(Place::File, not_yaml(&error))),
    }
}

/// What is wrong with the YAML, and where.
fn not_yaml(error: &serde_saphyr::Error) -> String {
    let what = fault(error);
    match error.location() {
        Some(at) if at.line() > 0 => format!("line {}, column {}: {what}", at.line(), at.column()),
        _ => what.to_owned(),
    }
}

/// What is wrong, without the words of the parser, which repeat keys and values.
fn fault(error: &serde_saphyr::Error) -> &'static str {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::AliasError { error, .. } => fault(error),
        Error::DuplicateMappingKey { .. } => "a key stands twice in one mapping",
        Error::MultipleDocuments { .. } => "there is more than one YAML document",
        Error::UnknownAnchor { .. } => "an alias names an anchor that is not there",
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "it is nested too deeply, or its aliases grow too large"
        }
        Error::UnsupportedTag { .. } => "a YAML tag stands where none is known",
        _ => "it is not valid YAML; look at the indentation and quotes there",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::values::Tag;
    use crate::config::{LongLivedKeys, Source};

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    const CHAINED: &str = "
endpoint: { listen: '169.254.170.23:80', hosts: [Relay.Internal] }
sts: { region: eu-west-1 }
profiles:
  payments:
    source: { file: { path: /etc/base.json } }
    chain:
      - &hop
        role_arn: arn:aws:iam::111122223333:role/hub
        session_name: payments-{pod}
        external_id: 0123
        duration: 12h
        tags: { team: payments, pod: '{pod}' }
        transitive_tags: [team]
        policy: { Version: 2012-10-17, Statement: [] }
      - <<: *hop
        tags: {}
        transitive_tags: []
        region: us-east-1
        role_arn: arn:aws:iam::111122223333:role/spoke
";

    #[test]
    fn a_file_is_read_whole() {
        let config = parse(CHAINED, &environment(&[("POD_NAME", "api-x2x4z")])).unwrap();
        assert_eq!(config.endpoint.listen.to_string(), "169.254.170.23:80");
        assert_eq!(config.endpoint.hosts, ["169.254.170.23", "relay.internal"]);
        assert_eq!(config.admin.listen.to_string(), "0.0.0.0:9532");
        let profile = &config.profiles["payments"];
        assert_eq!(profile.source, Source::File { path: "/etc/base.json".into() });
        assert_eq!(profile.long_lived_keys, LongLivedKeys::Refused);
        assert_eq!(
            profile.access.token_file.to_str(),
            Some("/run/credential-relay/payments/token")
        );
        let [hub, spoke] = &profile.chain[..] else { panic!("{:?}", profile.chain) };
        assert_eq!(hub.session_name.as_str(), "payments-api-x2x4z");
        assert_eq!(hub.external_id.as_deref(), Some("0123"));
        assert_eq!(hub.duration, Duration::from_secs(12 * 3600));
        let tag = |key: &str, value: &str, transitive| Tag {
            key: key.to_owned(),
            value: value.to_owned(),
            transitive,
        };
        let tags = [tag("pod", "api-x2x4z", false), tag("team", "payments", true)];
        assert_eq!(hub.tags, tags);
        let policy = r#"{"Statement":[],"Version":"2012-10-17"}"#;
        assert_eq!(hub.policy.as_ref().unwrap().as_str(), policy);
        assert_eq!(hub.sts.region.as_str(), "eu-west-1");
        assert_eq!(spoke.sts.region.as_str(), "us-east-1");
        assert_eq!(spoke.duration, Duration::from_secs(3600));
        assert_eq!(
            config.warnings,
            [
                "profiles.payments.chain[1].duration: 12h was lowered to 1h: STS grants no more to a \
              role session, which is what assumes this role"
            ]
        );
    }

    #[test]
    fn a_text_in_a_variable_stands_for_a_file() {
        const TEXT: &str = "CREDENTIAL_RELAY_CONFIG_TEXT";
        let variables = environment(&[(TEXT, CHAINED), ("POD_NAME", "api-x2x4z")]);
        let by_text = load(None, &variables).unwrap();
        assert_eq!(by_text, parse(CHAINED, &variables).unwrap());
        let both = load(Some(Path::new("/relay.yaml")), &variables).unwrap_err().to_string();
        assert!(both.contains(&format!("{TEXT}: there is a file too")), "{both}");
    }

    #[test]
    fn what_may_be_a_secret_and_no_path_is_told_by_its_length() {
        for path in ["/etc/relay/aB3", "relay.yaml", "some/Folder/relay-1234567.yml", "relay"] {
            assert_eq!(told_path(Path::new(path)), path);
        }
        for path in ["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "kT4vYq8RzP2mWc7L", "a/b"] {
            assert_eq!(told_path(Path::new(path)), format!("a path of {} characters", path.len()));
        }
    }

    #[test]
    fn the_environment_alone_is_enough() {
        let config = load(
            None,
            &environment(&[
                ("AWS_DEFAULT_REGION", "eu-west-1"),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
                ("AWS_USE_FIPS_ENDPOINT", "false"),
                (
                    "CREDENTIAL_RELAY_ROLE_ARN",
                    "arn:aws:iam::111122223333:role/hub, arn:aws:iam::111122223333:role/spoke",
                ),
                ("CREDENTIAL_RELAY_EXTERNAL_ID", "for-the-last"),
                ("CREDENTIAL_RELAY_DURATION", "30m"),
                ("CREDENTIAL_RELAY_SERVICE_HOST", "10.0.0.1"),
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9531/v1/credentials"),
            ]),
        )
        .unwrap();
        let profile = &config.profiles["default"];
        assert_eq!(profile.source, Source::Environment);
        let [hub, spoke] = &profile.chain[..] else { panic!("{:?}", profile.chain) };
        assert_eq!(hub.external_id, None);
        assert_eq!(hub.session_name.as_str(), "credential-relay-default");
        assert_eq!(spoke.external_id.as_deref(), Some("for-the-last"));
        let endpoint = spoke.sts.endpoint.as_ref().unwrap();
        assert_eq!(endpoint.as_str(), "http://127.0.0.1:4566");
        assert_eq!(
            config.warnings,
            [
                "CREDENTIAL_RELAY_DURATION: 30m is short: it is renewed every 4m30s, which takes 13.3 \
                 calls to STS an hour for each pod; 1h takes 2.3",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI: it leads to the relay itself; set it for the \
                 application's container alone",
            ]
        );
    }

    #[test]
    fn without_a_hop_nothing_is_asked_of_sts() {
        let text = "profiles: { a: { source: { environment: {} }, serve_long_lived_keys: true } }";
        let config = parse(text, &environment(&[("AWS_REGION", "nowhere")])).unwrap();
        assert_eq!(config.profiles["a"].long_lived_keys, LongLivedKeys::Served);
    }
}
