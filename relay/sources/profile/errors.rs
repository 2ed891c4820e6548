//! What the SDK's errors about a profile mean for the relay, and what may be told of them.

use std::error::Error;
use std::io;

use aws_config::profile::{Profile, ProfileSet};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::KIND;
use super::shared::Shared;
use crate::config::source::Meant;
use crate::credential::{Secret, scrub};
use crate::failure::{Cause, Failure, Stage};
use crate::sts;
use crate::transport::SendError;

/// What is said of a profile that leads to a container endpoint.
pub(super) const CONTAINER: &str = "credential_source = EcsContainer is not followed, since the endpoint may be the relay's own; \
     write the source container: {} in the relay's configuration, and the profile's role as its chain";

/// What is said of a profile that leads to the instance's role.
pub(super) const INSTANCE: &str = "credential_source = Ec2InstanceMetadata is not followed, since AWS's SDK gives keys that have \
     ended a later end; write the source imds: {} in the relay's configuration, and the profile's role as its chain";

const LOGIN: &str = "run aws sso login for this profile, as the relay's user and with its HOME";
const FILES: &str =
    "correct the shared files, or profile.name, profile.config_file and profile.credentials_file";
const LATE: &str = "mount or write the shared files with this profile, where the relay's user may read them; or correct \
     AWS_PROFILE, profile.name, profile.config_file and profile.credentials_file";

/// A file that could not be read, or that is not of the form.
pub(super) fn files(cause: Cause, said: &str) -> Failure {
    let fix = if cause == Cause::Transient { LATE } else { FILES };
    Failure::new(cause, Stage::Base(KIND), scrub(said, [])).advised("shared files", fix)
}

/// That the work beside the relay's thread ended without an answer.
pub(super) fn fault(error: &io::Error) -> Failure {
    Failure::new(Cause::Internal, Stage::Base(KIND), error.to_string())
}

/// What went wrong on the way from a profile to its keys, of which these were `shown` to STS.
pub(super) fn explain(
    error: &CredentialsError,
    sections: &ProfileSet,
    shown: &[Secret],
    shared: &Shared,
    meant: Meant,
) -> Failure {
    let profile = sections.selected_profile();
    let secrets: Vec<_> = secrets(sections).into_iter().chain(shown.iter().cloned()).collect();
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
    // Who named a profile means this identity, and no other, though it may come late.
    let (absent, fix) = match meant {
        Meant::ByName => (Cause::Transient, LATE),
        Meant::IfThere => (Cause::NotConfigured, FILES),
    };
    match error {
        CredentialsError::CredentialsNotLoaded(_) if there.is_none() => {
            let said = format!("there is no such profile in {}", shared.places());
            fail(absent, &said).advised("shared files", fix)
        }
        CredentialsError::CredentialsNotLoaded(_) if !there.is_some_and(says_of_keys) => {
            fail(absent, "it says of no credentials").advised("shared files", fix)
        }
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            fail(Cause::Misconfigured, &said).advised("shared files", FILES)
        }
        CredentialsError::ProviderTimedOut(_) => fail(Cause::Unreachable, &said),
        CredentialsError::ProviderError(_) if is_misconfigured(error) => {
            fail(Cause::Misconfigured, &said).advised("shared files", FILES)
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

/// Whether a profile says anything of a way to keys, be it half of it.
fn says_of_keys(profile: &Profile) -> bool {
    const WAYS: [&str; 12] = [
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "credential_process",
        "credential_source",
        "login_session",
        "role_arn",
        "source_profile",
        "sso_account_id",
        "sso_session",
        "sso_start_url",
        "web_identity_token_file",
    ];
    WAYS.iter().any(|name| profile.get(name).is_some())
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
pub(super) fn chain_of(error: &(dyn Error + 'static)) -> String {
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
