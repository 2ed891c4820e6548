//! The auth methods: what each wants to be shown, and how each refuses.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Request;
use hyper::header::{AUTHORIZATION, HOST};
use serde_json::Value;

use super::Inner;
use super::answer::{Refusal, Reply};
use super::request::{Asked, Parameters};
use super::settings::{Login, Material, SecretId};
use super::state::State;
use super::tokens::Holder;
use crate::clock::Moment;
use crate::credential::Secret;

/// The header that binds a signed request to one Vault.
const SERVER_ID: &str = "X-Vault-AWS-IAM-Server-ID";

impl Inner {
    /// A login by any method: that of the mount.
    pub(super) fn login(
        &self,
        state: &mut State,
        asked: &Asked,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        let (mount, user) = login_path(&asked.path);
        let mut logins: Vec<&mut Login> =
            state.logins.iter_mut().filter(|login| login.mount == mount).collect();
        if !asked.writes() {
            return Err(Refusal::new(
                hyper::StatusCode::METHOD_NOT_ALLOWED,
                "unsupported operation",
            ));
        }
        let parameters = asked.parameters.as_ref().map_err(Clone::clone)?;
        let login = choose(&mut logins, parameters, user)?;
        let arn = match &mut login.material {
            Material::Kubernetes { jwt } => kubernetes(jwt, parameters).map(|()| None),
            Material::Jwt { jwt } => bearer(jwt, parameters).map(|()| None),
            Material::AppRole { secret_ids, .. } => approle(secret_ids, parameters).map(|()| None),
            Material::UserPass { password } => userpass(password, parameters).map(|()| None),
            Material::Cert { accepted: true } => Ok(None),
            Material::Cert { accepted: false } => {
                Err(Refusal::bad_request("client certificate must be supplied"))
            }
            Material::Aws { principal, server_id } => self
                .signed(principal.as_deref(), server_id.as_deref(), &login.role, parameters)
                .map(Some),
        }?;
        let holder = holder(&asked.path, login, arn);
        let grant = login.grant.clone();
        self.issue(state, holder, grant, now)
    }

    /// Whose signed GetCallerIdentity it is.
    fn signed(
        &self,
        principal: Option<&str>,
        server_id: Option<&str>,
        role: &str,
        parameters: &Parameters,
    ) -> Result<String, Refusal> {
        let request = signed_request(parameters)?;
        if let Some(wanted) = server_id {
            check_server_id(&request, wanted).map_err(|why| {
                Refusal::bad_request(format!("error validating {SERVER_ID} header: {why}"))
            })?;
        }
        let arn = self.sts.identify(request).map_err(|refused| {
            Refusal::bad_request(format!(
                "error making upstream request: received error code {} from STS: {}: {}",
                refused.status.as_u16(),
                refused.code,
                refused.message
            ))
        })?;
        if principal.is_some_and(|bound| bound != canonical(&arn)) {
            let text = format!("IAM Principal {arn:?} does not belong to the role {role:?}");
            return Err(Refusal::bad_request(text));
        }
        Ok(arn)
    }
}

/// The auth method's mount in a login's path, and the user that the path names for userpass.
pub(super) fn login_path(path: &str) -> (&str, Option<&str>) {
    let inside = path.strip_prefix("auth/").unwrap_or_default();
    match inside.split_once("/login/") {
        Some((mount, user)) => (mount, Some(user)),
        None => (inside.strip_suffix("/login").unwrap_or_default(), None),
    }
}

