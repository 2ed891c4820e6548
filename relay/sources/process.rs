//! A program that prints a `credential_process` document.

use tokio::process::Command;

use super::process_document::{self, Unfit};
use super::{Fetch, Freshness, Source, program};
use crate::clock::Clock;
use crate::config::source::Process as Settings;
use crate::credential::Credential;
use crate::failure::{Cause, Failure, Stage};
use crate::files::Aside;

const KIND: &str = "process";

/// A program that prints a `credential_process` document, run at each fetch. No shell reads what it
/// is given, and it has the relay's own environment.
pub struct Process {
    settings: Settings,
    clock: Clock,
    starting: Aside,
}

impl Process {
    /// The program of these settings.
    pub fn new(settings: &Settings, clock: Clock) -> Self {
        Self { settings: settings.clone(), clock, starting: Aside::default() }
    }

    async fn keys(&mut self) -> Result<Credential, Failure> {
        let Settings { program, arguments, timeout } = &self.settings;
        let mut command = Command::new(program);
        command.args(arguments);
        let printed = program::printed(command, *timeout, &mut self.starting).await;
        let read = printed.and_then(|text| {
            process_document::parse(&text, self.clock.now()).map_err(|unfit| {
                Unfit::new(unfit.cause, format!("what it printed: {}", unfit.reason))
            })
        });
        read.map_err(|Unfit { cause, reason }| {
            let reason = format!("{}: {reason}", program.display());
            let failure = Failure::new(cause, Stage::Base(KIND), reason);
            match cause {
                Cause::NotConfigured | Cause::Misconfigured => failure,
                _ => failure.advised("program", BY_HAND),
            }
        })
    }
}

const BY_HAND: &str = "run the program by hand, as the relay's user and with the relay's environment: it must print \
                       the document to its standard output and end with exit code 0";

impl Source for Process {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.keys())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    async fn keys(script: &str) -> Result<Credential, Failure> {
        let settings = Settings {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            timeout: Duration::from_secs(60),
        };
        Process::new(&settings, Clock::system()).keys().await
    }

    #[tokio::test]
    async fn the_document_that_is_printed_is_the_credential() {
        let document = format!(
            r#"{{"Version":1,"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{KEY}","SessionToken":"t","Expiration":"2999-01-01T00:00:00Z"}}"#
        );
        let credential = keys(&format!("echo '{document}'")).await.unwrap();
        assert_eq!(credential.secret_access_key.expose(), KEY);
        assert!(credential.remaining(Clock::system().now()).is_some());
        let past = document.replace("2999", "2001");
        let error = keys(&format!("echo '{past}'")).await.unwrap_err();
        assert_eq!(error.cause, Cause::StaleCaller);
    }

    #[tokio::test]
    async fn garbage_is_not_repeated() {
        for (printed, cause) in
            [(KEY.to_owned(), Cause::Transient), (format!("[\"{KEY}\"]"), Cause::Misconfigured)]
        {
            let error = keys(&format!("echo '{printed}'")).await.unwrap_err();
            assert_eq!(error.cause, cause, "{error}");
            assert!(error.to_string().contains("/bin/sh: what it printed: line 1"), "{error}");
            assert!(!error.to_string().contains(KEY), "{error}");
        }
    }
}
