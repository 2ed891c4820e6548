//! What the program finds in its environment: the way to the relay, and no other way past it.

use std::path::PathBuf;

use tokio::process::Command;

use crate::config::environment::{LEADING_PAST, no_proxy};
use crate::config::{LongLivedKeys, Profile, Source, Sts};
use crate::credential::Secret;

/// The relay's own, which goes no further.
const VAULT_TOKEN: &str = "VAULT_TOKEN";

const OWN: &str = "CREDENTIAL_RELAY_";

/// The shared files come before the endpoint in every SDK.
const EMPTY: [&str; 2] = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"];

const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// What the program is told.
pub(super) struct Variables {
    pub(super) url: String,
    pub(super) token_file: PathBuf,
    /// Some old clients do not read the file.
    pub(super) token: Secret,
    pub(super) region: Option<String>,
}

impl Variables {
    /// Sets all of them for a program.
    pub(super) fn set_for(&self, command: &mut Command) {
        for name in LEADING_PAST.into_iter().chain([VAULT_TOKEN]) {
            command.env_remove(name);
        }
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.as_encoded_bytes().starts_with(OWN.as_bytes())) {
            command.env_remove(name);
        }
        for name in EMPTY {
            command.env(name, "/dev/null");
        }
        command
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &self.url)
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &self.token_file)
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", self.token.expose())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // Programs read one of them, or one before the other.
        for (name, other) in [("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")] {
            let list = given(name).or_else(|| given(other)).unwrap_or_default();
            command.env(name, no_proxy(&list));
        }
        if let Some(region) = &self.region
            && REGIONS.iter().all(|name| given(name).is_none())
        {
            command.envs(REGIONS.map(|name| (name, region)));
        }
    }
}

/// The region in which the profile's last credentials are made: a program that says of none is most
/// likely meant to work there.
pub(super) fn region(profile: &Profile, everywhere: Option<&Sts>) -> Option<String> {
    let last = match (profile.chain.last(), &profile.long_lived_keys, &profile.source) {
        (Some(hop), ..) => Some(&hop.sts),
        (None, LongLivedKeys::Exchanged { sts, .. }, _) => Some(sts),
        (None, _, Source::WebIdentity(source)) => Some(&source.sts),
        (None, _, Source::RolesAnywhere(source)) => return Some(source.region.as_str().to_owned()),
        (None, ..) => everywhere,
    };
    last.map(|sts| sts.region.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::environment::Environment;
    use crate::config::load;

    #[test]
    fn the_way_to_the_relay_is_set_and_others_are_not_there() {
        let variables = Variables {
            url: "http://127.0.0.1:1/v1/credentials/a".to_owned(),
            token_file: "/tmp/token".into(),
            token: Secret::new("access-token".to_owned()),
            region: None,
        };
        let mut command = Command::new("true");
        variables.set_for(&mut command);
        let set: BTreeMap<_, _> = command.as_std().get_envs().collect();
        for removed in LEADING_PAST.into_iter().chain([VAULT_TOKEN]) {
            assert_eq!(set.get(std::ffi::OsStr::new(removed)), Some(&None), "{removed}");
        }
        let value = |name: &str| set[std::ffi::OsStr::new(name)].unwrap().to_str().unwrap();
        assert_eq!(value("AWS_CONFIG_FILE"), "/dev/null");
        assert_eq!(value("AWS_CONTAINER_AUTHORIZATION_TOKEN"), "access-token");
        assert!(value("NO_PROXY").contains("127.0.0.1") && value("no_proxy").contains("localhost"));
    }

    #[test]
    fn the_region_is_that_of_the_last_credentials() {
        let role = "arn:aws:iam::111122223333:role/a";
        let text = format!(
            "
sts: {{ region: eu-west-1 }}
profiles:
  served: {{ source: {{ environment: {{}} }}, serve_long_lived_keys: true }}
  chained: {{ source: {{ environment: {{}} }}, chain: [{{ role_arn: '{role}' }}, {{ role_arn: '{role}', region: us-east-1 }}] }}
  web: {{ source: {{ web_identity: {{ role_arn: '{role}', token_file: /token, region: eu-north-1 }} }} }}
"
        );
        let config = load::parse(&text, &Environment::default()).unwrap();
        for (name, expected) in
            [("served", "eu-west-1"), ("chained", "us-east-1"), ("web", "eu-north-1")]
        {
            let found = region(&config.profiles[name], config.sts.as_ref());
            assert_eq!(found.as_deref(), Some(expected), "{name}");
        }
    }
}
