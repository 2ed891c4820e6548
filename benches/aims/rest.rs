//! What a relay takes that has nothing to do.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::Cores;
use crate::site::{Scheme, Site, Upstream};
use crate::table::Row;

/// Of one core.
const LIMIT_PERCENT: f64 = 0.1;

/// Measures it while `meanwhile` does something else; at least this long.
const SHORTEST: Duration = Duration::from_secs(10);

/// The share of a core that the relay takes while nobody asks and nothing rotates.
pub(crate) fn measure(
    cores: &Cores,
    relay: &Path,
    upstream: &Upstream,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Row> {
    let server = Site::create(upstream, Scheme::Http, 1)?.start(cores, relay)?;
    let before = server.cpu_time()?;
    let begun = Instant::now();
    meanwhile()?;
    std::thread::sleep(SHORTEST.saturating_sub(begun.elapsed()));
    let took = server.cpu_time()?.saturating_sub(before);
    let percent = took.div_duration_f64(begun.elapsed()) * 100.0;
    Ok(Row {
        aim: "CPU at rest".to_owned(),
        limit: format!("{LIMIT_PERCENT} % of a core"),
        relay: format!("{percent:.4} %"),
        bare: String::new(),
        ratio: None,
        met: Some(percent < LIMIT_PERCENT),
    })
}
