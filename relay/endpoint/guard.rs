//! What a request asks for, unless it must not be answered at all.
//!
//! A browser can be led to the endpoint by a name that an attacker lets point to 127.0.0.1, but it
//! then sends that name as Host; a proxy can be led there too, but it says that it is one.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{FORWARDED, HOST, HeaderName, VIA};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, Version};

use super::answer::Refusal;

const PATH: &str = "/v1/credentials";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The names that the endpoint answers to.
#[derive(Debug)]
pub(super) struct Hosts {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Hosts {
    /// Those of the loopback interface, the address that is listened on and `configured`.
    pub(super) fn new(listen: IpAddr, configured: &[String]) -> Self {
        let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        if listen.is_ipv4() {
            names.push(listen.to_string());
        }
        names.extend_from_slice(configured);
        Self {
            names,
            addresses: vec![IpAddr::V6(Ipv6Addr::LOCALHOST), listen],
        }
    }

    /// Whether `authority`, a name or address with or without a port, is one of them.
    fn allow(&self, authority: &str) -> bool {
        let name = without_port(authority);
        match name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(literal) => literal
                .parse()
                .is_ok_and(|address| self.addresses.contains(&IpAddr::V6(address))),
            None => self
                .names
                .iter()
                .any(|allowed| name.eq_ignore_ascii_case(allowed)),
        }
    }
}

/// The authority's name. A port is digits or nothing (RFC 3986, section 3.2.3); whatever else
/// follows a colon stays, and is then no name that anybody allowed.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// The profile that a request names, if its path names one.
pub(super) fn admit<'r, B>(
    hosts: &Hosts,
    request: &'r Request<B>,
) -> Result<Option<&'r str>, Refusal<'static>> {
    if !host_is_allowed(hosts, request) {
        return Err(Refusal::Host);
    }
    if was_forwarded(request.headers()) {
        return Err(Refusal::Forwarded);
    }
    let wanted = profile(request.uri().path())?;
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    Ok(wanted)
}

/// HTTP/1.0 knows no Host. In HTTP/1.1 there is exactly one, even beside a target that has a host
/// of its own (RFC 9112, section 3.2), and both must be right.
fn host_is_allowed<B>(hosts: &Hosts, request: &Request<B>) -> bool {
    let target = request.uri().authority().map(Authority::as_str);
    if target.is_some_and(|authority| !hosts.allow(authority)) {
        return false;
    }
    let mut given = request.headers().get_all(HOST).iter();
    match (given.next(), given.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| hosts.allow(host)),
        (None, None) => request.version() == Version::HTTP_10,
        (_, Some(_)) => false,
    }
}

fn was_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        || headers.contains_key(VIA)
        || headers.contains_key(X_FORWARDED_FOR)
        || headers.contains_key(X_FORWARDED_HOST)
}

/// The profile that stands in a path, with or without a slash after it.
fn profile(path: &str) -> Result<Option<&str>, Refusal<'static>> {
    let rest = path.strip_prefix(PATH).ok_or(Refusal::Path)?;
    if rest.is_empty() || rest == "/" {
        return Ok(None);
    }
    let name = rest.strip_prefix('/').ok_or(Refusal::Path)?;
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || name.contains('/') {
        return Err(Refusal::Path);
    }
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_allowed_by_name_whatever_the_port() {
        let hosts = Hosts::new(
            "169.254.170.9".parse().unwrap(),
            &["relay.internal".to_owned()],
        );
        for allowed in [
            "127.0.0.1",
            "127.0.0.1:9531",
            "LocalHost:1",
            "localhost:",
            "[::1]",
            "[::1]:80",
            "[0:0:0:0:0:0:0:1]:80",
            "169.254.170.9:9531",
            "Relay.Internal",
        ] {
            assert!(hosts.allow(allowed), "{allowed}");
        }
        for refused in [
            "",
            ":80",
            "::1",
            "127.0.0.2",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1:80@evil.example",
            "user@127.0.0.1",
            "127.0.0.1:80x",
            "[::2]",
            "[::1",
            "[127.0.0.1]",
        ] {
            assert!(!hosts.allow(refused), "{refused}");
        }
    }

    #[test]
    fn an_ipv6_address_that_is_listened_on_is_a_name_too() {
        let hosts = Hosts::new("fd00:ec2::23".parse().unwrap(), &[]);
        assert!(hosts.allow("[fd00:ec2::23]:80"));
        assert!(hosts.allow("[FD00:EC2:0::23]"));
    }

    #[test]
    fn paths_name_a_profile_or_none() {
        for (path, expected) in [
            ("/v1/credentials", None),
            ("/v1/credentials/", None),
            ("/v1/credentials/payments", Some("payments")),
            ("/v1/credentials/payments/", Some("payments")),
        ] {
            assert_eq!(profile(path).unwrap(), expected, "{path}");
        }
        for path in [
            "",
            "/",
            "*",
            "/v1",
            "/v1/credentialsx",
            "/v1/credentials//",
            "/v1/credentials/a/b",
            "/V1/credentials",
            "/v2/credentials",
        ] {
            assert!(matches!(profile(path), Err(Refusal::Path)), "{path}");
        }
    }
}
