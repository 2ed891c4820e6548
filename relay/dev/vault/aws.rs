//! The AWS secrets engine.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::sts::{self, Action, NewSession, UserKeys};
use super::super::upstream::request_id;
use super::Inner;
use super::answer::{Refusal, Reply, precise};
use super::leases::{Held, Leased};
use super::request::{Asked, Parameters};
use super::settings::{CredentialType, Role};
use super::state::State;
use super::tokens::{Limits, Token};
use crate::clock::Moment;
use crate::credential::AccessKeyId;

/// How the names of the users begin that the engine makes.
pub(super) const USER_PREFIX: &str = "vault-";

/// A session's life where neither the caller nor the role says one.
const DEFAULT_TTL: Duration = Duration::from_secs(3_600);

/// The shortest life of a session.
const SHORTEST: Duration = Duration::from_secs(900);

/// The keys of a static role.
#[derive(Debug)]
pub(super) struct StaticKeys {
    current: UserKeys,
    /// The key before it, which stays for one more rotation.
    previous: Option<AccessKeyId>,
    rotates: Moment,
}

impl Inner {
    /// `creds/:role` and `sts/:role`.
    pub(super) fn creds(
        &self,
        state: &mut State,
        asked: &Asked,
        name: &str,
        token: &Token,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        if !asked.writes() && asked.method != hyper::Method::GET {
            return Err(Refusal::unsupported_operation());
        }
        let parameters = asked.parameters.as_ref().map_err(Clone::clone)?;
        let role = self
            .settings
            .roles
            .get(name)
            .ok_or_else(|| Refusal::bad_request(format!("Role {name:?} not found")))?;
        if matches!(role.kind, CredentialType::IamUser) {
            return self.iam_user(state, asked, name, token, now);
        }
        let session = self.session(role, name, parameters, token, now)?;
        let left = session.expiration.saturating_since(now.wall);
        let mut data = json!({
            "access_key": session.access_key_id.as_str(),
            "secret_key": session.secret_access_key.expose(),
            "session_token": session.session_token.expose(),
            "ttl": left.as_secs(),
        });
        if !matches!(role.kind, CredentialType::SessionToken) {
            data["security_token"] = json!(session.session_token.expose());
        }
        if let Some(arn) = session.arn {
            data["arn"] = json!(arn);
        }
        self.lease(
            state,
            &asked.path,
            token,
            (data, Leased::Session, left, self.settings.max_ttl),
            now,
        )
    }

    fn iam_user(
        &self,
        state: &mut State,
        asked: &Asked,
        role: &str,
        token: &Token,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        let name = self.user_name(token, role, now).ok_or_else(Refusal::internal)?;
        let keys = self
            .sts
            .create_key(&name, self.settings.propagation.clone())
            .ok_or_else(Refusal::internal)?;
        let data = json!({
            "access_key": keys.access_key_id.as_str(),
            "secret_key": keys.secret_access_key.expose(),
            "session_token": null,
        });
        let lease = self.settings.lease;
        let max = self.settings.max_ttl.min(lease.max);
        let user = Leased::User(keys.access_key_id);
        self.lease(state, &asked.path, token, (data, user, lease.ttl, max), now)
    }

    /// The answer with a leased secret: its data, what ends with it, its life and the longest one.
    fn lease(
        &self,
        state: &mut State,
        path: &str,
        token: &Token,
        (data, secret, asked, max): (Value, Leased, Duration, Duration),
        now: Moment,
    ) -> Result<Reply, Refusal> {
        let (ttl, warnings) = Limits { max, period: None }.ttl(asked, now, now)?;
        let (ttl, ends) = token.cap(ttl, now);
        let id = format!("{path}/{}", self.letters(24).ok_or_else(Refusal::internal)?);
        let renewable = matches!(secret, Leased::User(_));
        let held = Held { id: id.clone(), token: token.serial, secret, issued: now, ends };
        state.leases.hold(held);
        self.end_with(&state.leases, token);
        // To the nearest second, as Vault writes it.
        let seconds = (ttl + Duration::from_millis(500)).as_secs();
        Ok(Reply::of("aws", data)
            .with("lease_id", json!(id))
            .with("renewable", json!(renewable))
            .with("lease_duration", json!(seconds))
            .warning(&warnings))
    }

    /// A session of a role's kind, from the embedded STS.
    fn session(
        &self,
        role: &Role,
        name: &str,
        parameters: &Parameters,
        token: &Token,
        now: Moment,
    ) -> Result<NewSession, Refusal> {
        let ttl = parameters.duration("ttl")?.or(role.default_ttl).unwrap_or(DEFAULT_TTL);
        let ttl = ttl.min(role.max_ttl.unwrap_or(self.settings.max_ttl));
        check_shortest(role, ttl)?;
        let mut form = BTreeMap::from([("DurationSeconds", ttl.as_secs().to_string())]);
        let action = match &role.kind {
            CredentialType::AssumedRole(arns) => {
                let allowed: Vec<&str> = arns.iter().map(|arn| arn.as_str()).collect();
                form.insert("RoleArn", role_arn(&allowed, parameters, name)?.to_owned());
                let session = match parameters.text("role_session_name") {
                    "" => self.user_name(token, name, now).ok_or_else(Refusal::internal)?,
                    given => normalized(given),
                };
                form.insert("RoleSessionName", session);
                Action::AssumeRole
            }
            CredentialType::SessionToken => Action::GetSessionToken,
            CredentialType::FederationToken | CredentialType::IamUser => {
                let name = format!("{USER_PREFIX}{}-", now.wall.as_secs());
                let letters = self.letters(20).ok_or_else(Refusal::internal)?;
                form.insert("Name", truncated(&format!("{name}{letters}"), 32));
                Action::Other
            }
        };
        self.sts.session(action, &form).map_err(|refused| from_aws(doing(role).0, &refused))
    }

