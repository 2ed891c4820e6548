use std::path::PathBuf;

use super::walk::Role;
use super::*;

const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The shared files of a home folder, and the source that reads them.
struct Home {
    folder: tempfile::TempDir,
    source: SharedProfile,
}

impl Home {
    /// With these files; the profile `app` is the one that is meant.
    fn with(config: &str, credentials: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let settings = Settings {
            name: Some("app".to_owned()),
            config_file: Some(write("config", config)),
            credentials_file: Some(write("credentials", credentials)),
            ca_cert: None,
        };
        let clock = Clock::system();
        let source = SharedProfile::new(&settings, &Transports::default(), clock).unwrap();
        Self { folder, source }
    }

    async fn sections(&self) -> ProfileSet {
        let (fs, env) = (Fs::real(), Env::from_slice(&[]));
        let name = Some("app".into());
        aws_config::profile::load(&fs, &env, &self.source.files(), name).await.unwrap()
    }
}

#[tokio::test]
async fn keys_are_read_again_each_time() {
    let credentials =
        format!("[app]\naws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key={KEY}\n");
    let home = Home::with("", &credentials);
    let keys = home.source.keys().await.unwrap();
    assert_eq!(keys.access_key_id.as_str(), "AKIAIOSFODNN7EXAMPLE");
    assert_eq!(keys.secret_access_key.expose(), KEY);
    assert!(matches!((keys.session, keys.validity), (Session::None, Validity::Unlimited)));
    let newer = credentials.replace("EXAMPLE\n", "EXAMPL2\n") + "aws_session_token=token\n";
    std::fs::write(home.folder.path().join("credentials"), newer).unwrap();
    let keys = home.source.keys().await.unwrap();
    assert_eq!(keys.access_key_id.as_str(), "AKIAIOSFODNN7EXAMPL2");
    assert!(matches!(keys.session, Session::Token(_)));
}

#[tokio::test]
async fn a_program_gives_keys_with_their_end() {
    let document = format!(
        r#"{{"Version":1,"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{KEY}","SessionToken":"t","Expiration":"2999-01-01T00:00:00Z"}}"#
    );
    let home = Home::with("[profile app]\ncredential_process = cat $APP_KEYS keys.json\n", "");
    let missing = home.source.keys().await.unwrap_err();
    assert_eq!(missing.cause, Cause::Transient);
    assert!(
        missing.reason.contains("credential_process of the profile app: it ended"),
        "{missing}"
    );
    let path = home.folder.path().join("keys.json");
    std::fs::write(&path, document).unwrap();
    let config = format!("[profile app]\ncredential_process = cat '{}'\n", path.display());
    let home = Home::with(&config, "");
    let keys = home.source.keys().await.unwrap();
    let Validity::Until(life) = keys.validity else { panic!("it ends") };
    assert_eq!(life.expiry().wall.to_string(), "2999-01-01T00:00:00Z");
}

#[tokio::test]
async fn what_is_not_there_is_not_configured_and_what_is_wrong_is() {
    let role = "role_arn = arn:aws:iam::111122223333:role/hub\n";
    let app = |lines: &str| format!("[profile app]\n{lines}");
    for (config, cause, words) in [
        (String::new(), Cause::NotConfigured, "there is no such profile"),
        (app("region = eu-west-1\n"), Cause::NotConfigured, "says of no credentials"),
        (app(&format!("{role}source_profile = gone\n")), Cause::Misconfigured, "gone"),
        (app(&format!("{role}source_profile = app\n")), Cause::NotConfigured, ""),
        (app(role), Cause::Misconfigured, "source_profile"),
        (
            app(&format!("{role}credential_source = EcsContainer\n")),
            Cause::Misconfigured,
            "is not followed",
        ),
        (
            app(&format!("aws_access_key_id = {KEY}\n")),
            Cause::Misconfigured,
            "aws_secret_access_key",
        ),
        (
            app(&format!("aws_access_key_id = {KEY}\naws_secret_access_key = {KEY}\n")),
            Cause::Misconfigured,
            "40 characters",
        ),
        (app(&format!("aws_secret_access_key\n{KEY}\n")), Cause::Misconfigured, "config"),
        (
            app(
                "sso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\nsso_account_id = 111122223333\nsso_role_name = a\n",
            ),
            Cause::StaleCaller,
            "",
        ),
    ] {
        let error = Home::with(&config, "").source.keys().await.unwrap_err();
        assert_eq!(error.cause, cause, "{config}{error}");
        assert!(error.reason.contains(words), "{config}{error}");
        assert!(!error.reason.contains(KEY), "{error}");
    }
    let mut home = Home::with("", "");
    home.source.settings.config_file = Some(home.folder.path().join("none"));
    let error = home.source.keys().await.unwrap_err();
    assert_eq!(error.cause, Cause::NotConfigured);
    assert!(error.reason.contains("none"), "{error}");
}

#[tokio::test]
async fn the_way_to_a_program_is_the_sdks() {
    let hop = |name: &str, from: &str| {
        format!("[profile {name}]\nrole_arn = arn:{name}\nsource_profile = {from}\n")
    };
    let base = "[profile base]\ncredential_process = keys --now\n";
    let roles = |names: &[&'static str]| -> Vec<Role<'static>> {
        let role = |arn| Role { arn, external_id: None, session_name: None };
        names.iter().map(|name| role(*name)).collect()
    };
    for (config, expected) in [
        (hop("app", "mid") + &hop("mid", "base") + base, Some(roles(&["arn:mid", "arn:app"]))),
        (hop("app", "app") + "credential_process = keys --now\n", Some(roles(&["arn:app"]))),
        (base.replace("base", "app"), Some(roles(&[]))),
        (hop("app", "base") + base + "credential_source = Environment\n", None),
        (hop("app", "base") + base + "aws_access_key_id = a\naws_secret_access_key = b\n", None),
        (hop("app", "mid") + &hop("mid", "app"), None),
        (hop("app", "base") + base + "sso_session = dev\n", None),
    ] {
        let home = Home::with(&config, "");
        let sections = home.sections().await;
        let found = walk::process(&sections);
        assert_eq!(
            found.as_ref().map(|found| found.command),
            expected.as_ref().map(|_| "keys --now")
        );
        assert_eq!(found.map(|found| found.roles), expected, "{config}");
    }
}
