//! The way through the profiles to a `credential_process`, as the SDK goes it.

use aws_config::profile::{Profile, ProfileSet};

/// A chain of profiles that ends in a program.
#[derive(Debug, PartialEq)]
pub(super) struct Processed<'a> {
    /// The profile with the program.
    pub(super) profile: &'a str,
    /// What a shell is given.
    pub(super) command: &'a str,
    /// The roles from there on, in the order in which they are assumed.
    pub(super) roles: Vec<Role<'a>>,
}

/// A role that a profile assumes.
#[derive(Debug, PartialEq)]
pub(super) struct Role<'a> {
    pub(super) arn: &'a str,
    pub(super) external_id: Option<&'a str>,
    pub(super) session_name: Option<&'a str>,
}

/// The chain of the profile that is meant, if it ends in a program; whatever else it is, or is
/// wrong with it, is the SDK's own provider's to say.
pub(super) fn process(sections: &ProfileSet) -> Option<Processed<'_>> {
    let mut name = sections.selected_profile();
    let mut seen: Vec<&str> = Vec::new();
    let mut roles = Vec::new();
    let last = loop {
        let profile = sections.get_profile(name)?;
        if seen.contains(&name) || (!seen.is_empty() && has_keys(profile)) {
            return None;
        }
        seen.push(name);
        let Some(role) = role_of(profile) else {
            break profile;
        };
        roles.push(role);
        match (profile.get("source_profile")?, profile.get("credential_source")) {
            (next, None) if next == profile.name() => break profile,
            (next, None) => name = next,
            (_, Some(_)) => return None,
        }
    };
    roles.reverse();
    let command = program_of(last)?;
    Some(Processed { profile: last.name(), command, roles })
}

fn has_keys(profile: &Profile) -> bool {
    profile.get("aws_access_key_id").is_some() && profile.get("aws_secret_access_key").is_some()
}

/// A web identity's role is where a chain begins, not a link of it.
fn role_of(profile: &Profile) -> Option<Role<'_>> {
    if profile.get("web_identity_token_file").is_some() {
        return None;
    }
    Some(Role {
        arn: profile.get("role_arn")?,
        external_id: profile.get("external_id"),
        session_name: profile.get("role_session_name"),
    })
}

/// The program of a profile that has none of what comes before one.
fn program_of(profile: &Profile) -> Option<&str> {
    const BEFORE: [&str; 8] = [
        "credential_source",
        "web_identity_token_file",
        "sso_account_id",
        "sso_region",
        "sso_role_name",
        "sso_start_url",
        "sso_session",
        "login_session",
    ];
    if BEFORE.iter().any(|name| profile.get(name).is_some()) {
        return None;
    }
    profile.get("credential_process")
}
