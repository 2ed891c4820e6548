//! The audit: which keys were fetched, and to whom they were handed out, in lines of JSON. An access key id of CloudTrail's
//! is found in them, with its profile, its role and the connections that asked for it (docs/audit.md).

mod file;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Moment};
use crate::config;
use crate::config::values::ProfileName;
use crate::credential::{AccessKeyId, Credential};
use crate::failure::Failure;
use crate::listener::Peer;
use crate::queue::Queue;
use file::Appended;

/// So many answers are recorded in a row, and so many a second in the long run: a client in a loop must not fill a disk.
/// What is not recorded is counted.
const BURST: f64 = 100.0;
const A_SECOND: f64 = 10.0;

/// How long the end of the relay may wait for the last records.
const LAST_RECORDS: Duration = Duration::from_millis(200);

/// Where records go; cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Audit {
    /// Nowhere.
    #[default]
    Off,
    /// Somewhere.
    On(Arc<Records>),
}

/// The way out of the records.
pub struct Outlet(Option<(&'static Queue, Box<dyn io::Write + Send>)>);

/// Records on their way out.
#[derive(Debug)]
pub struct Records {
    queue: &'static Queue,
    clock: Clock,
    /// For what is issued and for what is refused: a flood of the one hides none of the other.
    buckets: Mutex<[Bucket; 2]>,
    unrecorded: AtomicU64,
}

/// How many answers may still be recorded.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Moment,
}

impl Bucket {
    fn take(&mut self, now: Moment) -> bool {
        let passed = now.boot.saturating_sub(self.filled.boot).as_secs_f64();
        self.tokens = (self.tokens + passed * A_SECOND).min(BURST);
        self.filled = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

/// One line.
#[derive(Debug, Default, Serialize)]
struct Record<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_use: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unrecorded: Option<u64>,
}

impl<'a> Record<'a> {
    fn about(credential: &'a Credential) -> Self {
        Self {
            access_key_id: Some(credential.access_key_id.as_str()),
            role_arn: credential.principal.role().map(ToString::to_string),
            expires: credential.validity.expiry().map(|expiry| expiry.wall.to_string()),
            ..Self::default()
        }
    }
}

/// What an application was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The profile that it named, if there is one.
    pub profile: Option<&'a str>,
    /// The decision's short name, as metrics have it.
    pub decision: &'static str,
    /// Who asked.
    pub peer: Peer,
    /// What it was given, and whether that is given for the first time.
    pub given: Option<(&'a Credential, bool)>,
}

impl Audit {
    /// Where the configuration says. Records are kept until [`Outlet::write`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(settings: &config::Audit, clock: Clock) -> io::Result<(Self, Outlet)> {
        let out: Box<dyn io::Write + Send> = match settings {
            config::Audit::Off => return Ok((Self::Off, Outlet(None))),
            config::Audit::Stdout => Box::new(io::stdout()),
            config::Audit::File(path) => Box::new(Appended::open(path)?),
        };
        // Its thread writes for as long as the process runs.
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        queue.keep();
        let bucket = || Bucket { tokens: BURST, filled: clock.now() };
        let buckets = Mutex::new([bucket(), bucket()]);
        let unrecorded = AtomicU64::new(0);
        let records = Records { queue, clock, buckets, unrecorded };
        Ok((Self::On(Arc::new(records)), Outlet(Some((queue, out)))))
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }

    /// New keys are served from now on.
    pub fn rotated(&self, profile: &ProfileName, credential: &Credential) {
        let profile = Some(profile.as_str());
        self.write(Record { event: "rotated", profile, ..Record::about(credential) });
    }

    /// A fetch failed.
    pub fn failed(&self, profile: &ProfileName, failure: &Failure) {
        if self.is_on() {
            self.write(Record {
                event: "refresh_failed",
                profile: Some(profile.as_str()),
                stage: Some(failure.stage.to_string()),
                cause: Some(failure.cause.as_str()),
                ..Record::default()
            });
        }
    }

    /// Keys died before their time, and are served no longer.
    pub fn withdrawn(&self, profile: &ProfileName, id: &AccessKeyId) {
        self.write(Record {
            event: "withdrawn",
            profile: Some(profile.as_str()),
            access_key_id: Some(id.as_str()),
            ..Record::default()
        });
    }

    /// An application was answered; says whether that is recorded. The first time that keys are handed out is whatever
    /// else is, as long as somebody takes the records.
    pub fn answered(&self, answered: Answered<'_>) -> bool {
        let Self::On(records) = self else { return false };
        let first = answered.given.is_some_and(|(_, first)| first);
        if !first && !records.has_room(answered.given.is_some()) {
            records.unrecorded.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let about = answered.given.map(|(credential, _)| Record::about(credential));
        let unrecorded = records.unrecorded.swap(0, Ordering::Relaxed);
        let written = records.write(Record {
            event: if answered.given.is_some() { "issued" } else { "refused" },
            profile: answered.profile,
            decision: Some(answered.decision),
            peer: Some(answered.peer.to_string()),
            first_use: answered.given.map(|(_, first)| first),
            unrecorded: Some(unrecorded).filter(|count| *count > 0),
            ..about.unwrap_or_default()
        });
        if !written {
            records.unrecorded.fetch_add(unrecorded + 1, Ordering::Relaxed);
        }
        written
    }

    fn write(&self, record: Record<'_>) {
        if let Self::On(records) = self {
            records.write(record);
        }
    }

    /// Tells how many answers were not recorded since it was last told, and waits a little until all records are
    /// written; for the end of the relay.
    pub fn flush(&self) {
        let Self::On(records) = self else { return };
        let unrecorded = records.unrecorded.swap(0, Ordering::Relaxed);
        if unrecorded > 0 {
            self.write(Record {
                event: "unrecorded",
                unrecorded: Some(unrecorded),
                ..Record::default()
            });
        }
        records.queue.flush(LAST_RECORDS);
    }
}

impl Outlet {
    /// Starts the thread that writes the records. It is bound by what the process has given up by then.
    pub fn write(self) {
        if let Some((queue, out)) = self.0 {
            queue.serve(out, |records| {
                tracing::warn!(
                    records,
                    "so many records of the audit were dropped: nobody took them"
                );
            });
        }
    }
}

impl Records {
    /// Whether it was taken.
    fn write(&self, record: Record<'_>) -> bool {
        let record = Record { time: self.clock.now().wall.to_string(), ..record };
        // Nothing in it can fail to be written as JSON.
        serde_json::to_vec(&record).is_ok_and(|mut line| {
            line.push(b'\n');
            self.queue.push(&line)
        })
    }

    fn has_room(&self, issued: bool) -> bool {
        let now = self.clock.now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let [of_issued, of_refused] = &mut *buckets;
        if issued { of_issued.take(now) } else { of_refused.take(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::credential::fixtures;
    use crate::failure::{Cause, Stage};

    struct Bench {
        folder: tempfile::TempDir,
        manual: ManualClock,
        audit: Audit,
    }

    impl Bench {
        fn start() -> Self {
            let (bench, outlet) = Self::unwritten();
            outlet.write();
            bench
        }

        fn unwritten() -> (Self, Outlet) {
            let folder = tempfile::tempdir().unwrap();
            let manual = ManualClock::starting_at(Timestamp::from_secs(1_000_000));
            let to = config::Audit::File(folder.path().join("audit.jsonl"));
            let (audit, outlet) = Audit::open(&to, manual.clock()).unwrap();
            (Self { folder, manual, audit }, outlet)
        }

        fn queue(&self) -> &'static Queue {
            let Audit::On(records) = &self.audit else { panic!("it is off") };
            records.queue
        }

        fn records(&self) -> Vec<serde_json::Value> {
            self.queue().flush(Duration::from_secs(60));
            let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        fn refuse(&self, times: u32) {
            for _ in 0..times {
                self.audit.answered(Answered {
                    profile: None,
                    decision: "wrong_token",
                    peer: Peer::Network(([127, 0, 0, 1], 4711).into()),
                    given: None,
                });
            }
        }
    }

    #[test]
    fn each_event_tells_what_it_is_about_and_no_secret() {
        let bench = Bench::start();
        let name: ProfileName = "payments".parse().unwrap();
        let now = bench.manual.clock().now();
        let session = fixtures::session(1, now, Duration::from_secs(3600));
        bench.audit.rotated(&name, &session);
        bench.audit.failed(&name, &Failure::new(Cause::Denied, Stage::Relay, "in words"));
        bench.audit.withdrawn(&name, &session.access_key_id);
        bench.audit.answered(Answered {
            profile: Some("payments"),
            decision: "issued",
            peer: Peer::Network(([127, 0, 0, 1], 4711).into()),
            given: Some((&session, true)),
        });
        bench.refuse(1);
        let records = bench.records();
        let events: Vec<_> =
            records.iter().map(|record| record["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["rotated", "refresh_failed", "withdrawn", "issued", "refused"]);
        let issued = &records[3];
        assert_eq!(issued["access_key_id"], "ASIATESTTESTTES00001");
        assert_eq!(issued["peer"], "127.0.0.1:4711");
        assert_eq!(issued["first_use"], true);
        assert_eq!(issued["time"], "1970-01-12T13:46:40Z");
        let text = serde_json::to_string(&records).unwrap();
        for secret in session.secrets() {
            assert!(!text.contains(secret.expose()), "{text}");
        }
        assert!(!text.contains("in words"), "an upstream's words are the log's");
    }

    #[test]
    fn a_flood_is_counted_and_pushes_out_no_first_use() {
        let bench = Bench::start();
        bench.refuse(1000);
        assert_eq!(bench.records().len(), 100);
        let session = fixtures::session(1, bench.manual.clock().now(), Duration::from_secs(3600));
        bench.audit.answered(Answered {
            profile: Some("payments"),
            decision: "issued",
            peer: Peer::Local,
            given: Some((&session, true)),
        });
        let records = bench.records();
        assert_eq!(records[100]["unrecorded"], 900);
        bench.refuse(7);
        bench.audit.flush();
        assert_eq!(bench.records()[101]["unrecorded"], 7);
        bench.manual.suspend(Duration::from_secs(1));
        bench.refuse(1000);
        assert_eq!(bench.records().len(), 112, "ten more after a second");
    }

    #[test]
    fn an_answer_that_nobody_took_is_counted() {
        let (bench, outlet) = Bench::unwritten();
        bench.refuse(107);
        while bench.queue().push(b"{}\n") {}
        let session = fixtures::session(1, bench.manual.clock().now(), Duration::from_secs(3600));
        let recorded = bench.audit.answered(Answered {
            profile: Some("payments"),
            decision: "issued",
            peer: Peer::Local,
            given: Some((&session, true)),
        });
        assert!(!recorded);
        outlet.write();
        bench.queue().flush(Duration::from_secs(60));
        bench.manual.suspend(Duration::from_secs(1));
        bench.refuse(1);
        assert_eq!(bench.records().last().unwrap()["unrecorded"], 8);
    }
}
