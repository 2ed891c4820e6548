//! How long an answer takes, against the bare server in turns.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::load::{self, Sample, Shape};
use crate::process::{Cores, Server};
use crate::site::{Scheme, Site, Upstream, start_bare};
use crate::table::{Row, median};

const SHAPES: [(&str, Shape); 4] = [
    ("keep-alive, 1 connection", Shape::KeepAlive(1)),
    ("keep-alive, 16 connections", Shape::KeepAlive(16)),
    ("keep-alive, 64 connections", Shape::KeepAlive(64)),
    ("a new connection each", Shape::Fresh),
];

/// Rounds of both, so that a drift of the machine meets both alike.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(400);

/// The median may be this many times the bare server's.
const LIMIT: f64 = 1.10;

/// Measures every shape.
pub(crate) fn measure(cores: &Cores, relay: &Path, upstream: &Upstream) -> Result<Vec<Row>> {
    let site = Site::create(upstream, Scheme::Http, 1)?;
    let relay = site.start(cores, relay)?;
    let bare = start_bare(cores, relay.body_length)?;
    SHAPES.iter().map(|(name, shape)| compare(name, *shape, &relay, &bare)).collect()
}

fn compare(name: &str, shape: Shape, relay: &Server, bare: &Server) -> Result<Row> {
    let round = |server: &Server| load::run(server.at, &server.request, shape, ROUND);
    // The first of each warms up.
    round(relay)?;
    round(bare)?;
    let (mut of_relay, mut of_bare) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        if number % 2 == 0 {
            of_relay.push(round(relay)?);
            of_bare.push(round(bare)?);
        } else {
            of_bare.push(round(bare)?);
            of_relay.push(round(relay)?);
        }
    }
    let rounds = of_relay.iter().zip(&of_bare);
    let ratio = median(rounds.map(|(relay, bare)| relay.percentile(0.5) / bare.percentile(0.5)))
        .ok_or("no round was run")?;
    Ok(Row {
        aim: name.to_owned(),
        limit: format!("p50 {LIMIT:.2} x bare"),
        relay: summary(&of_relay),
        bare: summary(&of_bare),
        ratio: Some(ratio),
        met: Some(ratio <= LIMIT),
    })
}

/// The medians over the rounds.
fn summary(rounds: &[Sample]) -> String {
    let of = |figure: fn(&Sample) -> f64| median(rounds.iter().map(figure)).unwrap_or(f64::NAN);
    format!(
        "p50 {:.1} us, p99 {:.0} us, {:.1} k/s",
        of(|sample| sample.percentile(0.5)),
        of(|sample| sample.percentile(0.99)),
        of(|sample| sample.per_second() / 1000.0),
    )
}
