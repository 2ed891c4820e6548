//! What the headers of answers say, and what those of requests say of the relay.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};

use crate::credential::{Secret, scrub};

/// Who asks.
pub(super) const AGENT: &str = concat!("credential-relay/", env!("CARGO_PKG_VERSION"));

/// Where an answer redirects to.
pub(super) fn location(headers: &HeaderMap) -> Option<String> {
    headers.get(LOCATION)?.to_str().ok().map(str::to_owned)
}

/// An address as it may be told: without what a query or a user's part may hold.
pub(super) fn shown(address: &str) -> String {
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
