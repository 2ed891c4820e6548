//! The profiles: where each comes from, and what its parts say of each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use deserr::ValuePointerRef;

use super::{ROOT, Resolver, keys, optional, sts, vault};
use crate::config::document::{AccessDocument, CredentialsFileDocument, Document, ProfileDocument};
use crate::config::template::Pod;
use crate::config::values::{self, ProfileName};
use crate::config::vault::VaultRole;
use crate::config::{Access, CredentialsFile, Hop, Profile, PropagationCheck, Source};

/// What the SDKs read where no profile is named.
pub(in crate::config) const SECTION: &str = "default";

impl Resolver<'_> {
    pub(super) fn profiles(
        &mut self,
        document: &Document,
        sts: &sts::Defaults,
        vault: &vault::Defaults<'_>,
    ) -> BTreeMap<ProfileName, Profile> {
        let at = ROOT.push_key("profiles");
        let given = document.profiles.as_ref().map(|named| &named.0);
        if given.is_none_or(BTreeMap::is_empty) {
            self.missing(at, "missing; at least one profile is needed");
        }
        let mut profiles = BTreeMap::new();
        let (mut token_files, mut credentials_files) = (BTreeMap::new(), BTreeMap::new());
        let mut token_digests = BTreeMap::new();
        for (name, given) in given.into_iter().flatten() {
            let at = at.push_key(name);
            let read = name.parse::<ProfileName>();
            let profile = self.profile(read.as_ref().ok(), given, at, sts, vault);
            // Only now, since what is missing within a setting that is wrong is not told.
            let name = self.read(name, at, |_| read);
            let (Some(name), Some(profile)) = (name, profile) else {
                continue;
            };
            for file in profile.access.files() {
                if let Some(first) = token_files.insert(file.clone(), name.clone()) {
                    let what = format!(
                        "profile {first} has the same file; each needs its own, since a token says which profile is meant"
                    );
                    self.mistakes.add(at.push_key("access").push_key("token_file"), what);
                }
            }
            for digest in &profile.access.token_digests {
                if let Some(first) = token_digests.insert(*digest, name.clone()) {
                    let what = format!(
                        "profile {first} has the same digest; each token is for one profile, and stands once"
                    );
                    self.mistakes.add(at.push_key("access").push_key("token_digests"), what);
                }
            }
            let file = profile.credentials_file.as_ref().map(|file| file.path.clone());
            let first = file.and_then(|file| credentials_files.insert(file, name.clone()));
            if let Some(first) = first {
                let what = format!("profile {first} has the same file; each needs its own");
                self.mistakes.add(at.push_key("credentials_file").push_key("path"), what);
            }
            profiles.insert(name, profile);
        }
        profiles
    }

    /// One profile. Without a name (it was wrong) the rest of it is checked all the same.
    fn profile(
        &mut self,
        name: Option<&ProfileName>,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
        sts: &sts::Defaults,
        vault: &vault::Defaults<'_>,
    ) -> Option<Profile> {
        let shown = name.map_or("default", ProfileName::as_str);
        let pod = Pod::of(self.environment, shown);
        let source = self.source(given.source.as_ref(), at.push_key("source"), &pod, sts, vault);
        let chain = self.chain(&pod, given, at.push_key("chain"), sts);
        let long_lived_keys = self.long_lived_keys(given, at, sts);
        let access = self.access(given.access.as_ref(), at.push_key("access"), shown);
        let credentials_file = given.credentials_file.as_ref();
        let credentials_file = credentials_file
            .map(|given| self.credentials_file(given, at.push_key("credentials_file")));
        let (source, chain, long_lived_keys) = (source?, chain?, long_lived_keys?);
        self.check_source_partition(&source, &chain, at.push_key("source"));
        let propagation = match keys::may_be_new(given) {
            true => vault.propagation(&long_lived_keys),
            false => PropagationCheck::Off,
        };
        Some(Profile {
            source,
            chain,
            long_lived_keys,
            propagation,
            access: access?,
            credentials_file: optional(credentials_file)?,
        })
    }

    fn access(
        &mut self,
        given: Option<&AccessDocument>,
        at: ValuePointerRef<'_>,
        profile: &str,
    ) -> Option<Access> {
        let token_file = match given.and_then(|given| given.token_file.as_deref()) {
            Some(text) => self.read(text, at.push_key("token_file"), values::absolute_path),
            None => Some(PathBuf::from(format!("/run/credential-relay/{profile}/token"))),
        };
        let more = given.and_then(|given| given.more_token_files.as_ref());
        let more = self.all(more, at.push_key("more_token_files"), values::absolute_path);
        let digests = given.and_then(|given| given.token_digests.as_ref());
        let digests = self.all(digests, at.push_key("token_digests"), str::parse);
        Some(Access { token_file: token_file?, more_token_files: more?, token_digests: digests? })
    }

    /// Reads every item of a list, if all are right.
    fn all<T>(
        &mut self,
        given: Option<&Vec<Option<String>>>,
        at: ValuePointerRef<'_>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.items(given, at).into_iter();
        let read = items.map(|(number, text)| self.read(text, at.push_index(number), &read));
        // Every one is read before the first that is wrong ends it.
        let read: Vec<Option<T>> = read.collect();
        read.into_iter().collect()
    }

    fn credentials_file(
        &mut self,
        given: &CredentialsFileDocument,
        at: ValuePointerRef<'_>,
    ) -> Option<CredentialsFile> {
        let what = "the path of the file that the relay shall keep";
        let path =
            self.needed(given.path.as_deref(), at.push_key("path"), what, values::absolute_path);
        let section = given.section.as_deref().unwrap_or(SECTION);
        let section = self.read(section, at.push_key("section"), values::shared_profile);
        Some(CredentialsFile { path: path?, section: section? })
    }

    /// What a role's session gives is of one partition, and so is the first hop.
    fn check_source_partition(&mut self, source: &Source, chain: &[Hop], at: ValuePointerRef<'_>) {
        let Some(first) = chain.first() else { return };
        let (kind, partition) = match source {
            Source::Vault(source) => match &source.role {
                VaultRole::Dynamic { role_arn: Some(arn), .. } => ("vault", arn.partition()),
                VaultRole::Dynamic { .. } | VaultRole::Static { .. } => return,
            },
            Source::WebIdentity(source) => ("web_identity", source.role_arn.partition()),
            Source::RolesAnywhere(source) => ("roles_anywhere", source.role_arn.partition()),
            Source::Environment
            | Source::File { .. }
            | Source::Container(_)
            | Source::Imds(_)
            | Source::Profile(_)
            | Source::Process(_)
            | Source::Auto(_) => return,
        };
        let at = at.push_key(kind);
        self.check_partition(at.push_key("role_arn"), partition, first.sts.region.partition());
    }
}
