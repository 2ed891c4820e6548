//! Who gets which profile, by which access token, and what the relay is configured with.

use std::collections::BTreeMap;

use serde_json::Value;

use super::sidecar::TEXT;
use super::{Denial, Mint, Pod, RELAY, Subject};
use crate::access::AccessToken;
use crate::config::injector::{Composed, Injector, PodNames, Wanted, short_of};
use crate::config::values::{ProfileName, TokenDigest};
use crate::injector::pod::name_of;
use crate::injector::wishes::{
    Configuration, Conflicts, Delivery, INLINE_TOKEN, Identity, ROLE_ARN, Wish, Wishes, annotation,
};

/// Where the relay keeps what it shares with the applications, and its socket.
pub(super) const RUN: &str = "/run/credential-relay";

/// What a volume's name has at most.
const LONGEST_NAME: usize = 63;

/// What is done to one pod.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Injector,
    pub(super) source: Source,
    pub(super) shares: Vec<Share>,
    pub(super) conflicts: Conflicts,
}

/// What the sidecar is configured with.
pub(super) enum Source {
    /// A text.
    Text(Composed),
    /// A ConfigMap of the pod's namespace.
    ConfigMap(String),
}

/// What one container gets.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) container: String,
    pub(super) profile: ProfileName,
    /// The volume in which its access token is.
    pub(super) volume: String,
    /// Where the relay sees that volume.
    pub(super) folder: String,
    pub(super) token: Token,
}

/// Where a container finds an access token.
#[derive(Clone, Debug)]
pub(super) enum Token {
    /// In its volume.
    File,
    /// In its environment too: another one, since nobody but the relay knows that of the volume.
    Inline(AccessToken),
}

/// The variable for a token that stands in the environment.
pub(super) const INLINE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

impl<'a> Plan<'a> {
    /// Makes it.
    ///
    /// # Errors
    /// What the sidecar would refuse.
    pub(super) fn of(
        pod: Pod<'_>,
        subject: Subject<'_>,
        wishes: &Wishes,
        settings: &'a Injector,
        mint: Mint<'_>,
    ) -> Result<Self, Denial> {
        let (source, shares) = match &wishes.configuration {
            Configuration::ConfigMap(name) => {
                (Source::ConfigMap(name.clone()), of_config_map(wishes))
            }
            Configuration::Composed => {
                let (wanted, shares) =
                    of_catalogue(wishes, &mut Tokens { pod, given: Vec::new(), mint })?;
                let name = pod.name();
                let Subject { namespace, service_account } = subject;
                let names = PodNames { name: &name, namespace, service_account };
                let composed = settings.catalogue.compose(&wanted, &names);
                (Source::Text(composed.map_err(|mistakes| refused(&mistakes))?), shares)
            }
        };
        Ok(Self { settings, source, shares, conflicts: wishes.conflicts })
    }

    /// What a container gets, if it gets anything.
    pub(super) fn share(&self, container: &str) -> Option<&Share> {
        self.shares.iter().find(|share| share.container == container)
    }
}

fn refused(mistakes: &crate::config::mistakes::Mistakes) -> Denial {
    let mut denial = Denial::default();
    for mistake in mistakes.iter() {
        let place = format!("the sidecar's configuration, {}", mistake.place);
        denial.add(place, mistake.what.clone());
    }
    denial
}

/// Each container has a token of its own, so that one that leaks is known by its container.
fn of_catalogue(
    wishes: &Wishes,
    tokens: &mut Tokens<'_>,
) -> Result<(Vec<Wanted>, Vec<Share>), Denial> {
    let mut shares = Vec::new();
    let mut profiles: BTreeMap<ProfileName, Wanted> = BTreeMap::new();
    for wish in &wishes.containers {
        let Wish { container, identity, .. } = wish;
        let (name, inline) = match identity {
            Identity::Profile(name) => (Some(name.clone()), None),
            Identity::Inline(inline) => (inline.name(), Some(inline.clone())),
        };
        let Some(name) = name else { continue };
        let folder = format!("{RUN}/access/{container}");
        let token_file = format!("{folder}/token");
        let wanted = profiles.entry(name.clone()).or_insert_with(|| Wanted {
            name: name.clone(),
            inline: inline.clone(),
            token_files: Vec::new(),
            token_digests: Vec::new(),
        });
        if wanted.inline != inline {
            let what =
                "two roles of this pod have the same short name; choose another for one of them";
            return Err(Denial::one(annotation(ROLE_ARN), what));
        }
        wanted.token_files.push(token_file);
        let token = tokens.of(wish)?;
        if let Token::Inline(token) = &token {
            wanted.token_digests.push(token.digest());
        }
        let volume = access_volume(container);
        shares.push(Share { container: container.clone(), profile: name, volume, folder, token });
    }
    Ok((profiles.into_values().collect(), shares))
}

