//! What the SDK's errors about a profile mean for the relay, and what may be told of them.

use std::error::Error;

use aws_config::profile::{ProfileFileLoadError, ProfileSet};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::KIND;
use crate::credential::{Secret, scrub};
use crate::failure::{Cause, Failure, Stage};
use crate::sts;
use crate::transport::SendError;

/// What is said of a profile that leads to a container endpoint.
pub(super) const CONTAINER: &str = "credential_source = EcsContainer is not followed, since the endpoint may be the relay's own; \
     write the source container: {} in the relay's configuration";

const LOGIN: &str = "run aws sso login for this profile, as the relay's user and with its HOME";
const FILES: &str =
    "correct the shared files, or profile.name, profile.config_file and profile.credentials_file";

/// A file that could not be read, or that is not of the form.
pub(super) fn unread(error: &ProfileFileLoadError) -> Failure {
    let cause = match error {
        ProfileFileLoadError::CouldNotReadFile { .. } => Cause::NotConfigured,
        _ => Cause::Misconfigured,
    };
    Failure::new(cause, Stage::Base(KIND), scrub(&chain_of(error), []))
        .advised("shared files", FILES)
}

/// What went wrong on the way from a profile to its keys.
pub(super) fn explain(error: &CredentialsError, sections: &ProfileSet) -> Failure {
    let profile = sections.selected_profile();
    let secrets = secrets(sections);
    let fail = |cause, reason: &str| {
        let reason = scrub(&format!("profile {profile}: {reason}"), &secrets);
        Failure::new(cause, Stage::Base(KIND), reason)
    };
    if let Some((cause, said)) = of_sts(error, &secrets) {
        return fail(cause, &said);
    }
    if let Some(sent) = find::<SendError>(error) {
        let cause = if sent.is_tls() { Cause::Tls } else { Cause::Unreachable };
        return fail(cause, &format!("AWS could not be reached: {sent}"));
    }
    let there = sections.get_profile(profile);
    let said = chain_of(error);
    match error {
        CredentialsError::CredentialsNotLoaded(_) if there.is_none() => {
            fail(Cause::NotConfigured, "there is no such profile in the shared files")
                .advised("shared files", FILES)
        }
        CredentialsError::CredentialsNotLoaded(_) if error.source().is_none() => {
            fail(Cause::NotConfigured, "it says of no credentials").advised("shared files", FILES)
        }
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            fail(Cause::Misconfigured, &said).advised("shared files", FILES)
        }
        CredentialsError::ProviderTimedOut(_) => fail(Cause::Unreachable, &said),
        CredentialsError::ProviderError(_) if is_misconfigured(error) => {
            fail(Cause::Misconfigured, &said)
        }
        _ if there.is_some_and(|profile| profile.get("sso_account_id").is_some()) => {
            fail(Cause::StaleCaller, &said).advised("SSO", LOGIN)
        }
        _ => fail(Cause::Transient, &said),
    }
}

/// STS's own words, where it was STS that refused.
fn of_sts(error: &CredentialsError, secrets: &[Secret]) -> Option<(Cause, String)> {
    find::<SdkError<AssumeRoleError, HttpResponse>>(error)
        .map(|said| sts::explain(said, secrets))
        .or_else(|| {
            find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error)
                .map(|said| sts::explain(said, secrets))
        })
}

fn is_misconfigured(error: &CredentialsError) -> bool {
    let inner = error.source().and_then(find_here::<CredentialsError>);
    matches!(inner, Some(CredentialsError::InvalidConfiguration(_)))
}

fn find_here<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    error.downcast_ref()
}

/// The first error of a kind, of those that an error was made of.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The texts of an error and of those that it was made of, but for those that say nothing more.
fn chain_of(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

/// Every secret that stands in the files.
fn secrets(sections: &ProfileSet) -> Vec<Secret> {
    let profiles = sections.profiles().filter_map(|name| sections.get_profile(name));
    profiles
        .flat_map(|profile| {
            ["aws_secret_access_key", "aws_session_token"].map(|name| profile.get(name))
        })
        .flatten()
        .map(|secret| Secret::new(secret.to_owned()))
        .collect()
}