/// The role that is asked for, among those of one mount.
fn choose<'a>(
    logins: &'a mut [&mut Login],
    parameters: &Parameters,
    user: Option<&str>,
) -> Result<&'a mut Login, Refusal> {
    let role = parameters.text("role");
    let first = logins.first().ok_or_else(Refusal::permission_denied)?;
    let (name, missing, unknown) = match first.material {
        Material::Kubernetes { .. } => {
            (role, "missing role", format!("invalid role name {role:?}"))
        }
        Material::Jwt { .. } => (role, "missing role", format!("role {role:?} could not be found")),
        Material::Aws { .. } => (role, "missing role", format!("entry for role {role} not found")),
        Material::AppRole { .. } => {
            let unknown = "invalid role or secret ID".to_owned();
            (parameters.text("role_id").trim(), "invalid role or secret ID", unknown)
        }
        Material::UserPass { .. } => {
            let unknown = "invalid username or password".to_owned();
            (user.unwrap_or_default(), "invalid credentials", unknown)
        }
        Material::Cert { .. } => {
            let unknown = "no certificate was matched by this request".to_owned();
            (parameters.text("name"), "", unknown)
        }
    };
    if name.is_empty() && !missing.is_empty() {
        return Err(Refusal::bad_request(missing));
    }
    let named = |login: &Login| match &login.material {
        Material::AppRole { role_id, .. } => role_id == name,
        // Without a name every certificate is tried.
        Material::Cert { .. } => name.is_empty() || login.role == name,
        _ => login.role == name,
    };
    let login = logins.iter_mut().find(|login| named(login));
    login.map(|login| &mut **login).ok_or_else(|| Refusal::bad_request(unknown))
}

/// Kubernetes tells Vault no more than that it doesn't know the token.
fn kubernetes(right: &Secret, parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.text("jwt") {
        "" => Err(Refusal::bad_request("missing jwt")),
        jwt if right.matches(jwt.as_bytes()) => Ok(()),
        _ => Err(Refusal::permission_denied()),
    }
}

fn bearer(right: &Secret, parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.text("jwt") {
        "" => Err(Refusal::bad_request("missing token")),
        jwt if right.matches(jwt.as_bytes()) => Ok(()),
        _ => Err(Refusal::bad_request(
            "error validating token: error verifying token signature: no known key successfully validated the token signature",
        )),
    }
}

/// A secret id is used up by a login that succeeds.
fn approle(good: &mut Vec<SecretId>, parameters: &Parameters) -> Result<(), Refusal> {
    let shown = parameters.text("secret_id").trim();
    if shown.is_empty() {
        return Err(Refusal::bad_request("missing secret_id"));
    }
    let at = good
        .iter()
        .position(|id| id.value.matches(shown.as_bytes()))
        .ok_or_else(|| Refusal::bad_request("invalid role or secret ID"))?;
    match good[at].uses {
        0 => {}
        1 => drop(good.remove(at)),
        _ => good[at].uses -= 1,
    }
    Ok(())
}

fn userpass(right: &Secret, parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.text("password") {
        "" => Err(Refusal::bad_request("invalid credentials")),
        password if right.matches(password.as_bytes()) => Ok(()),
        _ => Err(Refusal::bad_request("invalid username or password")),
    }
}

/// Who the token's holder is: the names are those that Vault's lookup tells.
fn holder(path: &str, login: &Login, arn: Option<String>) -> Holder {
    let role = ("role", login.role.clone());
    let told = match &login.material {
        Material::Kubernetes { .. } => vec![
            role,
            ("service_account_name", login.role.clone()),
            ("service_account_namespace", "default".to_owned()),
        ],
        Material::Jwt { .. } => vec![role],
        Material::AppRole { .. } => vec![("role_name", login.role.clone())],
        Material::UserPass { .. } => vec![("username", login.role.clone())],
        Material::Cert { .. } => vec![("cert_name", login.role.clone())],
        Material::Aws { .. } => vec![("client_arn", arn.unwrap_or_default())],
    };
    let metadata = told.into_iter().map(|(name, value)| (name.to_owned(), value));
    Holder {
        path: path.to_owned(),
        display_name: format!("{}-{}", login.mount.replace('/', "-"), login.role),
        policy: login.role.clone(),
        metadata: metadata.collect::<BTreeMap<_, _>>(),
    }
}