    /// As Vault's template names what it makes for the holder of a token.
    fn user_name(&self, token: &Token, role: &str, now: Moment) -> Option<String> {
        let who = format!("{}-{}", normalized(&token.display_name), normalized(role));
        let (who, letters) = (truncated(&who, 42), self.letters(20)?);
        Some(truncated(&format!("{USER_PREFIX}{who}-{}-{letters}", now.wall.as_secs()), 64))
    }

    /// `static-creds/:role`.
    pub(super) fn static_creds(
        &self,
        state: &mut State,
        asked: &Asked,
        name: &str,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        if asked.method != hyper::Method::GET {
            return Err(Refusal::unsupported_operation());
        }
        let role = self.settings.static_roles.get(name).ok_or_else(Refusal::not_found)?;
        let due = |keys: &StaticKeys| (keys.rotates + role.late).reached(now);
        if state.statics.get(name).is_none_or(due) {
            self.rotate(state, name, now)?;
        }
        let keys = state.statics.get(name).ok_or_else(Refusal::not_found)?;
        let data = json!({
            "access_key": keys.current.access_key_id.as_str(),
            "secret_key": keys.current.secret_access_key.expose(),
            "expiration": precise(keys.rotates.wall),
        });
        Ok(Reply::of("aws", data))
    }

    /// Gives a static role a new key and deletes the one before the last.
    pub(super) fn rotate(&self, state: &mut State, name: &str, now: Moment) -> Result<(), Refusal> {
        let role = self.settings.static_roles.get(name).ok_or_else(Refusal::not_found)?;
        let current = self
            .sts
            .create_key(&role.user, self.settings.propagation.clone())
            .ok_or_else(Refusal::internal)?;
        let before = state.statics.remove(name);
        if let Some(oldest) = before.as_ref().and_then(|keys| keys.previous.as_ref()) {
            self.sts.delete_key(oldest);
        }
        let previous = before.map(|keys| keys.current.access_key_id);
        let keys = StaticKeys { current, previous, rotates: now + role.period };
        state.statics.insert(name.to_owned(), keys);
        Ok(())
    }
}

/// The role to be assumed: the one that is asked for, or the only one.
fn role_arn<'a>(
    allowed: &[&'a str],
    parameters: &'a Parameters,
    role: &str,
) -> Result<&'a str, Refusal> {
    match (parameters.text("role_arn"), allowed) {
        ("", [only]) => Ok(only),
        ("", _) => Err(Refusal::bad_request(
            "did not supply a role_arn parameter and unable to determine one",
        )),
        (arn, allowed) if allowed.contains(&arn) => Ok(arn),
        (arn, _) => Err(Refusal::bad_request(format!(
            "role_arn {arn:?} not in allowed role arns for Vault role {role:?}"
        ))),
    }
}

/// How an error begins, and the name of what is sent to STS.
fn doing(role: &Role) -> (&'static str, &'static str) {
    match role.kind {
        CredentialType::AssumedRole(_) => ("Error assuming role", "AssumeRoleInput"),
        CredentialType::SessionToken => ("Error generating STS keys", "GetSessionTokenInput"),
        CredentialType::FederationToken | CredentialType::IamUser => {
            ("Error generating STS keys", "GetFederationTokenInput")
        }
    }
}

/// Vault's AWS client refuses what is too short before STS can.
fn check_shortest(role: &Role, ttl: Duration) -> Result<(), Refusal> {
    if ttl >= SHORTEST {
        return Ok(());
    }
    let (doing, input) = doing(role);
    Err(Refusal::bad_request(format!(
        "{doing}: InvalidParameter: 1 validation error(s) found.\n- minimum field value of {}, {input}.DurationSeconds.\n",
        SHORTEST.as_secs()
    )))
}

/// An error of AWS in Vault's words: 400, but 502 where AWS is throttling.
fn from_aws(doing: &str, refused: &sts::Refusal) -> Refusal {
    let throttled = matches!(refused.code, "Throttling" | "ThrottlingException");
    let status = if throttled { StatusCode::BAD_GATEWAY } else { StatusCode::BAD_REQUEST };
    let text = format!(
        "{doing}: {}: {}\n\tstatus code: {}, request id: {}",
        refused.code,
        refused.message,
        refused.status.as_u16(),
        request_id()
    );
    Refusal::new(status, text)
}

/// A name without what IAM would refuse.
fn normalized(name: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    name.chars().map(|c| if legal(c) { c } else { '_' }).collect()
}

fn truncated(name: &str, most: usize) -> String {
    name.chars().take(most).collect()
}
