//! Whether an address leads to the relay's own endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tokio::net::lookup_host;

use crate::config::values::host_and_port;

/// Whether a URL leads to one of the relay's `own` addresses.
pub(super) async fn url_leads_to(own: &[SocketAddr], url: &str) -> bool {
    let (host, port) = host_and_port(url);
    leads_to(own, &host, port).await
}

/// Whether a name or an address stands for one of the relay's `own` addresses. A name that cannot be
/// looked up does not; whoever connects to it says so.
async fn leads_to(own: &[SocketAddr], host: &str, port: u16) -> bool {
    if own.iter().all(|own| own.port() != port) {
        return false;
    }
    match lookup_host((host, port)).await {
        Ok(mut found) => found.any(|found| own.iter().any(|own| is(*own, found))),
        Err(_) => false,
    }
}

/// Whether a connection to `there` is made to a listener at `own`.
fn is(own: SocketAddr, there: SocketAddr) -> bool {
    // One to no address in particular is made to this machine.
    let ip = match there.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let listens = own.ip().to_canonical();
    own.port() == there.port() && (ip == listens || (listens.is_unspecified() && is_here(ip)))
}

/// Whether an address is one of this machine's: nobody can bind another's.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_of_the_relay_itself_are_known() {
        let here = |own: &str| [own.parse::<SocketAddr>().unwrap()];
        for (own, host, leads) in [
            ("127.0.0.1:9531", "127.0.0.1", true),
            ("127.0.0.1:9531", "localhost", true),
            ("127.0.0.1:9531", "0.0.0.0", true),
            ("127.0.0.1:9531", "::ffff:127.0.0.1", true),
            ("127.0.0.1:9531", "127.0.0.2", false),
            ("127.0.0.1:9532", "127.0.0.1", false),
            ("0.0.0.0:9531", "127.0.0.2", true),
            ("0.0.0.0:9531", "169.254.170.23", false),
            ("[::]:9531", "127.0.0.1", true),
            ("[::]:9531", "::1", true),
            ("127.0.0.1:9531", "no-such-host.invalid", false),
        ] {
            assert_eq!(leads_to(&here(own), host, 9531).await, leads, "{own} {host}");
        }
    }
}
