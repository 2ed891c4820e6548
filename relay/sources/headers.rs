//! What the headers of answers say, and what those of requests say of the relay.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};

use crate::credential::{Secret, scrub, without};

/// Who asks.
pub(super) const AGENT: &str = concat!("credential-relay/", env!("CARGO_PKG_VERSION"));

/// Where an answer redirects to.
pub(super) fn location(headers: &HeaderMap) -> Option<String> {
    headers.get(LOCATION)?.to_str().ok().map(str::to_owned)
}

/// An address as it may be told: without what a query or a user's part may hold, nor the secrets that were `sent`.
pub(super) fn shown<'a>(address: &str, sent: impl IntoIterator<Item = &'a Secret>) -> String {
    let address = without(address, sent);
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let shown = match address.split_once("//") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}{path}")
        }
        None => address.to_owned(),
    };
    scrub(&shown, [])
}

/// Where an address leads, without the path: ECS's is as good as a password.
pub(super) fn host_of<'a>(address: &str, sent: impl IntoIterator<Item = &'a Secret>) -> String {
    let shown = shown(address, sent);
    match shown.split_once("//") {
        Some((scheme, rest)) => {
            format!("{scheme}//{}", rest.split('/').next().unwrap_or_default())
        }
        None => "another path of the same host".to_owned(),
    }
}

/// The seconds of a Retry-After; no upstream of the relay's uses the other form.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A secret as the value of a header, which no log shows; none, if it has characters that no header
/// can.
pub(super) fn secret(text: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_without_what_was_sent() {
        let sent = Secret::new("half/and?other@half".to_owned());
        for (address, whole, host) in [
            ("http://vault:8200/v1/x?a=b", "http://vault:8200/v1/x", "http://vault:8200"),
            ("http://user:pass@vault/v1#x", "http://vault/v1", "http://vault"),
            ("/v1/x?a=b", "/v1/x", "another path of the same host"),
            ("http://half/and?other@half/x", "http://[redacted]/x", "http://[redacted]"),
            ("half/and?other@half", "[redacted]", "another path of the same host"),
            ("http://half%2Fand%3Fother%40half/x", "http://[redacted]/x", "http://[redacted]"),
        ] {
            assert_eq!(shown(address, [&sent]), whole);
            assert_eq!(host_of(address, [&sent]), host);
        }
    }
}
