//! What a pod's annotations ask for.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::denial::Denial;
use super::pod::Pod;
use crate::arn::RoleArn;
use crate::config::injector::Inline;
use crate::config::mistakes::{nearest, one_of, shape, told, unknown};
use crate::config::values::{ProfileName, VaultName};

/// What every annotation of the injector starts with.
pub const PREFIX: &str = "credential-relay.io/";

pub(super) const PROFILE: &str = "profile";
pub(super) const SKIP: &str = "skip";
pub(super) const CONFIG: &str = "config";
pub(super) const VAULT_ROLE: &str = "vault-role";
pub(super) const ROLE_ARN: &str = "role-arn";
pub(super) const INLINE_TOKEN: &str = "inline-token";
pub(super) const CONFLICTS: &str = "conflicts";
pub(super) const INJECTED: &str = "injected";

/// The annotations, without what they start with.
pub const ANNOTATIONS: [&str; 8] =
    [PROFILE, SKIP, CONFIG, VAULT_ROLE, ROLE_ARN, INLINE_TOKEN, CONFLICTS, INJECTED];

/// Those that say what a container gets.
const IDENTITIES: [&str; 3] = [PROFILE, VAULT_ROLE, ROLE_ARN];

/// Those that may name a container, after a dot.
const OF_CONTAINER: [&str; 4] = [PROFILE, VAULT_ROLE, ROLE_ARN, INLINE_TOKEN];

/// An annotation as it stands in the pod.
pub(super) fn annotation(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// What to do with what collides with the relay or leads past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflicts {
    /// The pod is refused.
    Refuse,
    /// It is taken out.
    Replace,
}

/// What a container shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A profile, by its name.
    Profile(ProfileName),
    /// What the annotations say themselves.
    Inline(Inline),
}

/// Where a container finds its access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In a file.
    File,
    /// In its environment too, for programs that cannot read a file.
    Inline,
}

/// What the pod asks for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) container: String,
    pub(super) identity: Identity,
    pub(super) token: Delivery,
}

/// Where the sidecar's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Configuration {
    /// It is put together from the catalogue and the annotations.
    Composed,
    /// A ConfigMap of the pod's namespace, whose profiles the annotations name.
    ConfigMap(String),
}

/// All that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) configuration: Configuration,
    /// What each container shall have, in the order in which they start.
    pub(super) containers: Vec<Wish>,
    pub(super) conflicts: Conflicts,
}

impl Wishes {
    /// Reads them.
    ///
    /// # Errors
    /// Everything that is wrong with the annotations.
    pub(super) fn of(pod: Pod<'_>) -> Result<Self, Denial> {
        let mut reader = Reader { pod, given: BTreeMap::new(), denial: Denial::default() };
        reader.gather();
        let conflicts = reader.conflicts();
        let configuration = reader.configuration();
        let skipped = reader.skipped();
        reader.of_pod();
        let mut containers = Vec::new();
        for name in pod.applications() {
            let told = reader.denial.clone();
            let identity = reader.identity(name, skipped.contains(&name));
            let token = reader.delivery(name);
            if identity.is_none() && token == Delivery::Inline && reader.denial == told {
                reader.needs_no_token(name);
            }
            if let Some(identity) = identity {
                containers.push(Wish { container: name.to_owned(), identity, token });
            }
        }
        if containers.is_empty() && reader.denial.is_empty() {
            reader.denial.add(annotation(PROFILE), NOTHING);
        }
        reader.denial.checked()?;
        Ok(Self { configuration, containers, conflicts })
    }
}

const NOTHING: &str = "no container would get anything: write the name of a profile here, or a role into \
                       vault-role or role-arn";

struct Reader<'a> {
    pod: Pod<'a>,
    /// By the annotation's name, and the container that it is about, if it is about one.
    given: BTreeMap<(&'static str, Option<&'a str>), &'a str>,
    denial: Denial,
}