/// Gives out the tokens that stand in the environment.
struct Tokens<'a> {
    pod: Pod<'a>,
    /// Those that have their container already.
    given: Vec<TokenDigest>,
    mint: Mint<'a>,
}

impl Tokens<'_> {
    /// The token of a container: one that it was given before stays, since the relay of a pod that runs knows
    /// no other.
    fn of(&mut self, wish: &Wish) -> Result<Token, Denial> {
        if wish.token == Delivery::File {
            return Ok(Token::File);
        }
        let token = match self.kept(&wish.container) {
            Some(token) => token,
            None => (self.mint)()
                .map_err(|error| Denial::one(annotation(INLINE_TOKEN), error.to_string()))?,
        };
        self.given.push(token.digest());
        Ok(Token::Inline(token))
    }

    /// What stands in the container's environment may be anybody's: the injector's own is one that the relay
    /// of the pod knows, and that no other container has.
    fn kept(&self, container: &str) -> Option<AccessToken> {
        let named = |name: &str| self.pod.containers().find(|one| name_of(one) == Some(name));
        let variables = |container: Option<&Value>, name: &str| -> Vec<String> {
            let env = container.and_then(|one| one.get("env")?.as_array());
            env.into_iter()
                .flatten()
                .filter(|one| name_of(one) == Some(name))
                .filter_map(|one| Some(one.get("value")?.as_str()?.to_owned()))
                .collect()
        };
        let known = variables(named(RELAY), TEXT);
        variables(named(container), INLINE)
            .iter()
            .filter_map(|text| text.parse::<AccessToken>().ok())
            .filter(AccessToken::is_generated)
            .find(|token| {
                let digest = token.digest();
                let told = digest.to_string();
                !self.given.contains(&digest) && known.iter().any(|text| text.contains(&told))
            })
    }
}

/// The injector cannot read a ConfigMap, so it puts the tokens where the relay has them by default: one
/// for each profile.
fn of_config_map(wishes: &Wishes) -> Vec<Share> {
    let share = |wish: &Wish| match &wish.identity {
        Identity::Profile(profile) => Some(Share {
            container: wish.container.clone(),
            profile: profile.clone(),
            volume: access_volume(profile.as_str()),
            folder: format!("{RUN}/{profile}"),
            // `Wishes` refuses another beside a ConfigMap.
            token: Token::File,
        }),
        // These too.
        Identity::Inline(_) => None,
    };
    wishes.containers.iter().filter_map(share).collect()
}

/// The name of the volume for the access token of a container, or of a profile. The rule for it must
/// not depend on other containers: they may be more when the pod is looked at again.
fn access_volume(of: &str) -> String {
    let whole = format!("{}access-{of}", super::volumes::PREFIX);
    if whole.len() <= LONGEST_NAME && !of.contains('_') {
        return whole;
    }
    let short = short_of(of);
    let start: String = whole
        .chars()
        .map(|c| if c == '_' { '-' } else { c })
        .take(LONGEST_NAME - 1 - short.len())
        .collect();
    format!("{start}-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_a_name_that_kubernetes_takes() {
        assert_eq!(access_volume("app"), "credential-relay-access-app");
        let long = "a".repeat(63);
        let other = format!("{}b", "a".repeat(62));
        for name in [long.as_str(), &other, "a_b", &"a_".repeat(31)] {
            let volume = access_volume(name);
            assert!(volume.len() <= 63 && !volume.contains('_'), "{volume}");
        }
        assert_ne!(access_volume(&long), access_volume(&other));
        assert_ne!(access_volume("a_b"), access_volume("a-b"));
    }
}
