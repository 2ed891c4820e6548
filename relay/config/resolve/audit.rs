//! Where the audit goes.

use std::collections::BTreeMap;

use super::{ROOT, Resolver};
use crate::config::document::Document;
use crate::config::values::{self, ProfileName};
use crate::config::{Admin, Audit, Profile};

impl Resolver<'_> {
    pub(super) fn audit(&mut self, document: &Document) -> Option<Audit> {
        let Some(given) = &document.audit else { return Some(Audit::Off) };
        let at = ROOT.push_key("audit");
        let what = "stdout, or the path of a file that the records are appended to";
        self.needed(given.to.as_deref(), at.push_key("to"), what, |text| match text {
            "stdout" => Ok(Audit::Stdout),
            _ => values::absolute_path(text)
                .map(Audit::File)
                .map_err(|error| format!("{error}, or stdout")),
        })
    }

    /// The audit's file holds nothing else, whether the relay writes it or reads it.
    pub(super) fn check_audit(
        &mut self,
        audit: &Audit,
        admin: &Admin,
        profiles: &BTreeMap<ProfileName, Profile>,
    ) {
        let Audit::File(path) = audit else { return };
        let written = profiles.values().flat_map(|profile| {
            let credentials = profile.credentials_file.as_ref().map(|file| &file.path);
            profile.access.files().chain(credentials)
        });
        let read = self.files.iter().map(|(_, file)| file);
        if written.chain(read).chain([&admin.socket]).any(|other| other == path) {
            let what = "this is the path of another setting; the records need a file of their own";
            self.mistakes.add(ROOT.push_key("audit").push_key("to"), what);
        }
    }
}