/// Puts the request together that a client signed and sent in parts.
fn signed_request(parameters: &Parameters) -> Result<Request<Bytes>, Refusal> {
    let method = match parameters.text("iam_http_request_method") {
        "" => return Err(Refusal::bad_request("missing iam_http_request_method")),
        method @ ("GET" | "POST") => method,
        _ => {
            return Err(Refusal::bad_request(
                "invalid iam_http_request_method; currently only 'GET' and 'POST' are supported",
            ));
        }
    };
    let uri: hyper::Uri = decoded(parameters, "iam_request_url")?
        .parse()
        .map_err(|_| Refusal::bad_request("error parsing iam_request_url"))?;
    let body = match method {
        "POST" => decoded(parameters, "iam_request_body")?,
        _ => String::new(),
    };
    let called = if method == "POST" { &body } else { uri.query().unwrap_or_default() };
    if !called.split('&').any(|pair| pair == "Action=GetCallerIdentity") {
        return Err(Refusal::bad_request("iam_request_body not valid"));
    }
    let mut request = Request::builder().method(method).uri(&uri);
    let mut host = uri.host().map(str::to_owned);
    if let (Some(name), Some(port)) = (&mut host, uri.port()) {
        name.push_str(&format!(":{port}"));
    }
    let headers = headers(parameters)?;
    let headers = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(HOST.as_str()));
    for (name, value) in headers {
        request = request.header(name.as_str(), value);
    }
    request
        .header(HOST, host.unwrap_or_default())
        .body(Bytes::from(body))
        .map_err(|_| Refusal::bad_request("error making upstream request: error making request"))
}

/// The headers of a signed request: JSON, in base64 or as it is, each with one value or several.
fn headers(parameters: &Parameters) -> Result<Vec<(String, String)>, Refusal> {
    let broken = || Refusal::bad_request("missing iam_request_headers");
    let object = match parameters.get("iam_request_headers") {
        Some(Value::Object(object)) => object.clone(),
        Some(Value::String(_)) => {
            serde_json::from_str(&decoded(parameters, "iam_request_headers")?)
                .map_err(|_| broken())?
        }
        _ => return Err(broken()),
    };
    let mut headers = Vec::new();
    for (name, value) in object {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            headers.push((name.clone(), value.as_str().ok_or_else(broken)?.to_owned()));
        }
    }
    Ok(headers)
}

fn decoded(parameters: &Parameters, name: &str) -> Result<String, Refusal> {
    let text = parameters.text(name);
    if text.is_empty() {
        return Err(Refusal::bad_request(format!("missing {name}")));
    }
    aws_smithy_types::base64::decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Refusal::bad_request(format!("failed to base64 decode {name}")))
}

fn check_server_id(request: &Request<Bytes>, wanted: &str) -> Result<(), String> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    match text(SERVER_ID) {
        None => return Err(format!("missing header {SERVER_ID:?}")),
        Some(given) if given != wanted => {
            return Err(format!("expected {wanted:?} but got {given:?}"));
        }
        Some(_) => {}
    }
    let authorization = text(AUTHORIZATION.as_str()).unwrap_or_default();
    let signed = authorization
        .split_once("SignedHeaders=")
        .map(|(_, rest)| rest.split(',').next().unwrap_or_default())
        .unwrap_or_default();
    let name = SERVER_ID.to_ascii_lowercase();
    if signed.split(';').any(|header| header == name) {
        Ok(())
    } else {
        Err("vault header wasn't signed".to_owned())
    }
}

/// A role's session as its role: `arn:aws:iam::…:role/…`.
fn canonical(arn: &str) -> String {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts[..] {
        ["arn", partition, "sts", "", account, resource] => {
            match resource.split('/').collect::<Vec<_>>()[..] {
                ["assumed-role", role, _] => format!("arn:{partition}:iam::{account}:role/{role}"),
                _ => arn.to_owned(),
            }
        }
        _ => arn.to_owned(),
    }
}
