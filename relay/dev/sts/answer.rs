//! What STS says: its XML answers and errors, in the shapes that the AWS clients parse.

use std::fmt::Write;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, DATE, HeaderValue};
use hyper::{Response, StatusCode};

use super::super::upstream::{http_date, request_id};
use super::keys::Issued;
use crate::clock::Timestamp;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// A successful result, before it is written as XML.
#[derive(Debug)]
pub(super) enum Answer {
    /// Of AssumeRole.
    AssumedRole(Granted, AssumedRole),
    /// Of AssumeRoleWithWebIdentity.
    WebIdentity(Granted, AssumedRole, Shown),
    /// Of GetSessionToken.
    Session(Granted),
    /// Of GetCallerIdentity.
    Identity { user_id: String, account: String, arn: String },
}

/// The keys in an answer. Their expiration is apart from them, since a fault may forge it.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) keys: Issued,
    pub(super) expiration: Option<Timestamp>,
}

/// What AssumeRole says beside the keys.
#[derive(Debug)]
pub(super) struct AssumedRole {
    pub(super) id: String,
    pub(super) arn: String,
    /// Percent of what the session's policies and tags may take, where there are any.
    pub(super) packed: Option<u64>,
    pub(super) source_identity: Option<String>,
}

/// What AssumeRoleWithWebIdentity says of the token that it was shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) audience: String,
}

impl Answer {
    /// The keys that it grants, if it does.
    pub(super) fn granted(&mut self) -> Option<&mut Granted> {
        match self {
            Self::AssumedRole(granted, _)
            | Self::WebIdentity(granted, ..)
            | Self::Session(granted) => Some(granted),
            Self::Identity { .. } => None,
        }
    }

    fn to_xml(&self, request_id: &str) -> String {
        let mut xml = Xml::default();
        let action = match self {
            Self::AssumedRole(..) => "AssumeRole",
            Self::WebIdentity(..) => "AssumeRoleWithWebIdentity",
            Self::Session(_) => "GetSessionToken",
            Self::Identity { .. } => "GetCallerIdentity",
        };
        xml.root(&format!("{action}Response"), |xml| {
            xml.node(&format!("{action}Result"), |xml| self.write_result(xml));
            xml.node("ResponseMetadata", |xml| xml.text("RequestId", request_id));
        });
        xml.0
    }

    fn write_result(&self, xml: &mut Xml) {
        match self {
            Self::AssumedRole(granted, role) => role.write(granted, xml),
            Self::WebIdentity(granted, role, shown) => {
                xml.text("SubjectFromWebIdentityToken", &shown.subject);
                xml.text("Audience", &shown.audience);
                xml.text("Provider", &shown.issuer);
                role.write(granted, xml);
            }
            Self::Session(granted) => granted.write(xml),
            Self::Identity { user_id, account, arn } => {
                xml.text("Arn", arn);
                xml.text("UserId", user_id);
                xml.text("Account", account);
            }
        }
    }
}

impl AssumedRole {
    fn write(&self, granted: &Granted, xml: &mut Xml) {
        if let Some(identity) = &self.source_identity {
            xml.text("SourceIdentity", identity);
        }
        xml.node("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", &self.id);
            xml.text("Arn", &self.arn);
        });
        granted.write(xml);
        if let Some(percent) = self.packed {
            xml.text("PackedPolicySize", &percent.to_string());
        }
    }
}

impl Granted {
    fn write(&self, xml: &mut Xml) {
        xml.node("Credentials", |xml| {
            xml.text("AccessKeyId", self.keys.access_key_id.as_str());
            xml.text("SecretAccessKey", self.keys.secret_access_key.expose());
            xml.text("SessionToken", self.keys.session_token.expose());
            if let Some(expiration) = self.expiration {
                xml.text("Expiration", &expiration.to_string());
            }
        });
    }
}

/// An error answer.
#[derive(Clone, Debug)]
pub(in crate::dev) struct Refusal {
    pub(in crate::dev) status: StatusCode,
    pub(in crate::dev) code: &'static str,
    pub(in crate::dev) message: String,
}

impl Refusal {
    /// A refusal with HTTP status 400.
    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A refusal with HTTP status 403.
    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// A refusal with any other HTTP status.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The 400 for a parameter outside its constraints.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::bad_request("ValidationError", message)
    }

    /// The 403 for a key that has ended.
    pub(super) fn expired() -> Self {
        Self::forbidden("ExpiredToken", "The security token included in the request is expired")
    }

    /// The 403 for a key that is unknown, or a session token that is not the key's.
    pub(super) fn invalid_token() -> Self {
        Self::forbidden(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
    }

    /// The 403 for what a caller may not do.
    pub(super) fn access_denied(caller: &str, action: &str, resource: &str) -> Self {
        Self::forbidden(
            "AccessDenied",
            format!(
                "User: {caller} is not authorized to perform: sts:{action} on resource: {resource}"
            ),
        )
    }

    fn to_xml(&self, request_id: &str) -> String {
        let mut xml = Xml::default();
        xml.root("ErrorResponse", |xml| {
            xml.node("Error", |xml| {
                let blamed = if self.status.is_server_error() { "Receiver" } else { "Sender" };
                xml.text("Type", blamed);
                xml.text("Code", self.code);
                xml.text("Message", &self.message);
            });
            xml.text("RequestId", request_id);
        });
        xml.0
    }
}

/// What the answers to one request have in common: its id and its time.
pub(super) struct Reply {
    request_id: String,
    pub(super) now: Timestamp,
}

impl Reply {
    /// For a request that is answered `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { request_id: request_id(), now }
    }

    /// The body of a 200 answer.
    pub(super) fn success(&self, answer: &Answer) -> String {
        answer.to_xml(&self.request_id)
    }

    /// The answer for a refusal.
    pub(super) fn refusal(&self, refusal: &Refusal) -> Response<Full<Bytes>> {
        self.respond(refusal.status, refusal.to_xml(&self.request_id))
    }

    /// An answer with what STS puts on each.
    pub(super) fn respond(&self, status: StatusCode, body: String) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        // The SDKs learn clock skew from it, so it must come from the clock that judges them.
        if let Some(date) = http_date(self.now).and_then(|date| HeaderValue::from_str(&date).ok()) {
            headers.insert(DATE, date);
        }
        response
    }
}

#[derive(Default)]
struct Xml(String);

impl Xml {
    fn root(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name} xmlns=\"{NAMESPACE}\">");
        content(self);
        let _ = write!(self.0, "</{name}>");
    }

    fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        content(self);
        let _ = write!(self.0, "</{name}>");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.node(name, |xml| {
            for c in text.chars() {
                match c {
                    '<' => xml.0.push_str("&lt;"),
                    '>' => xml.0.push_str("&gt;"),
                    '&' => xml.0.push_str("&amp;"),
                    '"' => xml.0.push_str("&quot;"),
                    // XML 1.0 has no other control characters, not even escaped.
                    c if c.is_control() && !"\n\r\t".contains(c) => xml.0.push('\u{fffd}'),
                    c => xml.0.push(c),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut xml = Xml::default();
        xml.text("Message", "a<b>&\"\u{1}");
        assert_eq!(xml.0, "<Message>a&lt;b&gt;&amp;&quot;\u{fffd}</Message>");
    }
}
