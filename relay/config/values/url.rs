//! URLs of upstreams: absolute, http or https, with nothing that a secret may stand in.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Authority;

use super::is_local;

/// Where an upstream is asked in the place of its own endpoint: an absolute http or https URL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl(Box<str>);
text!(UpstreamUrl);

impl UpstreamUrl {
    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0)
    }

    /// Whether what is sent stays unread on its way: by TLS, or because it never leaves this
    /// machine (or its link, where metadata services live).
    pub fn is_private(&self) -> bool {
        is_private(&self.0)
    }
}

impl FromStr for UpstreamUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        http_url(text)?;
        Ok(Self(text.into()))
    }
}

/// An id in a path that nobody guesses: a UUID has 36 characters, or 32.
const SHORTEST_ID: usize = 32;

/// Where a container credentials endpoint is: an absolute http or https URL, with a path and a
/// query where it has them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContainerUri(Box<str>);
text!(ContainerUri);

impl ContainerUri {
    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0)
    }

    /// Its host without brackets, and its port.
    pub fn host_and_port(&self) -> (String, u16) {
        host_and_port(&self.0)
    }

    /// The parts of its path and query that are as good as a password: ECS's is an id by which its agent knows the task.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let parts = self.0.split(['/', '?', '&', '=']).skip(3);
        parts.filter(|part| part.len() >= SHORTEST_ID)
    }
}

impl FromStr for ContainerUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const RIGHT: &str =
            "write https://<host>/<path>, or http://<address>/<path> on this machine";
        let (_, authority) = absolute(text, RIGHT)?;
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(format!("a user, a password or a fragment cannot stand in it; {RIGHT}"));
        }
        check_host(&authority, RIGHT)?;
        if !is_private(text) {
            return Err(format!(
                "plain http on another machine, where anybody between could read the credentials; {RIGHT}"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// Checks that a text is an absolute http or https URL with nothing but a host, a port and a path.
pub(super) fn http_url(text: &str) -> Result<(), String> {
    const RIGHT: &str = "write https://<host> or https://<host>:<port>";
    let (uri, authority) = absolute(text, RIGHT)?;
    if authority.as_str().contains('@') {
        return Err(format!("a user or a password cannot stand in it; {RIGHT}"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(format!("a query or a fragment cannot stand in it; {RIGHT}"));
    }
    check_host(&authority, RIGHT)
}

/// Reads an absolute http or https URL; `right` is what should have been written.
fn absolute(text: &str, right: &str) -> Result<(Uri, Authority), String> {
    let uri: Uri = text.parse().map_err(|_| format!("not a URL; {right}"))?;
    match (uri.scheme_str(), uri.authority().cloned()) {
        (Some("http" | "https"), Some(authority)) => Ok((uri, authority)),
        _ => Err(format!("neither an http nor an https URL; {right}")),
    }
}

fn check_host(authority: &Authority, right: &str) -> Result<(), String> {
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    let port = rest == Some("") || authority.port_u16().unwrap_or(0) > 0;
    if host.trim_matches(['[', ']']).is_empty() || !port {
        return Err(format!("the host is empty or the port is not 1 to 65535; {right}"));
    }
    Ok(())
}

/// Whether a URL is spoken to without TLS.
pub(super) fn is_plain(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"))
}

/// The host of an http or https URL in lower case and without brackets, and its port.
pub fn host_and_port(url: &str) -> (String, u16) {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let port = uri.as_ref().and_then(Uri::port_u16);
    let port = port.unwrap_or(if is_plain(url) { 80 } else { 443 });
    (host.trim_matches(['[', ']']).to_ascii_lowercase(), port)
}

/// Whether what is sent to a URL stays unread on its way: by TLS, or because it never leaves this
/// machine (or its link, where metadata services live).
pub(super) fn is_private(url: &str) -> bool {
    // It was read once already, so the parts are there.
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    uri.scheme_str() == Some("https")
        || uri.host().is_some_and(|host| {
            let literal = host.trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost") || literal.parse().is_ok_and(is_local)
        })
}
