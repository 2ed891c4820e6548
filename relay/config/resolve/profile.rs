//! The profiles: where each comes from, and what its parts say of each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use deserr::ValuePointerRef;

use super::{ROOT, Resolver, keys, sts, vault};
use crate::config::document::{Document, FileDocument, ProfileDocument};
use crate::config::template::Pod;
use crate::config::values::{self, ProfileName};
use crate::config::vault::VaultRole;
use crate::config::{Access, Hop, Profile, PropagationCheck, Source};

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
        let mut token_files = BTreeMap::new();
        for (name, given) in given.into_iter().flatten() {
            let at = at.push_key(name);
            let read = name.parse::<ProfileName>();
            let profile = self.profile(read.as_ref().ok(), given, at, sts, vault);
            // Only now, since what is missing within a setting that is wrong is not told.
            let name = self.read(name, at, |_| read);
            let (Some(name), Some(profile)) = (name, profile) else {
                continue;
            };
            let file = profile.access.token_file.clone();
            if let Some(first) = token_files.insert(file, name.clone()) {
                let what = format!(
                    "profile {first} has the same file; each needs its own, since a token says which profile is meant"
                );
                self.mistakes.add(at.push_key("access").push_key("token_file"), what);
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
        let source = self.source(given, at.push_key("source"), &pod, vault);
        let chain = self.chain(&pod, given, at.push_key("chain"), sts);
        let long_lived_keys = self.long_lived_keys(given, at, sts);
        let text = given.access.as_ref().and_then(|access| access.token_file.as_deref());
        let token_file = match text {
            Some(text) => {
                let at = at.push_key("access");
                self.read(text, at.push_key("token_file"), values::absolute_path)
            }
            None => Some(PathBuf::from(format!("/run/credential-relay/{shown}/token"))),
        };
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
            access: Access { token_file: token_file? },
        })
    }

    fn source(
        &mut self,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        defaults: &vault::Defaults<'_>,
    ) -> Option<Source> {
        const CHOICE: &str =
            "write one of `environment: {}`, `file: { path: … }` and `vault: { role: … }`";
        let Some(given) = &given.source else {
            self.missing(at, &format!("missing; {CHOICE}"));
            return None;
        };
        let there = [
            ("environment", given.environment.is_some()),
            ("file", given.file.is_some()),
            ("vault", given.vault.is_some()),
        ];
        let one = self.one_of(&there, at, CHOICE);
        // Each is checked even where there are several.
        let file = given.file.as_ref().map(|file| self.source_file(file, at.push_key("file")));
        let vault = given.vault.as_ref();
        let vault =
            vault.map(|given| self.vault_source(given, at.push_key("vault"), pod, defaults));
        one?;
        match (file, vault) {
            (Some(file), _) => file,
            (None, Some(vault)) => vault.map(Source::Vault),
            (None, None) => Some(Source::Environment),
        }
    }

    pub(super) fn source_file(
        &mut self,
        given: &FileDocument,
        at: ValuePointerRef<'_>,
    ) -> Option<Source> {
        let what = "the path of the file with the keys";
        let path = self.needed_file(given.path.as_deref(), at.push_key("path"), what)?;
        Some(Source::File { path })
    }

    /// What a role's session gives is of one partition, and so is the first hop.
    fn check_source_partition(&mut self, source: &Source, chain: &[Hop], at: ValuePointerRef<'_>) {
        let Source::Vault(source) = source else { return };
        let VaultRole::Dynamic { role_arn: Some(arn), .. } = &source.role else { return };
        if let Some(first) = chain.first() {
            let at = at.push_key("vault");
            let region = first.sts.region.partition();
            self.check_partition(at.push_key("role_arn"), arn.partition(), region);
        }
    }
}
