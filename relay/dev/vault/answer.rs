//! What Vault says: its JSON answers and errors.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::upstream::{http_date, request_id};
use crate::clock::Timestamp;

/// A successful answer before it is written.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Option<Value>,
}

impl Reply {
    /// The envelope of every answer with a content, to be filled.
    pub(super) fn of(mount_type: &str, data: Value) -> Self {
        let body = json!({
            "request_id": request_id(),
            "lease_id": "",
            "renewable": false,
            "lease_duration": 0,
            "data": null,
            "wrap_info": null,
            "warnings": null,
            "auth": null,
            "mount_type": mount_type,
        });
        Self { status: StatusCode::OK, body: Some(body) }.with("data", data)
    }

    /// An answer that is no envelope.
    pub(super) fn plain(status: StatusCode, body: Value) -> Self {
        Self { status, body: Some(body) }
    }

    /// An answer without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, body: None }
    }

    /// The same with another field; those of the envelope and no others.
    pub(super) fn with(mut self, field: &str, value: Value) -> Self {
        if let Some(body) = &mut self.body {
            body[field] = value;
        }
        self
    }

    /// The same with these warnings, if there are any.
    pub(super) fn warning(self, warnings: &[String]) -> Self {
        if warnings.is_empty() { self } else { self.with("warnings", json!(warnings)) }
    }

    /// Whether it brings a leased secret.
    pub(super) fn leased(&self) -> bool {
        let id = self.body.as_ref().and_then(|body| body["lease_id"].as_str());
        id.is_some_and(|id| !id.is_empty())
    }
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    errors: Vec<String>,
}

impl Refusal {
    /// One error text.
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, errors: vec![error.into()] }
    }

    /// 400 with this text.
    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// The 403 of a login, and of a request without a token.
    pub(super) fn permission_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission denied")
    }

    /// The 403 of the policies.
    pub(super) fn policy() -> Self {
        Self::several(StatusCode::FORBIDDEN, &["permission denied"])
    }

    /// The 403 for a token that is unknown, revoked or expired.
    pub(super) fn invalid_token() -> Self {
        Self::several(StatusCode::FORBIDDEN, &["permission denied", "invalid token"])
    }

    /// The 405 for a method that a path doesn't take.
    pub(super) fn unsupported_operation() -> Self {
        Self::several(StatusCode::METHOD_NOT_ALLOWED, &["unsupported operation"])
    }

    /// The 404 for a path that a mount doesn't have.
    pub(super) fn unsupported_path() -> Self {
        Self::several(StatusCode::NOT_FOUND, &["unsupported path"])
    }

    /// The 404 for a path at which nothing is mounted.
    pub(super) fn no_handler(path: &str) -> Self {
        let text = format!("no handler for route {path:?}. route entry not found.");
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// The 404 for what is not there.
    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, errors: Vec::new() }
    }

    /// The 500 for want of random numbers.
    pub(super) fn internal() -> Self {
        Self::several(StatusCode::INTERNAL_SERVER_ERROR, &["internal error"])
    }

    /// The 503 of a sealed Vault.
    pub(super) fn sealed() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed")
    }

    /// One text that holds a list, as Vault's Go library prints several errors.
    fn several(status: StatusCode, errors: &[&str]) -> Self {
        let (count, plural) = (errors.len(), if errors.len() == 1 { "" } else { "s" });
        let list = errors.iter().map(|error| format!("* {error}")).collect::<Vec<_>>();
        let text = format!("{count} error{plural} occurred:\n\t{}\n\n", list.join("\n\t"));
        Self::new(status, text)
    }

    /// Its body.
    pub(super) fn body(&self) -> Value {
        json!({ "errors": self.errors })
    }
}

/// A time as Vault writes it: with nanoseconds, for whose sake a client must be able to read them.
pub(super) fn precise(at: Timestamp) -> String {
    at.to_string().replace('Z', ".000000001Z")
}

/// An answer with what Vault puts on each.
pub(super) fn respond(
    status: StatusCode,
    body: Option<String>,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(date) = http_date(now).and_then(|date| HeaderValue::from_str(&date).ok()) {
        headers.insert(DATE, date);
    }
    response
}
