//! Logging in to Vault: what is shown there, and the token that comes back.

mod approle;
mod aws;
mod material;
#[cfg(all(test, feature = "dev"))]
mod tests;

use std::fmt;

use rustify::endpoint::Endpoint;
use serde_json::json;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::auth::oidc::requests::JWTLoginRequest;
use vaultrs::api::auth::userpass::requests::LoginRequest;
use vaultrs::api::token::requests::LookupTokenSelfRequest;

use super::client::{Ask, Call, Client, Operation, Refusal, Why};
use super::errors::{Context, explain, fail, says_invalid_token};
use super::session::{Grant, Kind, Owner};
use super::wire::{Auth, TokenData};
use crate::clock::{Clock, Moment};
use crate::config::vault::{Login, SecretId};
use crate::credential::{Credential, Secret};
use crate::failure::{Cause, Failure};
use crate::metrics::ProfileMetrics;
use crate::sources::{Freshness, Source};
use approle::{AppRole, Unwrapped};
use material::Fingerprint;

/// What a login takes from the relay's surroundings; the composition root gives it.
pub enum Ambient {
    /// All that it needs stands in files.
    Nothing,
    /// Whose identity a login with AWS shows.
    Credentials(Box<dyn Source>),
    /// What `VAULT_TOKEN` says.
    Token(Secret),
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Credentials(source) => write!(f, "Credentials({})", source.kind()),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

/// Whether a login can be made again whenever it is wanted. Where not, the token is worth keeping
/// alive.
pub(super) fn is_repeatable(login: &Login) -> bool {
    match login {
        Login::Kubernetes { .. }
        | Login::Jwt { .. }
        | Login::Aws { .. }
        | Login::Cert { .. }
        | Login::Userpass { .. }
        | Login::AppRole { secret_id: SecretId::None, .. } => true,
        Login::AppRole { .. } | Login::TokenFile { .. } | Login::Token => false,
    }
}

/// A login's method, mount and role, for a log.
pub(super) fn describe(login: &Login) -> (&'static str, &str, &str) {
    match login {
        Login::Kubernetes { mount, role, .. } => ("kubernetes", mount.as_str(), role.as_str()),
        Login::AppRole { mount, .. } => ("approle", mount.as_str(), ""),
        Login::Jwt { mount, role, .. } => ("jwt", mount.as_str(), role.as_str()),
        Login::Aws { mount, role, .. } => ("aws", mount.as_str(), role.as_str()),
        Login::Cert { mount, name } => {
            ("cert", mount.as_str(), name.as_ref().map_or("", |name| name.as_str()))
        }
        Login::Userpass { mount, username, .. } => ("userpass", mount.as_str(), username.as_str()),
        Login::TokenFile { .. } => ("token_file", "", ""),
        Login::Token => ("token", "", ""),
    }
}

/// What was asked, and who for: goes through every call of a login.
#[derive(Clone, Copy)]
struct Asking<'a> {
    client: &'a Client,
    clock: &'a Clock,
    metrics: &'a ProfileMetrics,
}

impl Asking<'_> {
    /// Sends a login; `secrets` are what it shows.
    async fn log_in(&self, request: &impl Endpoint, secrets: &[&Secret]) -> Result<Grant, Refusal> {
        let started = self.clock.now();
        let call = Call {
            operation: Operation::Login,
            namespace: &self.client.settings().auth_namespace,
            token: None,
            secrets,
            metrics: self.metrics,
        };
        let answer = self.client.call::<serde::de::IgnoredAny>(&call, request).await?;
        let auth = answer.auth.ok_or_else(|| unreadable(Operation::Login, request, "no auth"))?;
        Ok(granted(started, auth))
    }

    fn explain(&self, refusal: &Refusal) -> Failure {
        explain(refusal, &context(self.client))
    }
}

/// Who is asked about logins and tokens, for an error.
pub(super) fn context(client: &Client) -> Context {
    Context::of_login(client.settings())
}

fn granted(started: Moment, auth: Auth) -> Grant {
    Grant {
        secret: auth.client_token,
        owner: Owner::Relay,
        kind: Kind::of(&auth.token_type),
        started,
        life: Some(super::wire::seconds(auth.lease_duration)),
        renewable: auth.renewable,
        uses: Some(auth.num_uses).filter(|uses| *uses > 0),
    }
}

fn unreadable(operation: Operation, request: &impl Endpoint, what: &str) -> Refusal {
    Refusal {
        operation,
        path: request.path().trim().trim_matches('/').to_owned(),
        why: Why::Unreadable { status: 200, what: what.to_owned() },
    }
}

/// Asks a token what it is.
///
/// # Errors
/// What Vault said instead.
pub(super) async fn look_up(
    client: &Client,
    clock: &Clock,
    token: &Secret,
    metrics: &ProfileMetrics,
) -> Result<Grant, Refusal> {
    let started = clock.now();
    let call = Call {
        operation: Operation::LookUpToken,
        namespace: &client.settings().auth_namespace,
        token: Some(token),
        secrets: &[],
        metrics,
    };
    let request = LookupTokenSelfRequest {};
    let answer = client.call::<TokenData>(&call, &request).await?;
    let data =
        answer.data.ok_or_else(|| unreadable(Operation::LookUpToken, &request, "no data"))?;
    let endless = data.ttl == 0 && data.expire_time.is_none();
    Ok(Grant {
        secret: token.clone(),
        owner: Owner::Other,
        kind: Kind::of(&data.token_type),
        started,
        life: Some(super::wire::seconds(data.ttl)).filter(|_| !endless),
        renewable: data.renewable,
        uses: Some(data.num_uses).filter(|uses| *uses > 0),
    })
}