impl<'a> Reader<'a> {
    fn gather(&mut self) {
        let containers = self.pod.applications();
        for (key, value) in self.pod.annotations() {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let (kind, container) = match name.split_once('.') {
                Some((kind, container)) => (kind, Some(container)),
                None => (name, None),
            };
            let known: &[&'static str] =
                if container.is_some() { &OF_CONTAINER } else { &ANNOTATIONS };
            let Some(kind) = known.iter().find(|known| **known == kind) else {
                let what = match kind {
                    "inject" => "this is a label: it stands in metadata.labels".to_owned(),
                    other => unknown(other, known),
                };
                self.denial.add(shown(name), what);
                continue;
            };
            if let Some(container) = container.filter(|name| !containers.contains(name)) {
                let what = format!("{}: {}", told(container), no_container(container, &containers));
                self.denial.add(annotation(kind), what);
                continue;
            }
            self.given.insert((kind, container), value);
        }
    }

    fn text(&self, kind: &'static str, container: Option<&'a str>) -> Option<&'a str> {
        self.given.get(&(kind, container)).copied()
    }

    fn conflicts(&mut self) -> Conflicts {
        match self.text(CONFLICTS, None) {
            None | Some("refuse") => Conflicts::Refuse,
            Some("replace") => Conflicts::Replace,
            Some(other) => {
                let what = format!("{}; refuse or replace was expected", shape(other));
                self.denial.add(annotation(CONFLICTS), what);
                Conflicts::Refuse
            }
        }
    }

    fn configuration(&mut self) -> Configuration {
        let Some(name) = self.text(CONFIG, None) else { return Configuration::Composed };
        let allows = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.is_empty() || name.len() > 253 || !name.chars().all(allows) {
            let what = format!("{}; the name of a ConfigMap was expected", shape(name));
            self.denial.add(annotation(CONFIG), what);
        }
        Configuration::ConfigMap(name.to_owned())
    }

