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

/// Where an address leads, as it may be told: without the path, which may be as good as a password (ECS's), without the
/// secrets that were `sent`, and no host that is none.
pub(super) fn host_of<'a>(address: &str, sent: impl IntoIterator<Item = &'a Secret>) -> String {
    let address = without(address, sent);
    let Some((scheme, rest)) = address.split_once("//") else {
        return "another path of the same host".to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || host.contains(|c| !legal(c)) {
        return "what is no host".to_owned();
    }
    scrub(&format!("{scheme}//{host}"), [])
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
    fn an_address_is_told_by_its_host_without_what_was_sent() {
        let sent = Secret::new("half/and?other@half".to_owned());
        for (address, told) in [
            ("http://vault:8200/v1/x?a=b", "http://vault:8200"),
            ("http://[::1]?a=b", "http://[::1]"),
            ("http://user:pass@vault#x", "http://vault"),
            ("/v1/x?a=b", "another path of the same host"),
            ("", "another path of the same host"),
            ("http://half/and?other@half.example/x", "http://[redacted].example"),
            ("half/and?other@half", "another path of the same host"),
            ("http://half%2Fand%3Fother%40half/x", "http://[redacted]"),
            ("http://a%20b/x", "what is no host"),
            ("http:///x", "what is no host"),
        ] {
            assert_eq!(host_of(address, [&sent]), told);
        }
    }
}
