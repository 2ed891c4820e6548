//! The files that the sidecars read: whether a sidecar will have them.

use std::path::{Path, PathBuf};

use deserr::ValuePointerRef;

use crate::config::injector::TOKENS;
use crate::config::injector::document::InjectorDocument;
use crate::config::mistakes::{Mistakes, Place, nearest, one_of};

/// What a sidecar has without the injector: the certificates of its image, and what Kubernetes and
/// EKS's webhooks mount in every pod or in those of some service accounts.
const BROUGHT: [&str; 4] = [
    "/etc/ssl/certs",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "/var/run/secrets/eks.amazonaws.com/serviceaccount",
    "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
];

/// What the injector mounts in a sidecar.
pub(super) struct Mounted {
    /// The names of the tokens.
    tokens: Tokens,
    folders: Vec<PathBuf>,
}

enum Tokens {
    Named(Vec<String>),
    /// Something is wrong with them, and nothing can be said of the others.
    Wrong,
}

impl Mounted {
    pub(super) fn of(document: &InjectorDocument, mistakes: &Mistakes) -> Self {
        let sidecar = document.sidecar.as_ref();
        let tokens = sidecar.and_then(|sidecar| sidecar.tokens.as_ref()).into_iter().flatten();
        let at = ValuePointerRef::Origin.push_key("sidecar");
        let tokens = match mistakes.touch(at.push_key("tokens")) {
            true => Tokens::Wrong,
            false => {
                Tokens::Named(tokens.flatten().filter_map(|token| token.name.clone()).collect())
            }
        };
        let mounts = sidecar.and_then(|sidecar| sidecar.mounts.as_ref()).into_iter().flatten();
        let folders = mounts.flatten().filter_map(|mount| mount.path.as_ref().map(PathBuf::from));
        Self { tokens, folders: folders.collect() }
    }

    /// Checks that each file is where the injector mounts something. The places are those of a sidecar's
    /// own configuration. Another webhook may bring what the injector does not, so that is a warning.
    pub(super) fn check(
        &self,
        files: &[(Place, PathBuf)],
        mistakes: &mut Mistakes,
        warnings: &mut Mistakes,
    ) {
        for (place, path) in files {
            match (path.strip_prefix(TOKENS), &self.tokens) {
                (Ok(name), Tokens::Named(known)) => {
                    if let Err(what) = token(name, known) {
                        mistakes.add(place.clone(), what);
                    }
                }
                (Ok(_), Tokens::Wrong) => {}
                (Err(_), _) if self.has(path) => {}
                (Err(_), _) => {
                    let what = format!(
                        "the injector mounts nothing there: unless another webhook does, the sidecars will not \
                         have this file. Mount it with sidecar.mounts, or for a token write sidecar.tokens \
                         and {TOKENS}/<name>"
                    );
                    warnings.add(place.clone(), what);
                }
            }
        }
    }

    fn has(&self, path: &Path) -> bool {
        BROUGHT.iter().any(|folder| path.starts_with(folder))
            || self.folders.iter().any(|folder| path.starts_with(folder))
    }
}

/// Whether a file below the folder of the tokens is one of them.
fn token(name: &Path, known: &[String]) -> Result<(), String> {
    let name = name.to_string_lossy();
    if known.iter().any(|known| *known == *name) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(match (nearest(&name, &known), known.as_slice()) {
        (Some(near), _) => format!("this file is no token of sidecar.tokens; did you mean {near}?"),
        (None, []) => {
            "sidecar.tokens is empty: write the token there, such as { name: vault, audience: vault }".to_owned()
        }
        (None, known) => format!("this file is no token of sidecar.tokens; {}", one_of(known)),
    })
}
