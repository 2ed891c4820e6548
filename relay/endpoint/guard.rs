//! What a request asks for, unless it must not be answered at all.
//!
//! A browser can be led to the endpoint by a name that an attacker lets point to 127.0.0.1, but it
//! then sends that name as Host; a proxy can be led there too, but it says that it is one.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{AUTHORIZATION, FORWARDED, HOST, HeaderName, HeaderValue, VIA};
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
    /// Compared by value, since an IPv6 address can be written in many ways.
    addresses: Vec<Ipv6Addr>,
}

impl Hosts {
    /// Those of the loopback interface, the address that is listened on and `configured`.
    pub(super) fn new(listen: IpAddr, configured: &[String]) -> Self {
        let mut hosts = Self {
            names: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
            addresses: vec![Ipv6Addr::LOCALHOST],
        };
        for host in configured.iter().cloned().chain([listen.to_string()]) {
            match host.parse() {
                Ok(address) => hosts.addresses.push(address),
                Err(_) => hosts.names.push(host),
            }
        }
        hosts
    }

    /// Whether `authority`, a name or address with or without a port, is one of them.
    fn allow(&self, authority: &[u8]) -> bool {
        let name = without_port(authority);
        match name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            Some(literal) => address(literal).is_some_and(|found| self.addresses.contains(&found)),
            None => self.names.iter().any(|allowed| name.eq_ignore_ascii_case(allowed.as_bytes())),
        }
    }
}

/// The authority's name. A port is digits or nothing (RFC 3986, section 3.2.3); whatever else
/// follows a colon stays, and is then no name that anybody allowed.
fn without_port(authority: &[u8]) -> &[u8] {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (name_and_colon, _) = authority.split_at(authority.len() - digits);
    name_and_colon.strip_suffix(b":").unwrap_or(authority)
}

/// An IPv6 address without the zone after it, which means something to the client's machine alone
/// (RFC 6874, section 1).
fn address(literal: &[u8]) -> Option<Ipv6Addr> {
    let literal = std::str::from_utf8(literal).ok()?;
    literal.split_once('%').map_or(literal, |(address, _)| address).parse().ok()
}

/// What a request asks for, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'r> {
    /// The profile, if the path names one.
    pub(super) profile: Option<&'r str>,
    /// The Authorization header.
    pub(super) authorization: Option<&'r HeaderValue>,
}

/// What a request asks for, if it may be answered.
pub(super) fn admit<'r, B>(
    hosts: &Hosts,
    request: &'r Request<B>,
) -> Result<Asked<'r>, Refusal<'static>> {
    let relevant = pass(hosts, request)?;
    let profile = profile(request.uri().path())?;
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    if relevant.authorizations > 1 {
        return Err(Refusal::SeveralTokens);
    }
    Ok(Asked { profile, authorization: relevant.authorization })
}

/// Refuses what did not come from an application of this pod; gives the headers that count.
#[inline]
pub(super) fn pass<'r, B>(
    hosts: &Hosts,
    request: &'r Request<B>,
) -> Result<Relevant<'r>, Refusal<'static>> {
    let relevant = Relevant::of(request.headers());
    if !host_is_allowed(hosts, request, &relevant) {
        return Err(Refusal::Host);
    }
    if relevant.was_forwarded {
        return Err(Refusal::Forwarded);
    }
    Ok(relevant)
}

/// The headers that count, found in one pass: looking each up by its hash takes far longer.
#[derive(Default)]
pub(super) struct Relevant<'r> {
    host: Option<&'r HeaderValue>,
    hosts: usize,
    authorization: Option<&'r HeaderValue>,
    authorizations: usize,
    was_forwarded: bool,
}

impl<'r> Relevant<'r> {
    fn of(headers: &'r HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            if name == HOST {
                found.host = Some(value);
                found.hosts += 1;
            } else if name == AUTHORIZATION {
                found.authorization = Some(value);
                found.authorizations += 1;
            } else if [FORWARDED, VIA, X_FORWARDED_FOR, X_FORWARDED_HOST].contains(name) {
                found.was_forwarded = true;
            }
        }
        found
    }
}

/// HTTP/1.0 knows no Host. In HTTP/1.1 there is exactly one, even beside a target that has a host
/// of its own (RFC 9112, section 3.2), and both must be right.
fn host_is_allowed<B>(hosts: &Hosts, request: &Request<B>, relevant: &Relevant<'_>) -> bool {
    let target = request.uri().authority().map(Authority::as_str);
    if target.is_some_and(|authority| !hosts.allow(authority.as_bytes())) {
        return false;
    }
    match (relevant.host, relevant.hosts) {
        (Some(host), 1) => hosts.allow(host.as_bytes()),
        (None, _) => request.version() == Version::HTTP_10,
        _ => false,
    }
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
        let hosts = Hosts::new("169.254.170.9".parse().unwrap(), &["relay.internal".to_owned()]);
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
            assert!(hosts.allow(allowed.as_bytes()), "{allowed}");
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
            assert!(!hosts.allow(refused.as_bytes()), "{refused}");
        }
    }

    #[test]
    fn an_ipv6_address_that_is_listened_on_is_a_name_too() {
        let hosts = Hosts::new("fd00:ec2::23".parse().unwrap(), &[]);
        assert!(hosts.allow(b"[fd00:ec2::23]:80"));
        assert!(hosts.allow(b"[FD00:EC2:0::23]"));
    }

    #[test]
    fn an_ipv6_address_that_is_configured_is_allowed_however_it_is_written() {
        let configured = ["fd00::1".to_owned(), "fe80::1".to_owned()];
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &configured);
        for allowed in [
            "[fd00::1]",
            "[fd00::1]:9531",
            "[FD00:0::1]:80",
            "[fe80::1%2]",
            "[fe80::1%eth0]:80",
            "[fe80::1%25eth0]:80",
        ] {
            assert!(hosts.allow(allowed.as_bytes()), "{allowed}");
        }
        for refused in ["fd00::1", "[fd00::2]", "[%2]", "[fe80::2%fe80::1]", "[fe80::1%2]x"] {
            assert!(!hosts.allow(refused.as_bytes()), "{refused}");
        }
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
