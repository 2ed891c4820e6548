use std::path::PathBuf;

use futures_util::FutureExt;

use super::walk::Role;
use super::*;
use crate::config::source::Meant;

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
            meant: Meant::ByName,
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
        let shared = Shared::read(&self.source.settings, |_| None).unwrap();
        shared.sections("app").await.unwrap()
    }
}

#[tokio::test]
async fn keys_are_read_again_each_time() {
    let credentials =
        format!("[app]\naws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key={KEY}\n");
    let mut home = Home::with("", &credentials);
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
    let mut home = Home::with("[profile app]\ncredential_process = cat $APP_KEYS keys.json\n", "");
    let missing = home.source.keys().await.unwrap_err();
    assert_eq!(missing.cause, Cause::Transient);
    assert!(
        missing.reason.contains("credential_process of the profile app: it ended"),
        "{missing}"
    );
    let path = home.folder.path().join("keys.json");
    std::fs::write(&path, document).unwrap();
    let config = format!("[profile app]\ncredential_process = cat '{}'\n", path.display());
    let mut home = Home::with(&config, "");
    let keys = home.source.keys().await.unwrap();
    let Validity::Until(life) = keys.validity else { panic!("it ends") };
    assert_eq!(life.expiry().wall.to_string(), "2999-01-01T00:00:00Z");
}

#[tokio::test]
async fn what_is_not_there_is_not_configured_and_what_is_wrong_is() {
    let role = "role_arn = arn:aws:iam::111122223333:role/hub\n";
    let app = |lines: &str| format!("[profile app]\n{lines}");
    for (config, cause, words) in [
        (String::new(), Cause::Transient, "there is no such profile in /"),
        (app("region = eu-west-1\n"), Cause::Transient, "says of no credentials"),
        (app(&format!("{role}source_profile = gone\n")), Cause::Misconfigured, "gone"),
        (app(&format!("{role}source_profile = app\n")), Cause::Misconfigured, ""),
        (app(role), Cause::Misconfigured, "source_profile"),
        (
            app(&format!("{role}credential_source = EcsContainer\n")),
            Cause::Misconfigured,
            "is not followed",
        ),
        (
            app(&format!("{role}credential_source = ec2instanceMetadata\n")),
            Cause::Misconfigured,
            "write the source imds: {}",
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
        (app(&format!("aws_secret_access_key\n{KEY}\n")), Cause::Misconfigured, "/config: "),
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
    assert_eq!(error.cause, Cause::Transient);
    assert!(error.reason.contains("none"), "{error}");
}

/// `auto` goes on from what is not configured, to another identity.
#[tokio::test]
async fn only_a_profile_that_nobody_named_and_that_says_nothing_is_not_configured() {
    let way = "[profile app]\nregion = eu-west-1\ncredential_source = Environment\n";
    for (config, by_name, if_there) in [
        ("", Cause::Transient, Cause::NotConfigured),
        ("[profile app]\nregion = eu-west-1\n", Cause::Transient, Cause::NotConfigured),
        (way, Cause::Transient, Cause::Transient),
        ("[profile app]\ncredential_process = exit 127\n", Cause::Transient, Cause::Transient),
    ] {
        let mut home = Home::with(config, "");
        for (meant, cause) in [(Meant::ByName, by_name), (Meant::IfThere, if_there)] {
            home.source.settings.meant = meant;
            let error = home.source.keys().await.unwrap_err();
            assert_eq!(error.cause, cause, "{config}{error}");
            let advised = matches!(error.advice, crate::failure::Advice::Known { .. });
            assert!(advised || config.contains("credential_"), "{error}");
        }
    }
}

/// A named pipe stands for a mount that hangs: whoever opens it waits for the other end.
#[tokio::test]
async fn a_file_that_hangs_holds_up_no_other_work() {
    let mut home = Home::with("", "");
    let (config, pipe) = (home.folder.path().join("config"), home.folder.path().join("pipe"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let role = "role_arn = arn:aws:iam::111122223333:role/hub\nregion = eu-west-1\n";
    let identity = format!("[profile app]\n{role}web_identity_token_file = {}\n", pipe.display());
    std::fs::write(&config, identity).unwrap();
    // This other work ends once a reader is there, whose read then waits for what is written.
    let writer = async {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).custom_flags(flags);
        loop {
            match options.open(&pipe) {
                Ok(writer) => return writer,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let writer = tokio::select! {
        _ = home.source.keys() => panic!("it hangs"),
        writer = writer => writer,
    };
    let keys = format!(
        "[profile app]\naws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key={KEY}\n"
    );
    std::fs::write(&config, keys).unwrap();
    let mut next = Box::pin(home.source.keys());
    assert!((&mut next).now_or_never().is_none(), "it waits for the thread that hangs");
    drop(writer);
    assert_eq!(next.await.unwrap().secret_access_key.expose(), KEY);
    // The shared files themselves are not even opened to the end.
    home.source.settings.config_file = Some(pipe);
    let error = home.source.keys().await.unwrap_err();
    assert_eq!(error.cause, Cause::Transient);
    assert!(error.reason.contains("not a regular file"), "{error}");
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
