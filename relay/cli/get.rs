//! `get`: a profile's credentials on standard output, from a relay that runs or, where none does,
//! fetched once.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use hyper::StatusCode;
use serde::Deserialize;

use super::client::{self, AskError};
use super::{ConfigArgs, Failed, Format, print};
use crate::app::assemble::{NEW_KEYS, Workshop, fetch_once};
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::values::ProfileName;
use crate::config::{Config, LongLivedKeys, Profile};
use crate::credential::{Secret, document};
use crate::metrics::Metrics;
use crate::store::Served;

#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    config: ConfigArgs,
    /// The profile; it may be left out where there is one alone.
    profile: Option<ProfileName>,
    /// How to print them.
    #[arg(long, value_enum, default_value_t = Format::Process)]
    format: Format,
}

/// The endpoint's document, as far as it is printed in other forms.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    access_key_id: String,
    secret_access_key: Secret,
    token: Option<Secret>,
    expiration: Option<String>,
}

impl Get {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let config = self.config.load(environment)?;
        let (name, profile) = chosen(&config, self.profile.as_ref())?;
        let body = match ask(&config, name, profile).await? {
            Some(body) => body,
            None => fetch(&config, name, profile).await?,
        };
        print(&rendered(&body, self.format)?)?;
        Ok(())
    }
}

/// The profile that was named, or the only one.
pub(super) fn chosen<'a>(
    config: &'a Config,
    named: Option<&ProfileName>,
) -> Result<(&'a ProfileName, &'a Profile), Failed> {
    let names = || config.profiles.keys().map(ProfileName::as_str).collect::<Vec<_>>().join(", ");
    match named {
        Some(name) => config.profiles.get_key_value(name).ok_or_else(|| {
            Failed::Setting(format!("there is no profile {name}; there are: {}", names()))
        }),
        None if config.profiles.len() > 1 => {
            Err(Failed::Setting(format!("name one of the profiles: {}", names())))
        }
        None => config
            .profiles
            .first_key_value()
            .ok_or_else(|| Failed::Setting("there is no profile".to_owned())),
    }
}

/// The document from the relay that the configuration describes, if it runs.
async fn ask(
    config: &Config,
    name: &ProfileName,
    profile: &Profile,
) -> Result<Option<bytes::Bytes>, Failed> {
    let Some(address) = endpoint_address(config).await else {
        return Ok(None);
    };
    let file = &profile.access.token_file;
    let token = match std::fs::read_to_string(file) {
        Ok(text) => Secret::new(text).trimmed(),
        // Without a relay there is no file either, unless one ran before.
        Err(_) if !client::listens(address).await => return Ok(None),
        Err(error) => {
            let said = format!("access.token_file {}: {error}", file.display());
            return Err(Failed::Command(said));
        }
    };
    let path = format!("/v1/credentials/{name}");
    match client::over_tcp(address, &path, Some(&token)).await {
        Ok(answer) if answer.status == StatusCode::OK => Ok(Some(answer.body)),
        // It may be that the endpoint does not serve what the source gives: here it is printed.
        Ok(answer)
            if answer.status == StatusCode::FORBIDDEN
                && profile.chain.is_empty()
                && profile.long_lived_keys == LongLivedKeys::Refused =>
        {
            Ok(None)
        }
        Ok(answer) => Err(Failed::Command(format!(
            "the relay at {address} answered {}: {}",
            answer.status.as_u16(),
            answer.text()
        ))),
        Err(AskError::NotThere(_)) => Ok(None),
        Err(error) => Err(Failed::Command(format!("{address}: {error}"))),
    }
}

/// Where the relay's endpoint is: the relay itself knows best, since the kernel may have chosen the
/// port; who may not ask it (the socket is its own user's) goes by the configuration.
async fn endpoint_address(config: &Config) -> Option<SocketAddr> {
    match client::status(&config.admin).await {
        Ok(status) => status.endpoint.first().copied(),
        Err(_) => Some(config.endpoint.listen).filter(|listen| listen.port() != 0),
    }
}

/// Fetches once, as the relay would.
async fn fetch(
    config: &Config,
    name: &ProfileName,
    profile: &Profile,
) -> Result<bytes::Bytes, Failed> {
    let clock = Clock::system();
    let mut workshop = Workshop::new(clock.clone(), Metrics::new(), &config.own_addresses());
    let mut source = workshop.source(name, profile).map_err(Failed::command)?;
    let proof = workshop.proof(name, profile).map_err(Failed::command)?;
    let served = fetch_once(source.as_mut(), profile)
        .await
        .and_then(|credential| Served::new(credential, clock.now()))
        .map(Arc::new)
        .map_err(Failed::command)?;
    if let Some(proof) = proof {
        let served = Arc::clone(&served);
        proof.wait(served, &clock, NEW_KEYS).await.map_err(Failed::command)?;
    }
    Ok(served.body())
}

fn rendered(body: &[u8], format: Format) -> Result<String, Failed> {
    // serde_json quotes what it did not expect, which may be a key: only that it failed is told.
    let keys: Container = serde_json::from_slice(body)
        .map_err(|_| Failed::Command("the relay's answer is no credential".to_owned()))?;
    Ok(match format {
        Format::Json => format!("{}\n", String::from_utf8_lossy(body)),
        Format::Process => {
            let text = document::process(
                &keys.access_key_id,
                &keys.secret_access_key,
                keys.token.as_ref(),
                keys.expiration.as_deref(),
            );
            format!("{}\n", String::from_utf8_lossy(&text))
        }
        Format::Env => exports(&keys),
    })
}

/// Lines for a shell's `eval`. Every value is quoted: what the endpoint gives is printable ASCII,
/// and a quote in it would end the string.
fn exports(keys: &Container) -> String {
    let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
    let mut lines = format!(
        "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n",
        quoted(&keys.access_key_id),
        quoted(keys.secret_access_key.expose())
    );
    lines.push_str(&match &keys.token {
        Some(token) => format!("export AWS_SESSION_TOKEN={}\n", quoted(token.expose())),
        None => "unset AWS_SESSION_TOKEN\n".to_owned(),
    });
    if let Some(expiration) = &keys.expiration {
        lines.push_str(&format!("export AWS_CREDENTIAL_EXPIRATION={}\n", quoted(expiration)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"Code":"Success","AccessKeyId":"ASIAX","SecretAccessKey":"a'b","Token":"t","Expiration":"2026-11-25T00:07:10Z"}"#;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        assert_eq!(
            rendered(BODY, Format::Env).unwrap(),
            "export AWS_ACCESS_KEY_ID='ASIAX'\nexport AWS_SECRET_ACCESS_KEY='a'\\''b'\nexport AWS_SESSION_TOKEN='t'\nexport AWS_CREDENTIAL_EXPIRATION='2026-11-25T00:07:10Z'\n"
        );
    }

    #[test]
    fn a_credential_process_document_is_printed() {
        assert_eq!(
            rendered(BODY, Format::Process).unwrap(),
            "{\"Version\":1,\"AccessKeyId\":\"ASIAX\",\"SecretAccessKey\":\"a'b\",\"SessionToken\":\"t\",\"Expiration\":\"2026-11-25T00:07:10Z\"}\n"
        );
    }

    #[test]
    fn an_answer_that_is_none_is_not_quoted() {
        let error = rendered(br#"{"AccessKeyId":7,"SecretAccessKey":"hush"}"#, Format::Env);
        assert!(!error.unwrap_err().to_string().contains("hush"));
    }
}
