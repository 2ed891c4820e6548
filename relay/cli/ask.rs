//! `rotate`, `status` and `healthcheck`: questions to a relay that runs.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hyper::{Method, StatusCode};

use super::client::{self, AskError};
use super::{ConfigArgs, Failed, print};
use crate::admin::status::{Rotated, Status as Document, Trouble};
use crate::config::Admin;
use crate::config::environment::Environment;
use crate::config::mistakes::Mistakes;
use crate::config::values::ProfileName;

/// A rotation goes through every hop of the chain, each with the SDK's own retries.
const ROTATION: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    config: ConfigArgs,
    /// The profile.
    profile: ProfileName,
}

impl Rotate {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let (admin, mistakes) = self.config.admin(environment)?;
        let path = format!("/rotate/{}", self.profile);
        let answer = client::over_socket(&admin.socket, Method::POST, &path, ROTATION)
            .await
            .map_err(|error| not_asked(&admin, mistakes, &error))?;
        if answer.status == StatusCode::OK {
            let rotated: Rotated = read(&answer.body)?;
            let credential = rotated.credential;
            print(&format!(
                "{}: now {} until {}\n",
                self.profile,
                credential.access_key_id,
                credential.expires.as_deref().unwrap_or("it is replaced")
            ))?;
            return Ok(());
        }
        let why = serde_json::from_slice(&answer.body)
            .map_or_else(|_| answer.text(), |trouble: Trouble| in_words(&trouble));
        Err(Failed::Command(format!("{} was not rotated: {why}", self.profile)))
    }
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigArgs,
    /// The document instead of the table.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let (admin, mistakes) = self.config.admin(environment)?;
        let status =
            client::status(&admin).await.map_err(|error| not_asked(&admin, mistakes, &error))?;
        if self.json {
            let text = serde_json::to_string_pretty(&status).map_err(Failed::command)?;
            print(&format!("{text}\n"))?;
        } else {
            print(&table(&status))?;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    config: ConfigArgs,
    /// Which probe to ask.
    #[arg(long, value_enum, default_value_t = Probe::Ready)]
    probe: Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Probe {
    /// It runs, whatever its upstreams do.
    Live,
    /// Every profile holds a valid credential.
    Ready,
    /// The same until it is so, and yes from then on: for what restarts or replaces the relay.
    Startup,
}

impl Healthcheck {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let (admin, mistakes) = self.config.admin(environment)?;
        let address = match admin_address(&admin).await {
            Ok(address) => address,
            Err(error) => return Err(not_asked(&admin, mistakes, &error)),
        };
        let path = match self.probe {
            Probe::Live => "/livez",
            Probe::Ready => "/readyz",
            Probe::Startup => "/startupz",
        };
        let answer = client::over_tcp(address, path, None).await.map_err(|error| {
            if mistakes.is_empty() {
                Failed::Command(format!("{address}: {error}"))
            } else {
                Failed::Configuration(mistakes)
            }
        })?;
        if answer.status == StatusCode::OK {
            print(&format!("{}\n", answer.text()))?;
            Ok(())
        } else {
            Err(Failed::Command(answer.text()))
        }
    }
}

/// Where the probes are: as configured, but where the kernel chose the port the relay is asked.
async fn admin_address(admin: &Admin) -> Result<SocketAddr, AskError> {
    if admin.listen.port() != 0 {
        return Ok(admin.listen);
    }
    client::status(admin).await.map(|status| status.admin)
}

/// Where nobody answers, what is wrong with the configuration comes first.
fn not_asked(admin: &Admin, mistakes: Mistakes, error: &AskError) -> Failed {
    if !mistakes.is_empty() {
        return Failed::Configuration(mistakes);
    }
    Failed::Command(format!(
        "{} (admin.socket): {error}; does the relay run, under this user and with this configuration?",
        admin.socket.display()
    ))
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| {
        Failed::Command(format!(
            "the relay's answer cannot be read ({error}); is it of this version?"
        ))
    })
}

fn in_words(trouble: &Trouble) -> String {
    format!("{}: {} ({})", trouble.stage, trouble.reason, trouble.cause)
}

/// The status for people: a line for each profile, and one more where something is wrong.
fn table(status: &Document) -> String {
    let header = ["PROFILE", "STATE", "ACCESS KEY ID", "EXPIRES", "NEXT", "FROM"];
    let rows: Vec<[&str; 6]> = status
        .profiles
        .iter()
        .map(|profile| {
            let credential = profile.credential.as_ref();
            [
                profile.name.as_str(),
                profile.state.as_str(),
                credential.map_or("-", |credential| credential.access_key_id.as_str()),
                credential
                    .map_or("-", |credential| credential.expires.as_deref().unwrap_or("never")),
                profile.next.as_str(),
                profile.origin.as_str(),
            ]
        })
        .collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for profile in &status.profiles {
        if let Some(trouble) = &profile.trouble {
            let _ = writeln!(text, "{}: last error: {}", profile.name, in_words(trouble));
        }
    }
    if let Some(trouble) = &status.configuration_trouble {
        let _ = writeln!(text, "the configuration has changed and cannot be used: {trouble}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{CredentialStatus, ProfileStatus, State};

    #[test]
    fn the_table_lines_up_and_tells_the_last_error() {
        let profile = |name: &str, state, credential, trouble| ProfileStatus {
            name: name.to_owned(),
            origin: "file".to_owned(),
            state,
            credential,
            next: "retry at 2026-11-25T00:00:00Z".to_owned(),
            trouble,
        };
        let status = Document {
            version: "0".to_owned(),
            now: "2026-11-25T00:00:00Z".to_owned(),
            endpoint: Vec::new(),
            admin: ([127, 0, 0, 1], 1).into(),
            configuration_trouble: Some("read at noon: no".to_owned()),
            profiles: vec![
                profile(
                    "payments",
                    State::Ready,
                    Some(CredentialStatus {
                        access_key_id: "ASIATESTTESTTES00001".to_owned(),
                        role_arn: None,
                        expires: None,
                    }),
                    None,
                ),
                profile(
                    "b",
                    State::Unavailable,
                    None,
                    Some(Trouble {
                        stage: "hop 1 (arn)".to_owned(),
                        cause: "denied".to_owned(),
                        reason: "no".to_owned(),
                    }),
                ),
            ],
        };
        assert_eq!(
            table(&status),
            "\
PROFILE   STATE        ACCESS KEY ID         EXPIRES  NEXT                           FROM
payments  ready        ASIATESTTESTTES00001  never    retry at 2026-11-25T00:00:00Z  file
b         unavailable  -                     -        retry at 2026-11-25T00:00:00Z  file
b: last error: hop 1 (arn): no (denied)
the configuration has changed and cannot be used: read at noon: no
"
        );
    }
}
