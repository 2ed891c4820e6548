//! Instructions per request, by callgrind: the figure that does not drift.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Cores, Server};
use crate::site::{Scheme, Site, Upstream, start_bare_by};
use crate::table::Row;
use crate::{Result, http, load};

/// Requests of the shorter and the longer run; what both do beside them cancels out.
const SHORT: usize = 2_000;
const LONG: usize = 12_000;

/// On one keep-alive connection, in user space, for a request with the headers that count alone:
/// hyper takes some 600 instructions to read a further one.
const LIMIT: f64 = 10_000.0;

/// Measures it with the headers that count, and with those that an SDK sends.
pub(crate) fn measure(cores: &Cores, relay: &Path, upstream: &Upstream) -> Result<Vec<Row>> {
    let mut length = 0;
    let mut row = |name: &str, request: fn(&[u8]) -> Vec<u8>, limit: Option<f64>| -> Result<Row> {
        let of_relay = per_request(request, |command| {
            let site = Site::create(upstream, Scheme::Http, 1)?;
            let server = site.start_by(cores, command.arg(relay).args(site.arguments()?))?;
            length = server.body_length;
            Ok((server, Some(site)))
        })?;
        let of_bare = per_request(request, |command| {
            let server = start_bare_by(cores, command.arg(std::env::current_exe()?), length)?;
            Ok((server, None))
        })?;
        Ok(Row {
            aim: format!("instructions per request, {name}"),
            limit: limit.map_or_else(String::new, |limit| format!("{limit:.0}")),
            relay: format!("{of_relay:.0}"),
            bare: format!("{of_bare:.0}"),
            ratio: Some(of_relay / of_bare),
            met: limit.map(|limit| of_relay <= limit),
        })
    };
    Ok(vec![
        row("headers that count", http::without_extras, Some(LIMIT))?,
        row("an SDK's headers", <[u8]>::to_vec, None)?,
    ])
}

type Started = (Server, Option<Site>);

fn per_request(
    request: fn(&[u8]) -> Vec<u8>,
    mut start: impl FnMut(&mut Command) -> Result<Started>,
) -> Result<f64> {
    let short = instructions(&mut start, request, SHORT)?;
    let long = instructions(&mut start, request, LONG)?;
    Ok((long - short) / (LONG - SHORT) as f64)
}

/// All that a server runs from its start to its end, with so many requests between.
fn instructions(
    start: &mut impl FnMut(&mut Command) -> Result<Started>,
    request: fn(&[u8]) -> Vec<u8>,
    requests: usize,
) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    command.stderr(Stdio::null());
    let (server, _site) = start(&mut command)?;
    load::repeat(server.at, &request(&server.request), requests)?;
    server.end()?;
    let text = std::fs::read_to_string(out)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(total.ok_or("callgrind gave no total")?.trim().parse()?)
}
