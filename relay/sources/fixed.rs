//! Fixed keys, from the relay's environment or from a file: the weakest of the sources, since
//! somebody must rotate them by hand.

use std::path::PathBuf;
use std::{fmt, io};

use super::process_document::{self, LARGEST};
use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::credential::{
    Credential, KeyIdError, Principal, Propagation, Secret, Session, Validity,
};
use crate::failure::{Cause, Failure, Stage};
use crate::files::{self, Aside};

const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if it is there, `AWS_SESSION_TOKEN`.
pub struct Environment {
    look_up: fn(&str) -> Option<String>,
}

impl Environment {
    /// Over a way to look a variable up.
    pub fn new(look_up: fn(&str) -> Option<String>) -> Self {
        Self { look_up }
    }

    fn read(&self) -> Result<Credential, Failure> {
        let fail = |cause, reason: String| Failure::new(cause, Stage::Base(self.kind()), reason);
        let look = |name: &str| (self.look_up)(name).filter(|value| !value.trim().is_empty());
        // Half of a pair, or blanks, were meant to be used: `auto` must not end in another identity over it.
        let nothing = KEYS.iter().all(|name| (self.look_up)(name).is_none_or(|v| v.is_empty()));
        let cause = if nothing { Cause::NotConfigured } else { Cause::Misconfigured };
        let need = |name: &str| {
            look(name).ok_or_else(|| {
                let [id, key] = KEYS;
                fail(
                    cause,
                    format!("{name} is not set; set {id} and {key}, or choose another source"),
                )
            })
        };
        let id = need("AWS_ACCESS_KEY_ID")?;
        Ok(Credential {
            access_key_id: id.trim().parse().map_err(|error: KeyIdError| {
                fail(Cause::Misconfigured, format!("AWS_ACCESS_KEY_ID: {error}"))
            })?,
            secret_access_key: Secret::new(need("AWS_SECRET_ACCESS_KEY")?.trim().to_owned()),
            session: Session::of(
                look("AWS_SESSION_TOKEN").map(|token| Secret::new(token.trim().to_owned())),
            ),
            validity: Validity::Unlimited,
            principal: Principal::Unknown,
            propagation: Propagation::Done,
        })
    }
}

impl Source for Environment {
    fn kind(&self) -> &'static str {
        "environment"
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(std::future::ready(self.read()))
    }
}

/// A file in the JSON form that a `credential_process` prints, read at each fetch so that whoever
/// rotates the keys need not restart anything.
pub struct File {
    path: PathBuf,
    clock: Clock,
    aside: Aside,
}

impl File {
    /// The file at `path`.
    pub fn new(path: PathBuf, clock: Clock) -> Self {
        Self { path, clock, aside: Aside::default() }
    }

    async fn read(&mut self) -> Result<Credential, Failure> {
        let path = self.path.clone();
        let read = self.aside.run(move || files::read(&path, LARGEST)).await;
        let content = read.flatten().map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::NotFound => Cause::NotConfigured,
                _ => Cause::Transient,
            };
            self.fail(cause, format!("it cannot be read: {error}"))
        })?;
        process_document::parse(&content, self.clock.now())
            .map_err(|unfit| self.fail(unfit.cause, unfit.reason))
    }

    fn fail(&self, cause: Cause, reason: impl fmt::Display) -> Failure {
        let reason = format!("{}: {reason}", self.path.display());
        Failure::new(cause, Stage::Base("file"), reason)
    }
}

impl Source for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Moment, Timestamp};

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn file(text: &str) -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.json");
        std::fs::write(&path, text).unwrap();
        (folder, File::new(path, Clock::system()))
    }

    #[test]
    fn the_environment_gives_keys_with_or_without_a_session() {
        let user = Environment::new(|name| match name {
            "AWS_ACCESS_KEY_ID" => Some("AKIAIOSFODNN7EXAMPLE".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("secret\n".to_owned()),
            _ => None,
        });
        let credential = user.read().unwrap();
        assert_eq!(credential.secret_access_key.expose(), "secret");
        assert!(matches!(credential.session, Session::None));

        let half = Environment::new(|name| {
            (name == "AWS_ACCESS_KEY_ID").then(|| "AKIAIOSFODNN7EXAMPLE".to_owned())
        });
        let error = half.read().unwrap_err();
        assert_eq!(error.cause, Cause::Misconfigured);
        assert_eq!(
            Environment::new(|_| Some(" ".to_owned())).read().unwrap_err().cause,
            Cause::Misconfigured,
            "blanks are a secret that broke, and no reason for another identity"
        );
        assert_eq!(Environment::new(|_| None).read().unwrap_err().cause, Cause::NotConfigured);
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY is not set"), "{error}");
    }

    #[test]
    fn keys_in_the_wrong_order_are_not_told() {
        let swapped = Environment::new(|name| {
            let id = name == "AWS_ACCESS_KEY_ID";
            Some(if id { KEY } else { "AKIAIOSFODNN7EXAMPLE" }.to_owned())
        });
        let error = swapped.read().unwrap_err().to_string();
        assert!(error.contains("40 characters") && !error.contains(KEY), "{error}");
    }

    #[tokio::test]
    async fn the_file_is_read_again_each_time() {
        let form = |id: &str| {
            format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"{KEY}\n"}}"#)
        };
        let (_folder, mut source) = file(&form("AKIAIOSFODNN7EXAMPLE"));
        assert_eq!(source.read().await.unwrap().secret_access_key.expose(), KEY);
        std::fs::write(&source.path, form("AKIAIOSFODNN7EXAMPL2")).unwrap();
        assert_eq!(source.read().await.unwrap().access_key_id.as_str(), "AKIAIOSFODNN7EXAMPL2");
    }

    #[tokio::test]
    async fn an_expiration_is_kept_and_a_past_one_is_stale() {
        let form = |end: &str| {
            format!(
                r#"{{"Version":1,"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{KEY}","SessionToken":"t","Expiration":"{end}"}}"#
            )
        };
        let (_folder, mut source) = file(&form("2999-01-01T00:00:00+00:00"));
        let credential = source.read().await.unwrap();
        assert!(matches!(credential.validity, Validity::Until(life)
            if life.expiry().wall == Timestamp::parse_rfc3339("2999-01-01T00:00:00Z").unwrap()));
        let now: Moment = source.clock.now();
        assert!(credential.usable(now));
        let (_folder, mut source) = file(&form("2001-01-01T00:00:00Z"));
        assert_eq!(source.read().await.unwrap_err().cause, Cause::StaleCaller);
    }

    #[tokio::test]
    async fn a_broken_file_is_explained_without_its_text() {
        let whole = format!(
            r#"{{"Version":1,"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"{KEY}"}}"#
        );
        for (text, cause) in [
            (KEY.to_owned(), Cause::Transient),
            (whole[..whole.len() / 2].to_owned(), Cause::Transient),
            (String::new(), Cause::Transient),
            (whole.replace("AKIAIOSFODNN7EXAMPLE", KEY), Cause::Misconfigured),
            (whole.replace(":1,", &format!(":\"{KEY}\",")), Cause::Misconfigured),
            (whole.replace(":1,", ":2,"), Cause::Misconfigured),
        ] {
            let (_folder, mut source) = file(&text);
            let error = source.read().await.unwrap_err();
            assert_eq!(error.cause, cause, "{error}");
            let said = error.to_string();
            assert!(said.contains("base.json") && !said.contains(KEY), "{said}");
        }
        let mut source = File::new("/no/such/file".into(), Clock::system());
        assert_eq!(source.read().await.unwrap_err().cause, Cause::NotConfigured);
    }
}
