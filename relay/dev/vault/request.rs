//! A request as Vault reads it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Request};
use serde_json::{Map, Value};

use super::super::sts::Form;
use super::answer::Refusal;
use super::ledger::Operation;
use crate::credential::Secret;

/// The longest request body that is read. A login with a signed request takes a few kB.
const LONGEST_BODY: usize = 128 * 1024;

/// A request that was read whole.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Without `/v1/`.
    pub(super) path: String,
    /// As it came, for a redirect.
    pub(super) target: String,
    pub(super) operation: Operation,
    pub(super) token: Option<Secret>,
    pub(super) namespace: Option<String>,
    pub(super) parameters: Result<Parameters, Refusal>,
}

impl Asked {
    /// Reads a request; one that cannot be read is told when it is performed.
    pub(super) async fn read<B>(request: Request<B>, mount: &str) -> Self
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, LONGEST_BODY).collect().await;
        let path = head.uri.path().strip_prefix("/v1/").unwrap_or_default().to_owned();
        let parameters = match body {
            Err(_) => Err(Refusal::bad_request("error reading data")),
            Ok(_) if head.method == Method::GET => {
                Parameters::of_query(head.uri.query().unwrap_or_default())
            }
            Ok(body) => Parameters::of_body(&body.to_bytes()),
        };
        Self {
            operation: Operation::of(&path, mount),
            target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            token: token(&head.headers),
            namespace: header(&head.headers, "x-vault-namespace").map(str::to_owned),
            method: head.method,
            path,
            parameters,
        }
    }

    /// Whether it is a read or a write, of which Vault takes POST and PUT as one.
    pub(super) fn writes(&self) -> bool {
        self.method == Method::POST || self.method == Method::PUT
    }
}

fn token(headers: &HeaderMap) -> Option<Secret> {
    let bearer = || header(headers, AUTHORIZATION.as_str())?.strip_prefix("Bearer ");
    let token = header(headers, "x-vault-token").or_else(bearer)?;
    Some(Secret::new(token.to_owned()))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The parameters of a request, of the query if it reads and of the body if it writes.
#[derive(Debug, Default)]
pub(super) struct Parameters(Map<String, Value>);

impl Parameters {
    fn of_query(query: &str) -> Result<Self, Refusal> {
        let mut form = Form::default();
        form.read(query).map_err(|_| Refusal::bad_request("error parsing form data"))?;
        let pairs = form.into_pairs();
        Ok(Self(pairs.map(|(name, value)| (name, Value::String(value))).collect()))
    }

    fn of_body(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|_| Refusal::bad_request("error parsing JSON: not an object"))
    }

    /// A parameter that is a text, empty if it is absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A parameter that is on or off.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) => text == "true",
            _ => default,
        }
    }

    /// A parameter of any kind.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A parameter that is a duration: seconds, or a text such as `1h30m`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let parsed = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(seconds)) => seconds.as_u64().map(Duration::from_secs),
            Some(Value::String(text)) => parse_duration(text),
            Some(_) => None,
        };
        let refusal = || {
            let text = format!("error converting input for field {name:?}: not a duration");
            Refusal::bad_request(format!("Field validation failed: {text}"))
        };
        parsed.map(Some).ok_or_else(refusal)
    }
}

/// `3600`, `3600s`, `1h30m`, `2d`.
fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at(end);
        let seconds = match unit.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(seconds)?)?;
        rest = &unit[1..];
    }
    (!text.is_empty()).then_some(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_vault_reads_them() {
        for (text, seconds) in
            [("3600", 3_600), ("90s", 90), ("1h30m", 5_400), ("2d", 172_800), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1x", "h", "1h3", "1é"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
