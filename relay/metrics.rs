//! What Prometheus reads. Labels are bounded: profiles come from the configuration, everything else
//! from an enum's short names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::clock::{Moment, Timestamp};
use crate::config::values::ProfileName;
use crate::failure::{Cause, Failure};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProfile {
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    profile: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCall {
    profile: String,
    upstream: &'static str,
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDecision {
    profile: String,
    decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRead {
    result: &'static str,
}

const TAKEN: &str = "taken";
const REFUSED: &str = "refused";

/// All metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    expiry: Family<ByProfile, Gauge>,
    last_refresh: Family<ByProfile, Gauge>,
    next_refresh: Family<ByProfile, Gauge>,
    refreshes: Family<ByResult, Counter>,
    withdrawn: Family<ByProfile, Counter>,
    upstream_calls: Family<ByCall, Counter>,
    propagation_checks: Family<ByResult, Counter>,
    propagation: Family<ByProfile, Gauge>,
    requests: Family<ByDecision, Counter>,
    durations: Family<ByProfile, Histogram>,
    connections: Gauge,
    evictions: Counter,
    configuration_reads: Family<ByRead, Counter>,
    configuration_in_use: Gauge,
}

/// Answers come from memory in microseconds, or after a hold of up to 800 ms.
const BUCKETS: [f64; 9] = [0.00005, 0.0001, 0.00025, 0.001, 0.005, 0.05, 0.25, 0.8, 1.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every family in it.
    pub fn new() -> Self {
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix("credential_relay")),
            expiry: Family::default(),
            last_refresh: Family::default(),
            next_refresh: Family::default(),
            refreshes: Family::default(),
            withdrawn: Family::default(),
            upstream_calls: Family::default(),
            propagation_checks: Family::default(),
            propagation: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            connections: Gauge::default(),
            evictions: Counter::default(),
            configuration_reads: Family::default(),
            configuration_in_use: Gauge::default(),
        };
        inner.configuration_in_use.set(1);
        for result in [TAKEN, REFUSED] {
            // A counter that is there from the beginning can be seen to grow.
            drop(inner.configuration_reads.get_or_create(&ByRead { result }));
        }
        inner.register();
        Self(Arc::new(inner))
    }

    /// The metrics of one profile, of which nothing is told before [`ProfileMetrics::begins`]: it may come to nothing.
    pub fn profile(&self, name: &ProfileName) -> ProfileMetrics {
        ProfileMetrics { metrics: self.clone(), profile: name.to_string() }
    }

    /// The counters of requests for one profile, looked up once. `profile` is empty for requests
    /// that name none.
    pub fn requests<const N: usize>(
        &self,
        profile: &str,
        decisions: [&'static str; N],
    ) -> RequestMetrics<N> {
        let by_decision = decisions.map(|decision| {
            let labels = ByDecision { profile: profile.to_owned(), decision };
            self.0.requests.get_or_create(&labels).clone()
        });
        let duration =
            self.0.durations.get_or_create(&ByProfile { profile: profile.to_owned() }).clone();
        RequestMetrics { by_decision, duration }
    }

    /// Connections that are open at the endpoint.
    pub fn connections(&self) -> Gauge {
        self.0.connections.clone()
    }

    /// Connections that were closed to make room for others.
    pub fn evictions(&self) -> Counter {
        self.0.evictions.clone()
    }

    /// A configuration that was read while the relay runs is the one that is used.
    pub fn configuration_taken(&self) {
        self.configuration_read(TAKEN, 1);
    }

    /// One that was read while the relay runs cannot be used.
    pub fn configuration_refused(&self) {
        self.configuration_read(REFUSED, 0);
    }

    fn configuration_read(&self, result: &'static str, in_use: i64) {
        self.0.configuration_reads.get_or_create(&ByRead { result }).inc();
        self.0.configuration_in_use.set(in_use);
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail; a metric that could not be encoded would end the text
        // early, and Prometheus says so.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

impl Inner {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_with_unit(
            "credential_expiry_timestamp",
            "When the credential that is served ends (Unix time); 0 while there is none",
            Unit::Seconds,
            self.expiry.clone(),
        );
        registry.register_with_unit(
            "last_refresh_timestamp",
            "When a credential was last fetched (Unix time)",
            Unit::Seconds,
            self.last_refresh.clone(),
        );
        registry.register_with_unit(
            "next_refresh_timestamp",
            "When the next fetch is due (Unix time)",
            Unit::Seconds,
            self.next_refresh.clone(),
        );
        registry.register("refreshes", "Fetches by result", self.refreshes.clone());
        registry.register(
            "withdrawn",
            "Credentials that died before their time and are served no longer",
            self.withdrawn.clone(),
        );
        registry.register(
            "upstream_calls",
            "Calls to an upstream by result",
            self.upstream_calls.clone(),
        );
        registry.register(
            "propagation_checks",
            "New keys that AWS was asked about before they were served, by what became of them",
            self.propagation_checks.clone(),
        );
        registry.register_with_unit(
            "propagation",
            "How long the newest keys have waited, or had to wait, until AWS knew them",
            Unit::Seconds,
            self.propagation.clone(),
        );
        registry.register(
            "requests",
            "Requests of applications by what was decided",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "connections",
            "Open connections of applications",
            self.connections.clone(),
        );
        registry.register(
            "connections_evicted",
            "Connections closed to make room for others",
            self.evictions.clone(),
        );
        registry.register(
            "configuration_reads",
            "Configurations read while the relay runs, by whether they are used",
            self.configuration_reads.clone(),
        );
        registry.register(
            "configuration_in_use",
            "1 if the relay runs by its configuration as it stands now, 0 if that cannot be used",
            self.configuration_in_use.clone(),
        );
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
    }
}

/// The metrics of one profile's rotation and upstream calls; cheap to clone.
#[derive(Clone, Debug)]
pub struct ProfileMetrics {
    metrics: Metrics,
    profile: String,
}

impl ProfileMetrics {
    /// The profile runs from now on, and serves nothing yet.
    pub fn begins(&self) {
        // A counter that is there from the beginning can be seen to grow.
        self.refreshes("success");
        for cause in Cause::NAMES {
            self.refreshes(cause);
        }
        self.serves_nothing();
    }

    /// A fetch brought a credential.
    pub fn refreshed(&self, now: Timestamp, expiry: Option<Moment>) {
        self.refreshes("success").inc();
        self.gauge(&self.metrics.0.last_refresh).set(now.as_secs());
        self.serves_until(expiry);
    }

    /// What is served ends then, if it does at all.
    pub fn serves_until(&self, expiry: Option<Moment>) {
        match expiry {
            Some(expiry) => {
                self.gauge(&self.metrics.0.expiry).set(expiry.wall.as_secs());
            }
            // 0 would read as no credential at all.
            None => {
                self.metrics.0.expiry.remove(&self.labels());
            }
        }
    }

    /// Nothing is served.
    fn serves_nothing(&self) {
        self.gauge(&self.metrics.0.expiry).set(0);
    }

    fn labels(&self) -> ByProfile {
        ByProfile { profile: self.profile.clone() }
    }

    /// What was served is served no longer.
    pub fn withdrawn(&self) {
        self.serves_nothing();
        self.metrics.0.withdrawn.get_or_create(&self.labels()).inc();
    }

    /// A fetch failed.
    pub fn failed(&self, failure: &Failure) {
        self.refreshes(failure.cause.as_str()).inc();
    }

    /// The next fetch is due at `at`.
    pub fn next_refresh(&self, at: Timestamp) {
        self.gauge(&self.metrics.0.next_refresh).set(at.as_secs());
    }

    /// New keys are being tried out, for `waited` so far.
    pub fn propagating(&self, waited: Duration) {
        let secs = i64::try_from(waited.as_secs()).unwrap_or(i64::MAX);
        self.gauge(&self.metrics.0.propagation).set(secs);
    }

    /// Something became of new keys that were tried out: `known`, `late` (they still are, after a
    /// minute) or `dropped`.
    pub fn propagation_check(&self, result: &'static str) {
        let labels = ByResult { profile: self.profile.clone(), result };
        self.metrics.0.propagation_checks.get_or_create(&labels).inc();
    }

    /// One call to an upstream ended; `result` is `success` or a [`Cause`]'s short name.
    pub fn upstream_call(
        &self,
        upstream: &'static str,
        operation: &'static str,
        result: &'static str,
    ) {
        let labels = ByCall { profile: self.profile.clone(), upstream, operation, result };
        self.metrics.0.upstream_calls.get_or_create(&labels).inc();
    }

    /// Removes the gauges of a profile that is served no longer; its counters stay, as Prometheus
    /// wants of counters.
    pub fn retire(&self) {
        let labels = self.labels();
        self.metrics.0.expiry.remove(&labels);
        self.metrics.0.last_refresh.remove(&labels);
        self.metrics.0.next_refresh.remove(&labels);
        self.metrics.0.propagation.remove(&labels);
    }

    fn refreshes(&self, result: &'static str) -> Counter {
        let labels = ByResult { profile: self.profile.clone(), result };
        self.metrics.0.refreshes.get_or_create(&labels).clone()
    }

    fn gauge(&self, family: &Family<ByProfile, Gauge>) -> Gauge {
        family.get_or_create(&self.labels()).clone()
    }
}

/// The counters of requests for one profile, one for each decision.
#[derive(Clone, Debug)]
pub struct RequestMetrics<const N: usize> {
    by_decision: [Counter; N],
    duration: Histogram,
}

impl<const N: usize> RequestMetrics<N> {
    /// One request was answered with the `decision`-th of the names that were registered.
    pub fn answered(&self, decision: usize, took: Duration) {
        if let Some(counter) = self.by_decision.get(decision) {
            counter.inc();
        }
        self.duration.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_family_and_counts() {
        let metrics = Metrics::new();
        let profile = metrics.profile(&"payments".parse().unwrap());
        let expiry = r#"credential_relay_credential_expiry_timestamp_seconds{profile="payments"} "#;
        // Before it is known to run there is nothing that an alert could go by.
        assert!(!metrics.render().contains("payments"));
        profile.begins();
        assert!(metrics.render().contains(&format!("{expiry}0\n")));
        profile.refreshed(
            Timestamp::from_secs(7),
            Some(Moment { wall: Timestamp::from_secs(99), boot: Duration::ZERO }),
        );
        profile.upstream_call("sts", "AssumeRole", "success");
        metrics.requests("payments", ["issued"]).answered(0, Duration::from_micros(30));
        let text = metrics.render();
        for line in [
            r#"credential_relay_credential_expiry_timestamp_seconds{profile="payments"} 99"#,
            r#"credential_relay_refreshes_total{profile="payments",result="success"} 1"#,
            r#"credential_relay_refreshes_total{profile="payments",result="denied"} 0"#,
            r#"credential_relay_requests_total{profile="payments",decision="issued"} 1"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        profile.withdrawn();
        assert!(metrics.render().contains(&format!("{expiry}0\n")));
        // Keys that have no end are not about to reach it.
        profile.refreshed(Timestamp::from_secs(8), None);
        assert!(!metrics.render().contains(expiry));
    }
}
