//! What Prometheus reads of an injector. Labels come from an enum's short names: pods and namespaces
//! are without bound.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::clock::Timestamp;

/// What became of a question of the API server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The pod got the relay.
    Injected,
    /// It has the relay already.
    Unchanged,
    /// It does not ask for the relay, or is no new pod.
    NotAsked,
    /// It was refused.
    Refused,
    /// It was no question that could be read.
    Malformed,
}

impl Admission {
    const ALL: [Self; 5] =
        [Self::Injected, Self::Unchanged, Self::NotAsked, Self::Refused, Self::Malformed];

    /// Its short name, for the log and for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::NotAsked => "not_asked",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// A pod is looked at within a millisecond; the API server waits for 10 s by default.
const BUCKETS: [f64; 7] = [0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0];

/// All metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    admissions: Family<ByOutcome, Counter>,
    duration: Histogram,
    certificate_expiry: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("credential_relay_injector");
        let admissions = Family::<ByOutcome, Counter>::default();
        for outcome in Admission::ALL {
            drop(admissions.get_or_create(&ByOutcome { outcome: outcome.as_str() }));
        }
        let duration = Histogram::new(BUCKETS);
        registry.register(
            "admissions",
            "Questions of the API server by what became of them",
            admissions.clone(),
        );
        registry.register_with_unit(
            "admission_duration",
            "Time from a question's head to its answer",
            Unit::Seconds,
            duration.clone(),
        );
        let certificate_expiry = Gauge::default();
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate ends that the API server is shown, in Unix time; 0 while there is none",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", version);
        Self { registry: Arc::new(Mutex::new(registry)), admissions, duration, certificate_expiry }
    }
}

impl Metrics {
    /// A question was answered.
    pub fn answered(&self, outcome: Admission, took: Duration) {
        self.admissions.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// What is shown to the API server ends then.
    pub fn certificate(&self, expires: Option<Timestamp>) {
        self.certificate_expiry.set(expires.map_or(0, Timestamp::as_secs));
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}
