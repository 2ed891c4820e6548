//! The listener in the place of the instance metadata service.

use std::net::SocketAddr;

use deserr::ValuePointerRef;

use super::{ROOT, Resolver, clash};
use crate::config::document::{Document, ProfileDocument};
use crate::config::values;
use crate::config::{Admin, Endpoint, ImdsEmulation, ImdsVersions};

impl Resolver<'_> {
    /// None where something is wrong.
    pub(super) fn imds_emulation(
        &mut self,
        document: &Document,
        endpoint: Option<&Endpoint>,
        admin: Option<&Admin>,
    ) -> Option<ImdsEmulation> {
        let Some(given) = &document.imds_emulation else { return Some(ImdsEmulation::Off) };
        let at = ROOT.push_key("imds_emulation");
        let listen_at = at.push_key("listen");
        let what = "an address on this machine, such as 127.0.0.1:9533, which the programs are given as \
                    AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let listen = self.needed(given.listen.as_deref(), listen_at, what, values::listen)?;
        if !values::is_near(listen.ip()) {
            let what = format!(
                "{} can be reached by other machines, and the metadata service's protocol has no access token; \
                 listen on 127.0.0.1",
                listen.ip()
            );
            self.mistakes.add(listen_at, what);
        }
        let others = [
            ("endpoint.listen", endpoint.map(|endpoint| endpoint.listen)),
            ("admin.listen", admin.map(|admin| admin.listen)),
        ];
        for (setting, other) in others {
            if other.is_some_and(|other| clash(listen, other)) {
                let what = format!("port {} is {setting}'s already", listen.port());
                self.mistakes.add(listen_at, what);
            }
        }
        self.check_profiles(document, at, listen);
        let versions = match given.v1 {
            Some(true) => {
                let what =
                    "true; whoever can make a program of this pod send a GET reads the credentials";
                self.warnings.add(at.push_key("v1"), what);
                ImdsVersions::Both
            }
            Some(false) | None => ImdsVersions::V2,
        };
        Some(ImdsEmulation::On { listen, versions })
    }

    /// Every container of the pod gets what this listener serves.
    fn check_profiles(&mut self, document: &Document, at: ValuePointerRef<'_>, listen: SocketAddr) {
        let profiles = document.profiles.iter().flat_map(|named| &named.0);
        if profiles.clone().count() > 1 {
            let what = format!(
                "there are several profiles, and every container of the pod can ask {listen}: the metadata \
                 service's protocol has no access token; keep one profile, or remove this"
            );
            self.mistakes.add(at, what);
        }
        let long_lived =
            |(_, profile): (_, &ProfileDocument)| profile.serve_long_lived_keys == Some(true);
        if profiles.into_iter().any(long_lived) {
            let what = "serve_long_lived_keys is true, and the metadata service's clients take no keys without \
                        a session: add `get_session_token: { duration: 12h }` or a chain in its place";
            self.mistakes.add(at, what);
        }
    }
}
