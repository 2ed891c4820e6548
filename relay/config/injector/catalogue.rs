//! What the sidecars are configured with: the profiles that pods may name, and what stands beside
//! them. A pod's configuration is put together from what it wants, and then checked by the relay's
//! own rules, so that no pod gets one that its sidecar would refuse.

mod check;
mod files;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Map, Value, json};

use super::document::InjectorDocument;
use crate::arn::RoleArn;
use crate::config::load;
use crate::config::mistakes::{Mistakes, Place};
use crate::config::values::{ProfileName, TokenDigest, VaultName};
pub use check::PodNames;

/// A variable's longest value is 128 KiB (Linux's MAX_ARG_STRLEN), its name included.
const LONGEST_TEXT: usize = 120 * 1024;

/// What the names of inline profiles start with.
const INLINE: &str = "inline";

/// What the sidecars are configured with.
#[derive(Clone, Debug)]
pub struct Catalogue {
    relay: Map<String, Value>,
    profiles: BTreeMap<ProfileName, Map<String, Value>>,
    inline_source: Option<Value>,
    env: BTreeMap<String, String>,
    endpoint: SocketAddr,
    admin_port: u16,
}

/// A profile that a pod's annotations describe themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inline {
    /// What a role of Vault's gives.
    Vault(VaultName),
    /// A role, assumed with what a role of Vault's gives.
    VaultThenRole(VaultName, RoleArn),
    /// A role, assumed with what `inline.source` gives.
    Role(RoleArn),
}

impl Inline {
    /// Its profile's name, which no profile of a catalogue has. The same is always called the same:
    /// a pod that is looked at again must not change.
    pub fn name(&self) -> Option<ProfileName> {
        let (role, arn) = match self {
            Self::Vault(role) => (role.as_str(), ""),
            Self::VaultThenRole(role, arn) => (role.as_str(), arn.as_str()),
            Self::Role(arn) => ("", arn.as_str()),
        };
        format!("{INLINE}-{}", short_of(&format!("{role} {arn}"))).parse().ok()
    }
}

/// 16 hexadecimal digits that stand for a text (FNV-1a): for names, not for secrets.
pub fn short_of(text: &str) -> String {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// One profile of a pod's configuration.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name there; of the catalogue where it is not inline.
    pub name: ProfileName,
    /// What it is, where it is not of the catalogue.
    pub inline: Option<Inline>,
    /// A file with a token of its own for each container that has it; one at least.
    pub token_files: Vec<String>,
    /// What those tokens are known by that stand in the containers' environment.
    pub token_digests: Vec<TokenDigest>,
}

/// A pod's whole configuration of the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed(String);

impl Composed {
    /// Its text: JSON, and so YAML too. It holds no secrets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Catalogue {
    /// The names of its profiles.
    pub fn names(&self) -> Vec<&str> {
        self.profiles.keys().map(ProfileName::as_str).collect()
    }

    /// Whether there is a profile of this name.
    pub fn has(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    /// Whether a role's ARN alone is enough for an inline profile.
    pub fn has_inline_source(&self) -> bool {
        self.inline_source.is_some()
    }

    /// Where an application asks the relay.
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// Where the kubelet asks the relay.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Puts a pod's configuration together, and checks it as the pod's sidecar will.
    ///
    /// # Errors
    /// Everything that the sidecar would refuse.
    pub fn compose(&self, wanted: &[Wanted], pod: &PodNames<'_>) -> Result<Composed, Mistakes> {
        let mut profiles = Map::new();
        for wanted in wanted {
            let mut body = match &wanted.inline {
                Some(inline) => self.inline_body(inline),
                None => self.profiles.get(&wanted.name).cloned().unwrap_or_default(),
            };
            let mut access = match wanted.token_files.split_first() {
                Some((first, [])) => json!({ "token_file": first }),
                Some((first, more)) => json!({ "token_file": first, "more_token_files": more }),
                None => json!({}),
            };
            if !wanted.token_digests.is_empty() {
                let digests = wanted.token_digests.iter().map(ToString::to_string);
                access["token_digests"] = digests.collect();
            }
            body.insert("access".to_owned(), access);
            profiles.insert(wanted.name.to_string(), body.into());
        }
        let mut whole = self.relay.clone();
        whole.insert("profiles".to_owned(), profiles.into());
        let text = Value::from(whole).to_string();
        if text.len() > LONGEST_TEXT {
            let what = format!(
                "of {} bytes, and a variable holds {LONGEST_TEXT}: use a ConfigMap, or fewer profiles in one pod",
                text.len()
            );
            return Err(Mistakes::one(Place::File, what));
        }
        let environment = check::environment(&self.env, &self.relay, pod);
        let checked = load::parse(&text, &environment);
        checked.map_err(|mistakes| mistakes.moved(|place| check::to_injector(place, &self.env)))?;
        Ok(Composed(text))
    }

    fn inline_body(&self, inline: &Inline) -> Map<String, Value> {
        let vault = |role: &VaultName| json!({ "vault": { "role": role.as_str() } });
        let chain = |arn: &RoleArn| json!([{ "role_arn": arn.as_str() }]);
        let (source, chain) = match inline {
            Inline::Vault(role) => (vault(role), None),
            Inline::VaultThenRole(role, arn) => (vault(role), Some(chain(arn))),
            Inline::Role(arn) => (self.inline_source.clone().unwrap_or_default(), Some(chain(arn))),
        };
        let mut body = Map::from_iter([("source".to_owned(), source)]);
        body.extend(chain.map(|chain| ("chain".to_owned(), chain)));
        body
    }
}

/// Checks what the sidecars are configured with. `env` are the further variables that they have.
/// None where something is wrong; beside it what is right but should be known.
pub(super) fn resolve(
    document: InjectorDocument,
    value: &Value,
    env: &BTreeMap<String, String>,
    inline_vault: bool,
    mistakes: &mut Mistakes,
) -> (Option<Catalogue>, Vec<String>) {
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let relay = object(value.get("relay")).unwrap_or_default();
    let inline_source = value.pointer("/inline/source").filter(|source| !source.is_null()).cloned();
    check::own_rules(&document, mistakes);
    let Some(config) = check::check(document, env, &relay, inline_vault, mistakes) else {
        return (None, Vec::new());
    };
    let profiles = object(value.get("profiles")).unwrap_or_default();
    let profiles = profiles.into_iter().filter_map(|(name, body)| {
        Some((name.parse().ok()?, body.as_object().cloned().unwrap_or_default()))
    });
    let catalogue = Catalogue {
        relay,
        profiles: profiles.collect(),
        inline_source,
        env: env.clone(),
        endpoint: reached(config.endpoint.listen),
        admin_port: config.admin.listen.port(),
    };
    (Some(catalogue), config.warnings)
}

/// Where a listener is reached from within the pod.
fn reached(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listen.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => listen,
    }
}
