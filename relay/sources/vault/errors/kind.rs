//! One kind of failure: how it is known, what it means, and what would be right.

use super::{identity, read, secret, server, transport};
use crate::failure::Cause;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name, for documents and tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the document go by it"))]
    pub(super) name: &'static str,
    /// At which calls it occurs.
    pub(super) on: On,
    /// In which way.
    pub(super) seen: Seen,
    /// One of these is said, whatever its case; whatever is said where there are none.
    pub(super) says: &'static [&'static str],
    /// What rotation does next.
    pub(super) cause: Cause,
    /// Where to look.
    pub(super) layer: &'static str,
    /// What it means: `{path}`, `{mount}`, `{role}`, `{material}`, `{namespace}`, `{address}` and
    /// `{policy}` stand for what was asked.
    pub(super) means: &'static str,
    /// What would be right.
    pub(super) fix: &'static str,
}

/// The calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Any,
    Login,
    LoginBy(Method),
    /// The look at a token that the relay was given.
    GivenToken,
    /// What a token does with itself.
    OwnToken,
    Wrapping,
    /// Either kind of credentials.
    Read,
    Dynamic,
    Static,
}

/// The way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Vault's own answer with one of these statuses; with any where there are none.
    Status(&'static [u16]),
    /// An answer that is none of Vault's, with one of these statuses, or any.
    Page(&'static [u16]),
    Unreadable,
    Redirected,
    Tls,
    NotSent,
    NotMade,
}

/// How the relay logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Kubernetes,
    AppRole,
    Jwt,
    Aws,
    Cert,
    Userpass,
    /// A token that somebody else made.
    Given,
}

/// Every kind; the first that fits counts. The last one always does.
pub(super) fn all() -> impl Iterator<Item = &'static Kind> {
    [transport::KINDS, server::KINDS, identity::KINDS, secret::KINDS, read::KINDS, server::REST]
        .into_iter()
        .flatten()
        .chain([&server::UNKNOWN])
}