/// Logs in to one Vault by one method.
#[derive(Debug)]
pub(super) struct Authenticator {
    client: Client,
    clock: Clock,
    ambient: Ambient,
    unwrapped: Option<Unwrapped>,
    /// What Vault refused for good: it is not shown again.
    spent: Option<Spent>,
}

struct Spent {
    shown: Fingerprint,
    failure: Failure,
}

impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spent({})", self.failure)
    }
}

impl Authenticator {
    pub(super) fn new(client: Client, clock: Clock, ambient: Ambient) -> Self {
        Self { client, clock, ambient, unwrapped: None, spent: None }
    }

    /// Logs in, or looks at the token that somebody else provides. It is not to be dropped on its
    /// way: what can be used once may have been used.
    ///
    /// # Errors
    /// What is wrong with the material, or what Vault said.
    pub(super) async fn log_in(&mut self, metrics: &ProfileMetrics) -> Result<Grant, Failure> {
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let asking = Asking { client: &client, clock: &clock, metrics };
        let path = |mount: &dyn fmt::Display| format!("auth/{mount}/login");
        let granted = match &client.settings().login {
            Login::Kubernetes { mount, role, token_file } => {
                let jwt = material::read("vault.auth.kubernetes.token_file", token_file).await?;
                let request = LoginWithKubernetesRequest {
                    mount: mount.to_string(),
                    role: role.to_string(),
                    jwt: jwt.expose().to_owned(),
                };
                asking.log_in(&request, &[&jwt]).await
            }
            Login::Jwt { mount, role, token_file } => {
                let jwt = material::read("vault.auth.jwt.token_file", token_file).await?;
                let request = JWTLoginRequest {
                    mount: mount.to_string(),
                    role: Some(role.to_string()),
                    jwt: jwt.expose().to_owned(),
                };
                asking.log_in(&request, &[&jwt]).await
            }
            Login::Userpass { mount, username, password_file } => {
                let setting = "vault.auth.userpass.password_file";
                let password = material::read_password(setting, password_file).await?;
                let request = LoginRequest {
                    mount: mount.to_string(),
                    username: username.to_string(),
                    password: password.expose().to_owned(),
                };
                asking.log_in(&request, &[&password]).await
            }
            Login::Aws { mount, role, server_id, region, endpoint, .. } => {
                let credential = self.identity().await?;
                let target = aws::Target {
                    region,
                    endpoint: endpoint.as_ref(),
                    server_id: server_id.as_deref(),
                };
                let now = clock.now().wall;
                let request =
                    aws::request(mount.as_str(), role.as_str(), &target, &credential, now)?;
                let secrets: Vec<_> = credential.secrets().collect();
                asking.log_in(&request, &secrets).await
            }
            Login::Cert { mount, name } => {
                // The certificate may have been renewed since.
                client.reload().await;
                // vaultrs calls the field cert_name, which Vault does not know.
                let body = match name {
                    Some(name) => json!({ "name": name.as_str() }),
                    None => json!({}),
                };
                asking.log_in(&Ask::post(path(mount), &body), &[]).await
            }
            Login::AppRole { mount, role_id, secret_id } => {
                let role = AppRole { mount, role_id, secret_id };
                return self.approle(&asking, &role).await;
            }
            Login::TokenFile { path } => {
                let token = material::read("vault.auth.token_file.path", path).await?;
                return self.found(&asking, &token, "put a new token into the file").await;
            }
            Login::Token => {
                let token = match &self.ambient {
                    Ambient::Token(token) if !token.trimmed().is_empty() => token.trimmed(),
                    _ => {
                        return Err(fail(Cause::NotConfigured, "VAULT_TOKEN is not set")
                            .advised("token", "set VAULT_TOKEN in the relay's environment"));
                    }
                };
                return self.found(&asking, &token, "start the relay with another").await;
            }
        };
        granted.map_err(|refusal| asking.explain(&refusal))
    }

    /// Who the relay is at AWS.
    async fn identity(&mut self) -> Result<Credential, Failure> {
        match &mut self.ambient {
            Ambient::Credentials(source) => {
                source.fetch(Freshness::Reuse).await.map_err(|why| Failure {
                    advice: why.advice,
                    ..fail(why.cause, format!("vault.auth.aws.source: {why}"))
                })
            }
            Ambient::Nothing | Ambient::Token(_) => {
                Err(fail(Cause::Internal, "vault.auth.aws was given no credentials"))
            }
        }
    }

    /// A token that somebody else made: what it is good for.
    async fn found(
        &mut self,
        asking: &Asking<'_>,
        token: &Secret,
        right: &str,
    ) -> Result<Grant, Failure> {
        let shown = Fingerprint::of(&[token]);
        self.refuse_spent(shown)?;
        look_up(asking.client, asking.clock, token, asking.metrics).await.map_err(|refusal| {
            let explained = asking.explain(&refusal);
            if !refusal.is_forbidden() {
                return explained;
            }
            let known_bad = says_invalid_token(&refusal);
            let hint = if known_bad { "" } else { ", or give it the policy default" };
            let said = format!("{}; {right}{hint}", explained.reason);
            let failure = Failure { cause: Cause::StaleCaller, reason: said, ..explained };
            if known_bad {
                self.spent = Some(Spent { shown, failure: failure.clone() });
            }
            failure
        })
    }

    /// Spares Vault what it has refused for good.
    fn refuse_spent(&self, shown: Fingerprint) -> Result<(), Failure> {
        match &self.spent {
            Some(spent) if spent.shown == shown => Err(spent.failure.clone()),
            Some(_) | None => Ok(()),
        }
    }
}
