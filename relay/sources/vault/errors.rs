//! What a refusal of Vault's means for the relay, and what would be right.
//!
//! Vault's statuses say little: 400 is an unknown role as well as an AWS that cannot be reached, and
//! 403 at a login is a wrong role as well as an API server that is away. So every kind of failure
//! stands in a table ([`kind::all`]) with the words by which it is known; the first that fits counts.
//! The words are those of Vault 1.21, and of versions before it and of OpenBao where those differ.

mod identity;
mod kind;
mod read;
mod secret;
mod server;
mod text;
mod transport;

use std::time::Duration;

use super::client::{Operation, Refusal, Why};
use crate::config::values::{VaultNamespace, VaultPath};
use crate::config::vault::{Login, RoleId, SecretId, Vault};
use crate::failure::{Cause, Failure, Stage};
use kind::{Kind, Method, On, Seen};

/// Who and where: what an error has to name.
#[derive(Clone, Debug)]
pub(super) struct Context {
    address: String,
    /// The namespace that was asked.
    namespace: String,
    method: Method,
    /// Where the login method is mounted; empty where there is no login.
    login_mount: String,
    /// The role, user or the like of the login.
    login_role: String,
    /// Where the login's secret comes from.
    material: String,
}

impl Context {
    /// What is asked for the session: logins, and the tokens that come of them.
    pub(super) fn of_login(settings: &Vault) -> Self {
        Self::new(settings, &settings.auth_namespace)
    }

    /// What is asked with a token in the namespace of the secrets.
    pub(super) fn of_secrets(settings: &Vault, namespace: &VaultNamespace) -> Self {
        Self::new(settings, namespace)
    }

    fn new(settings: &Vault, namespace: &VaultNamespace) -> Self {
        let (method, login_mount, login_role, material) = login(&settings.login);
        Self {
            address: settings.address.to_string(),
            namespace: namespace.to_string(),
            method,
            login_mount: login_mount.map(ToString::to_string).unwrap_or_default(),
            login_role,
            material,
        }
    }
}

/// The method, its mount, who logs in, and by what.
fn login(login: &Login) -> (Method, Option<&VaultPath>, String, String) {
    match login {
        Login::Kubernetes { mount, role, token_file } => {
            (Method::Kubernetes, Some(mount), role.to_string(), token_file.display().to_string())
        }
        Login::AppRole { mount, role_id, secret_id } => {
            let role = match role_id {
                RoleId::Plain(id) => format!("of role_id {id}"),
                RoleId::File(path) => format!("of the role id in {}", path.display()),
            };
            let material = match secret_id {
                SecretId::None => "no secret_id_file".to_owned(),
                SecretId::File(path) | SecretId::Wrapped { path, .. } => path.display().to_string(),
            };
            (Method::AppRole, Some(mount), role, material)
        }
        Login::Jwt { mount, role, token_file } => {
            (Method::Jwt, Some(mount), role.to_string(), token_file.display().to_string())
        }
        Login::Aws { mount, role, .. } => {
            let material = "the signed GetCallerIdentity".to_owned();
            (Method::Aws, Some(mount), role.to_string(), material)
        }
        Login::Cert { mount, name } => {
            let role = name.as_ref().map_or_else(|| "(any)".to_owned(), ToString::to_string);
            (Method::Cert, Some(mount), role, "the certificate of vault.client_cert".to_owned())
        }
        Login::Userpass { mount, username, password_file } => {
            let material = password_file.display().to_string();
            (Method::Userpass, Some(mount), username.to_string(), material)
        }
        Login::TokenFile { path } => {
            (Method::Given, None, String::new(), path.display().to_string())
        }
        Login::Token => (Method::Given, None, String::new(), "VAULT_TOKEN".to_owned()),
    }
}

/// A failure of the source, without any secret.
pub(super) fn fail(cause: Cause, reason: impl Into<String>) -> Failure {
    Failure::new(cause, Stage::Base("vault"), reason)
}

/// What a refusal means: upstreams section 6.
pub(super) fn explain(refusal: &Refusal, context: &Context) -> Failure {
    told(&Given::of(refusal), context).0
}

/// Whether Vault says that the token itself is bad: since 1.17 it says so in words.
pub(super) fn says_invalid_token(refusal: &Refusal) -> bool {
    matches!(&refusal.why, Why::Status { status: 403, errors, .. }
        if errors.iter().any(|error| error.to_ascii_lowercase().contains("invalid token")))
}

/// What is known of a refusal, without the types of whoever found it.
#[derive(Clone, Debug)]
struct Given {
    operation: Operation,
    /// The path below `/v1/`.
    path: String,
    how: How,
    /// Scrubbed.
    said: String,
    retry_after: Option<Duration>,
}

/// In which way something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By Vault, with this status.
    Status(u16),
    /// By something in its place: a page, with this status.
    Page(u16),
    /// By a success, with this status, that nothing can be made of.
    Unreadable(u16),
    /// By a redirect to where the relay does not go.
    Redirected,
    /// In TLS.
    Tls,
    /// There was no connection, or no whole answer.
    NotSent,
    /// The request could not be made.
    NotMade,
}

