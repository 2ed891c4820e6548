//! Models of the upstreams: what one takes a second, what it refuses, and when it is down.

use credential_relay::failure::Cause;

/// A limit on calls: a bucket that fills at `rate` a second and holds a second's worth.
struct Limit {
    rate: f64,
    left: f64,
    at: f64,
}

impl Limit {
    fn new(rate: f64) -> Self {
        Self { rate, left: rate, at: 0.0 }
    }

    /// Whether a call at `now` is within it.
    fn takes(&mut self, now: f64) -> bool {
        self.left = (self.left + (now - self.at) * self.rate).min(self.rate);
        self.at = now;
        let within = self.left >= 1.0;
        if within {
            self.left -= 1.0;
        }
        within
    }
}

/// For a while nothing is answered but this.
#[derive(Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) from: f64,
    pub(crate) until: f64,
    pub(crate) cause: Cause,
}

/// STS of one region or a Vault, before which relays stand. It counts in windows of `WINDOW` seconds.
pub(crate) struct Upstream {
    limit: Limit,
    outage: Option<Outage>,
    pub(crate) taken: Vec<u32>,
    pub(crate) refused: Vec<u32>,
}

/// Rates are told as means of so many seconds: a Poisson stream of 100 a second varies by 3 % of its mean then, and by
/// ten in a single second.
pub(crate) const WINDOW: f64 = 10.0;

impl Upstream {
    pub(crate) fn new(rate: f64, outage: Option<Outage>) -> Self {
        Self { limit: Limit::new(rate), outage, taken: Vec::new(), refused: Vec::new() }
    }

    /// A call.
    pub(crate) fn call(&mut self, now: f64) -> Result<(), Cause> {
        if let Some(outage) = self.outage
            && (outage.from..outage.until).contains(&now)
        {
            return Err(outage.cause);
        }
        let within = self.limit.takes(now);
        let counts = if within { &mut self.taken } else { &mut self.refused };
        let window = (now / WINDOW) as usize;
        if counts.len() <= window {
            counts.resize(window + 1, 0);
        }
        counts[window] += 1;
        if within { Ok(()) } else { Err(Cause::Throttled { retry_after: None }) }
    }
}
