//! Readiness: whether every profile holds a valid credential, and if not, which and why.

use std::fmt::Write;

use super::{Configuration, Profiles, in_words};
use crate::clock::Moment;
use crate::store::Sight;

/// What a probe is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) ready: bool,
    /// One line for each profile, and more where the configuration has changed and cannot be used.
    pub(super) text: String,
}

/// Judges every profile at `now`. It does not latch: a credential that has ended turns it off. A
/// configuration that cannot be used does not: what runs is the one from before.
pub(super) fn readiness(profiles: &Profiles, configuration: &Configuration, now: Moment) -> Report {
    let mut report = Report { ready: true, text: String::new() };
    for (name, profile) in profiles {
        let (ready, words) = match profile.state.look(now) {
            Sight::Ready(..) => (true, "ready".to_owned()),
            Sight::Pending => (false, "not ready: the first fetch has not ended".to_owned()),
            Sight::Expired => (false, "not ready: expired, the renewal is under way".to_owned()),
            Sight::Unavailable(failure) => (false, format!("not ready: {}", in_words(&failure))),
        };
        report.ready &= ready;
        // Writing to a String cannot fail.
        let _ = writeln!(report.text, "{name}: {words}");
    }
    // What is wrong holds names of the configuration's own, and whoever reaches the port can read this.
    if let Configuration::Refused { since, .. } = configuration {
        let _ = writeln!(
            report.text,
            "configuration: what was read at {since} cannot be used, and the one from before is; the log and `status` say why"
        );
    }
    report
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::Profile;
    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::fixtures;
    use crate::failure::{Cause, Failure, Stage};
    use crate::store::{self, Served};

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    #[test]
    fn one_profile_without_a_credential_is_named_with_its_reason() {
        let (good, good_reader) = store::channel(NOW.wall);
        let (bad, bad_reader) = store::channel(NOW.wall);
        let profile = |reader: store::Reader| Profile::new(reader.into(), String::new());
        let profiles: Profiles = [
            ("a".parse().unwrap(), profile(good_reader)),
            ("b".parse().unwrap(), profile(bad_reader)),
        ]
        .into();
        let credential = fixtures::session(1, NOW, Duration::from_secs(100));
        good.publish(Arc::new(Served::new(credential, NOW).unwrap()));
        assert_eq!(
            readiness(&profiles, &Configuration::InUse, NOW).text,
            "a: ready\nb: not ready: the first fetch has not ended\n"
        );
        let stage = Stage::Base("file");
        bad.report(Arc::new(Failure::new(Cause::NotConfigured, stage, "no such file")), NOW);
        let report = readiness(&profiles, &Configuration::InUse, NOW);
        assert!(!report.ready);
        assert_eq!(
            report.text,
            "a: ready\nb: not ready: source file: no such file (not_configured)\n"
        );
        let credential = fixtures::session(2, NOW, Duration::from_secs(100));
        bad.publish(Arc::new(Served::new(credential, NOW).unwrap()));
        assert!(readiness(&profiles, &Configuration::InUse, NOW).ready);
        let why = "profiles: missing".to_owned();
        let refused = Configuration::Refused { since: NOW.wall, why };
        let report = readiness(&profiles, &refused, NOW);
        assert!(
            report.ready
                && report.text.ends_with("the log and `status` say why\n")
                && !report.text.contains("missing"),
            "{report:?}"
        );
        let ended = NOW + Duration::from_secs(90);
        assert!(
            !readiness(&profiles, &Configuration::InUse, ended).ready,
            "an end turns readiness off"
        );
    }
}
