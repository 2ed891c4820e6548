//! How long after its start a server gives its first good answer.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::process::Cores;
use crate::site::{Scheme, Site, Upstream, start_bare};
use crate::table::{Row, median};

const ROUNDS: usize = 21;

/// Measures it over HTTP and over TLS, in turns with the bare server.
pub(crate) fn measure(cores: &Cores, relay: &Path, upstream: &Upstream) -> Result<Vec<Row>> {
    let (mut plain, mut encrypted, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut length = 0;
        for (scheme, times) in [(Scheme::Http, &mut plain), (Scheme::Https, &mut encrypted)] {
            let server = Site::create(upstream, scheme, 1)?.start(cores, relay)?;
            times.push(server.first_answer);
            length = server.body_length;
        }
        bare.push(start_bare(cores, length)?.first_answer);
    }
    Ok(vec![
        row("start to first credential, HTTP", 6.0, &plain, &bare)?,
        row("start to first credential, TLS, one CA", 20.0, &encrypted, &bare)?,
    ])
}

/// The upstream's part is in it, which is a fraction of a millisecond.
fn row(name: &str, limit_ms: f64, relay: &[Duration], bare: &[Duration]) -> Result<Row> {
    let milliseconds = |times: &[Duration]| {
        let middle = median(times.iter().copied()).ok_or("no round was run")?;
        Ok::<_, &str>(middle.as_secs_f64() * 1e3)
    };
    let ratios = relay.iter().zip(bare).map(|(relay, bare)| relay.div_duration_f64(*bare));
    let relay_ms = milliseconds(relay)?;
    Ok(Row {
        aim: name.to_owned(),
        limit: format!("{limit_ms} ms"),
        relay: format!("{relay_ms:.1} ms"),
        bare: format!("{:.1} ms", milliseconds(bare)?),
        ratio: median(ratios),
        met: Some(relay_ms <= limit_ms),
    })
}
