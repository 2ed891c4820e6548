//! Resident memory: idle, under load, with many profiles, and over many rotations.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::load::{self, Shape};
use crate::process::{Cores, Memory, Server};
use crate::site::{Scheme, Site, Upstream, start_bare};
use crate::table::Row;

const MIB: f64 = 1024.0 * 1024.0;

const IDLE_MIB: f64 = 8.0;
const LOADED_MIB: f64 = 9.0;

/// What is done after the first answer is done by then: the relay has nothing else to do.
const SETTLE: Duration = Duration::from_millis(500);
const LOAD: Duration = Duration::from_secs(1);

/// After the first credential and after load, over HTTP and TLS.
pub(crate) fn resident(cores: &Cores, relay: &Path, upstream: &Upstream) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, scheme) in [("HTTP", Scheme::Http), ("TLS", Scheme::Https)] {
        let site = Site::create(upstream, scheme, 1)?;
        let server = site.start(cores, relay)?;
        let of_relay = idle_and_loaded(&server)?;
        let of_bare = idle_and_loaded(&start_bare(cores, server.body_length)?)?;
        let row = |when: &str, limit: f64, relay: Memory, bare: Memory| Row {
            aim: format!("resident {when}, STS over {name}"),
            limit: format!("{limit} MiB"),
            relay: in_words(relay),
            bare: in_words(bare),
            ratio: Some(relay.resident / bare.resident),
            met: Some(relay.resident / MIB <= limit),
        };
        rows.push(row("idle", IDLE_MIB, of_relay.0, of_bare.0));
        rows.push(row("after load", LOADED_MIB, of_relay.1, of_bare.1));
    }
    Ok(rows)
}

fn in_words(memory: Memory) -> String {
    format!("{:.2} MiB, {:.2} anonymous", memory.resident / MIB, memory.own / MIB)
}

fn idle_and_loaded(server: &Server) -> Result<(Memory, Memory)> {
    std::thread::sleep(SETTLE);
    let idle = server.memory()?;
    load::run(server.at, &server.request, Shape::KeepAlive(64), LOAD)?;
    Ok((idle, server.memory()?))
}

const MORE_PROFILES: usize = 200;
const PROFILE_KB: f64 = 16.0;

/// What a further profile takes.
pub(crate) fn per_profile(cores: &Cores, relay: &Path, upstream: &Upstream) -> Result<Row> {
    let with = |profiles: usize| -> Result<f64> {
        let site = Site::create(upstream, Scheme::Http, profiles)?;
        let server = site.start(cores, relay)?;
        site.wait_for_all()?;
        std::thread::sleep(SETTLE);
        Ok(server.memory()?.own)
    };
    let each = (with(1 + MORE_PROFILES)? - with(1)?) / MORE_PROFILES as f64 / 1e3;
    Ok(Row {
        aim: format!("each further profile, of {MORE_PROFILES}"),
        limit: format!("{PROFILE_KB} kB"),
        relay: format!("{each:.1} kB"),
        bare: String::new(),
        ratio: None,
        met: Some(each < PROFILE_KB),
    })
}

/// Profiles and lifetime such that a thousand rotations take half a minute.
const ROTATING: usize = 50;
const LIFETIME_SECS: u64 = 2;
const ROTATIONS: u64 = 1_000;
const READINGS: usize = 10;
/// What the allocator may take for itself meanwhile, by chance.
const FLAT_KIB: f64 = 128.0;

/// How much a thousand rotations add.
pub(crate) fn rotations(cores: &Cores, relay: &Path) -> Result<Row> {
    let upstream = Upstream::start(LIFETIME_SECS)?;
    let site = Site::create(&upstream, Scheme::Http, ROTATING)?;
    let server = site.start(cores, relay)?;
    // Before, a few rotations of each: the first touch what later ones use again. The least of some
    // readings counts, since a call that is under way takes memory for as long as it lasts.
    let reach = |count: u64| -> Result<f64> {
        while site.rotations()? < count {
            std::thread::sleep(Duration::from_millis(200));
        }
        let mut least = f64::INFINITY;
        for _ in 0..READINGS {
            least = least.min(server.memory()?.own);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(least)
    };
    let warm = 4 * ROTATING as u64;
    let before = reach(warm)?;
    let after = reach(warm + ROTATIONS)?;
    let grown = (after - before) / 1024.0;
    Ok(Row {
        aim: format!("growth over {ROTATIONS} rotations"),
        limit: format!("flat ({FLAT_KIB} KiB)"),
        relay: format!("{grown:+.0} KiB of {:.2} MiB", before / MIB),
        bare: String::new(),
        ratio: None,
        met: Some(grown <= FLAT_KIB),
    })
}