impl Given {
    fn of(refusal: &Refusal) -> Self {
        let (how, said, retry_after) = match &refusal.why {
            Why::NotMade(what) => (How::NotMade, what.clone(), None),
            Why::NotSent(error) if error.is_tls() => (How::Tls, error.to_string(), None),
            Why::NotSent(error) => (How::NotSent, error.to_string(), None),
            Why::Redirected { to, rule } => {
                (How::Redirected, format!("it redirects to {to}: {rule}"), None)
            }
            Why::Unreadable { status, what } => (How::Unreadable(*status), what.clone(), None),
            Why::Status { status, page: Some(page), retry_after, .. } => {
                (How::Page(*status), text::beginning(page), *retry_after)
            }
            Why::Status { status, errors, retry_after, .. } => {
                (How::Status(*status), text::tidy(errors), *retry_after)
            }
        };
        let Refusal { operation, path, .. } = refusal;
        Self { operation: *operation, path: path.clone(), how, said, retry_after }
    }

    /// What was seen, in words.
    fn evidence(&self) -> String {
        let said = &self.said;
        match self.how {
            How::Status(status) if said.is_empty() => format!("Vault answered {status}"),
            How::Status(status) => format!("Vault answered {status}: {said}"),
            How::Page(status) if said.is_empty() => format!("the answer was {status}"),
            How::Page(status) => format!("the answer was {status}: {said}"),
            How::Unreadable(status) => format!("the answer was {status}, and unreadable at {said}"),
            How::Redirected | How::Tls | How::NotSent | How::NotMade => said.clone(),
        }
    }
}

/// The failure, and which kind it is.
fn told(given: &Given, context: &Context) -> (Failure, &'static Kind) {
    let fill = |template| fill(template, given, context);
    let kind = kind::all().find(|kind| fits(kind, given, context)).unwrap_or(&server::UNKNOWN);
    let cause = match kind.cause {
        Cause::Throttled { .. } => Cause::Throttled { retry_after: given.retry_after },
        cause => cause,
    };
    let Context { address, namespace, .. } = context;
    let (path, means, evidence) = (&given.path, fill(kind.means), given.evidence());
    let reason = format!("{path} at {address} (namespace {namespace}): {means} ({evidence})");
    (fail(cause, reason).advised(kind.layer, kind.fix), kind)
}

fn fits(kind: &Kind, given: &Given, context: &Context) -> bool {
    use Operation::{
        Login, LookUpToken, LookUpWrapping, ReadCredentials, ReadStatic, RenewToken, RevokeToken,
        Unwrap,
    };
    let on = match kind.on {
        On::Any => true,
        On::Login => given.operation == Login,
        On::LoginBy(method) => given.operation == Login && context.method == method,
        On::GivenToken => given.operation == LookUpToken && context.method == Method::Given,
        On::OwnToken => matches!(given.operation, LookUpToken | RenewToken | RevokeToken),
        On::Wrapping => matches!(given.operation, LookUpWrapping | Unwrap),
        On::Read => matches!(given.operation, ReadCredentials | ReadStatic),
        On::Dynamic => given.operation == ReadCredentials,
        On::Static => given.operation == ReadStatic,
    };
    let among = |statuses: &[u16], status| statuses.is_empty() || statuses.contains(&status);
    let seen = match (kind.seen, given.how) {
        (Seen::Status(statuses), How::Status(status))
        | (Seen::Page(statuses), How::Page(status)) => among(statuses, status),
        (Seen::Unreadable, How::Unreadable(_))
        | (Seen::Redirected, How::Redirected)
        | (Seen::Tls, How::Tls)
        | (Seen::NotSent, How::NotSent)
        | (Seen::NotMade, How::NotMade) => true,
        _ => false,
    };
    let said = given.said.to_ascii_lowercase();
    let says = |words: &&str| said.contains(&fill(words, given, context).to_ascii_lowercase());
    on && seen && (kind.says.is_empty() || kind.says.iter().any(says))
}

/// Puts the names of what was asked into a text.
fn fill(template: &str, given: &Given, context: &Context) -> String {
    if !template.contains('{') {
        return template.to_owned();
    }
    let (mount, role) = match given.operation {
        Operation::ReadCredentials | Operation::ReadStatic => engine(&given.path),
        _ => (context.login_mount.as_str(), context.login_role.as_str()),
    };
    let capability = if given.operation == Operation::ReadStatic { "read" } else { "update" };
    let policy = format!("path \"{}\" {{ capabilities = [\"{capability}\"] }}", given.path);
    template
        .replace("{path}", &given.path)
        .replace("{address}", &context.address)
        .replace("{namespace}", &context.namespace)
        .replace("{mount}", mount)
        .replace("{role}", role)
        .replace("{material}", &context.material)
        .replace("{policy}", &policy)
}

/// The mount and the role of a path of the AWS engine.
fn engine(path: &str) -> (&str, &str) {
    let (before, role) = path.rsplit_once('/').unwrap_or((path, ""));
    (before.rsplit_once('/').map_or(before, |(mount, _)| mount), role)
}

#[cfg(test)]
mod tests;