    /// A name that the pod has not is none of its business yet: another webhook may add the container.
    fn skipped(&self) -> Vec<&'a str> {
        let list = self.text(SKIP, None).into_iter().flat_map(|list| list.split(','));
        list.map(str::trim).filter(|name| !name.is_empty()).collect()
    }

    /// What a container shall have: what is said of it alone outranks what is said of the pod.
    fn identity(&mut self, container: &'a str, skipped: bool) -> Option<Identity> {
        let own = IDENTITIES.map(|kind| self.text(kind, Some(container)));
        if skipped {
            if own.iter().any(Option::is_some) {
                let what = format!("{container} is said to have something too: keep one");
                self.denial.add(annotation(SKIP), what);
            }
            return None;
        }
        let [profile, vault_role, role_arn] = own;
        let whose = if own.iter().any(Option::is_some) { Some(container) } else { None };
        let profile = match whose {
            Some(_) => profile,
            None => self.text(PROFILE, None),
        };
        let of_pod = |kind| if profile.is_some() { None } else { self.text(kind, None) };
        let vault_role = match vault_role {
            Some(text) => Some((text, Some(container))),
            None => of_pod(VAULT_ROLE).map(|text| (text, None)),
        };
        let role_arn = match role_arn {
            Some(text) => Some((text, Some(container))),
            None => of_pod(ROLE_ARN).map(|text| (text, None)),
        };
        self.check_alone(profile.is_some(), whose);
        match profile {
            Some(text) => self.read(text, PROFILE, whose).map(Identity::Profile),
            None => self.inline(vault_role, role_arn),
        }
    }

    /// What is said of the pod is read whether or not a container goes by it.
    fn of_pod(&mut self) {
        if let Some(text) = self.text(PROFILE, None) {
            self.read::<ProfileName>(text, PROFILE, None);
        }
        if let Some(text) = self.text(VAULT_ROLE, None) {
            self.read::<VaultName>(text, VAULT_ROLE, None);
        }
        if let Some(text) = self.text(ROLE_ARN, None) {
            self.read::<RoleArn>(text, ROLE_ARN, None);
        }
        self.inline_token(None);
    }

    /// Where a container finds its token: what is said of it alone outranks what is said of the pod.
    fn delivery(&mut self, container: &'a str) -> Delivery {
        let own = self.inline_token(Some(container));
        own.or_else(|| self.inline_token(None)).unwrap_or(Delivery::File)
    }

    fn inline_token(&mut self, whose: Option<&'a str>) -> Option<Delivery> {
        let what = match self.text(INLINE_TOKEN, whose)? {
            "false" => return Some(Delivery::File),
            "true" if self.text(CONFIG, None).is_none() => return Some(Delivery::Inline),
            "true" => "the ConfigMap of credential-relay.io/config is the whole configuration, to which the injector cannot add a token: leave this out".to_owned(),
            other => format!("{}; true or false was expected", shape(other)),
        };
        self.denial.add(place(INLINE_TOKEN, whose), what);
        Some(Delivery::File)
    }

    /// Where the pod as a whole has inline tokens, a container without credentials goes without.
    fn needs_no_token(&mut self, container: &'a str) {
        if self.text(INLINE_TOKEN, Some(container)).is_some() {
            let what = "the container gets no credentials, so it needs no token: remove this, or say what it gets";
            self.denial.add(place(INLINE_TOKEN, Some(container)), what);
        }
    }

    /// A profile and a role cannot both be meant, for the pod or for one container.
    fn check_alone(&mut self, profile: bool, whose: Option<&'a str>) {
        let others = [VAULT_ROLE, ROLE_ARN];
        let other = others.into_iter().find(|kind| self.text(kind, whose).is_some());
        if let Some(other) = other.filter(|_| profile) {
            let what = format!("{} says something else: keep one", place(other, whose));
            self.denial.add(place(PROFILE, whose), what);
        }
    }

    fn inline(
        &mut self,
        vault_role: Option<(&str, Option<&'a str>)>,
        role_arn: Option<(&str, Option<&'a str>)>,
    ) -> Option<Identity> {
        if let Some((_, whose)) = vault_role.or(role_arn)
            && self.text(CONFIG, None).is_some()
        {
            let kind = if vault_role.is_some() { VAULT_ROLE } else { ROLE_ARN };
            let what = "the ConfigMap of credential-relay.io/config is the whole configuration: name one of its profiles instead";
            self.denial.add(place(kind, whose), what);
            return None;
        }
        let vault_role = vault_role.map(|(text, whose)| self.read(text, VAULT_ROLE, whose));
        let role_arn = role_arn.map(|(text, whose)| self.read(text, ROLE_ARN, whose));
        let inline = match (vault_role, role_arn) {
            (Some(role), Some(arn)) => Inline::VaultThenRole(role?, arn?),
            (Some(role), None) => Inline::Vault(role?),
            (None, Some(arn)) => Inline::Role(arn?),
            (None, None) => return None,
        };
        Some(Identity::Inline(inline))
    }

    fn read<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        text: &str,
        kind: &'static str,
        whose: Option<&str>,
    ) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(why) => {
                self.denial.add(place(kind, whose), format!("{}; {why}", shape(text)));
                None
            }
        }
    }
}

/// An annotation with the container that it is about.
fn place(kind: &str, whose: Option<&str>) -> String {
    match whose {
        Some(container) => format!("{}.{container}", annotation(kind)),
        None => annotation(kind),
    }
}

/// An annotation that is not known, as it may be told.
fn shown(name: &str) -> String {
    annotation(&told(name))
}

fn no_container(name: &str, containers: &[&str]) -> String {
    match (nearest(name, containers), containers) {
        (_, []) => "the pod has no container that could have credentials".to_owned(),
        (Some(near), _) => format!("no container of this pod; did you mean {near}?"),
        (None, _) => {
            format!("no container of this pod that could have credentials; {}", one_of(containers))
        }
    }
}
