//! What a refusal of Vault's means for the relay, and what would be right.

use super::client::{Operation, Refusal, Why};
use crate::failure::{Cause, Failure, Stage};

/// Who and where: what an error has to name.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The Vault's address.
    pub(super) address: String,
    /// The namespace that was asked.
    pub(super) namespace: String,
}

/// A failure of the source, without any secret.
pub(super) fn fail(cause: Cause, reason: impl Into<String>) -> Failure {
    Failure::new(cause, Stage::Base("vault"), reason)
}

/// What a refusal means: upstreams section 6.
pub(super) fn explain(refusal: &Refusal, context: &Context) -> Failure {
    let Refusal { operation, path, why } = refusal;
    let (cause, said) = match why {
        Why::NotMade(what) => (Cause::Internal, format!("the request could not be made: {what}")),
        Why::NotSent(error) if error.is_tls() => (Cause::Tls, error.to_string()),
        Why::NotSent(error) => (Cause::Unreachable, error.to_string()),
        Why::Redirected { to, rule } => {
            (Cause::Misconfigured, format!("it redirects to {to}: {rule}"))
        }
        Why::Unreadable { status, what } => {
            (Cause::Transient, format!("the answer ({status}) is none of Vault's: {what}"))
        }
        Why::Status { status, errors, retry_after } => {
            let cause = match status {
                429 => Cause::Throttled { retry_after: *retry_after },
                400 if says(errors, "accessdenied") => Cause::Denied,
                400 if *operation == Operation::Login => Cause::StaleCaller,
                400 if says(errors, "not found") || says(errors, "role_arn") => {
                    Cause::Misconfigured
                }
                403 if *operation == Operation::Login => Cause::StaleCaller,
                403 | 404 => Cause::Misconfigured,
                _ => Cause::Transient,
            };
            (cause, format!("Vault answered {status}: {}", errors.join("; ")))
        }
    };
    let Context { address, namespace } = context;
    fail(cause, format!("{path} at {address} (namespace {namespace}): {said}"))
}

/// Whether Vault says that the token itself is bad: since 1.17 it says so in words.
pub(super) fn says_invalid_token(refusal: &Refusal) -> bool {
    matches!(&refusal.why, Why::Status { status: 403, errors, .. } if says(errors, "invalid token"))
}

fn says(errors: &[String], words: &str) -> bool {
    errors.iter().any(|error| error.to_ascii_lowercase().contains(words))
}
