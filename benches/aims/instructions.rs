//! Instructions per request, by callgrind: the figure that does not drift.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Cores, Server};
use crate::site::{Scheme, Site, Upstream, start_bare_by};
use crate::table::Row;
use crate::{Result, load};

/// Requests of the shorter and the longer run; what both do beside them cancels out.
const SHORT: usize = 2_000;
const LONG: usize = 12_000;

/// On one keep-alive connection, in user space.
const LIMIT: f64 = 10_000.0;

/// Measures it.
pub(crate) fn measure(cores: &Cores, relay: &Path, upstream: &Upstream) -> Result<Row> {
    let mut length = 0;
    let of_relay = per_request(|command| {
        let site = Site::create(upstream, Scheme::Http, 1)?;
        let server = site.start_by(cores, command.arg(relay).args(site.arguments()?))?;
        length = server.body_length;
        Ok((server, Some(site)))
    })?;
    let of_bare = per_request(|command| {
        let server = start_bare_by(cores, command.arg(std::env::current_exe()?), length)?;
        Ok((server, None))
    })?;
    Ok(Row {
        aim: "instructions per keep-alive request".to_owned(),
        limit: format!("{LIMIT:.0}"),
        relay: format!("{of_relay:.0}"),
        bare: format!("{of_bare:.0}"),
        ratio: Some(of_relay / of_bare),
        met: Some(of_relay <= LIMIT),
    })
}

type Started = (Server, Option<Site>);

fn per_request(mut start: impl FnMut(&mut Command) -> Result<Started>) -> Result<f64> {
    let short = instructions(&mut start, SHORT)?;
    let long = instructions(&mut start, LONG)?;
    Ok((long - short) / (LONG - SHORT) as f64)
}

/// All that a server runs from its start to its end, with so many requests between.
fn instructions(
    start: &mut impl FnMut(&mut Command) -> Result<Started>,
    requests: usize,
) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    command.stderr(Stdio::null());
    let (server, _site) = start(&mut command)?;
    load::repeat(server.at, &server.request, requests)?;
    server.end()?;
    let text = std::fs::read_to_string(out)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(total.ok_or("callgrind gave no total")?.trim().parse()?)
}
