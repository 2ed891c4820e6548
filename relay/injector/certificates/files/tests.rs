use std::fs;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_565_230);

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn paths(&self) -> Paths {
        let path = |name| self.folder.path().join(name);
        Paths { cert: path("tls.crt"), key: path("tls.key") }
    }

    fn write(&self, cert: &str, key: &str) {
        fs::write(self.paths().cert, cert).unwrap();
        fs::write(self.paths().key, key).unwrap();
    }
}

fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["injector.relay.svc".to_owned()]).unwrap();
    (made.cert.pem(), made.key_pair.serialize_pem())
}

fn start(paths: Paths) -> (Result<Watcher, String>, Current, watch::Receiver<Status>) {
    let current = Current::default();
    let (sender, status) = watch::channel(Status::default());
    let clock = crate::clock::ManualClock::starting_at(NOW).clock();
    (Watcher::start(paths, current.clone(), sender, clock), current, status)
}

fn shown(current: &Current) -> Vec<u8> {
    current.get().unwrap().cert[0].to_vec()
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_read_again_and_bad_ones_change_nothing() {
    let folder = Folder { folder: tempfile::tempdir().unwrap() };
    let (first, second) = (made(), made());
    folder.write(&first.0, &first.1);
    let (watcher, current, status) = start(folder.paths());
    let mut watcher = watcher.map_err(|error| panic!("{error}")).unwrap();
    assert!(status.borrow().ready);
    let before = shown(&current);

    // Half of a renewal, and rubbish.
    for (cert, key) in [(&second.0, &first.1), (&first.0, &"rubbish".to_owned())] {
        folder.write(cert, key);
        watcher.take(watcher.paths.read());
        assert_eq!(shown(&current), before);
        assert!(watcher.told.is_some());
    }
    fs::remove_file(folder.paths().key).unwrap();
    watcher.take(watcher.paths.read());
    assert!(watcher.told.as_ref().unwrap().contains("cannot be read"));
    folder.write(&second.0, &second.1);
    let running = tokio::spawn(watcher.run());
    while shown(&current) == before {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    running.abort();
}

#[tokio::test]
async fn a_wrong_file_is_named_and_a_key_is_not_quoted() {
    let (one, other) = (made(), made());
    for (cert, key, told) in [
        ("hello", one.1.as_str(), "certificates.files.cert"),
        (&one.0, "hush", "certificates.files.key"),
        (&one.0, &other.1, "it is not the key of the first certificate"),
        (
            &one.0,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
            "the key is encrypted",
        ),
    ] {
        let folder = Folder { folder: tempfile::tempdir().unwrap() };
        folder.write(cert, key);
        let error = start(folder.paths()).0.err().unwrap();
        assert!(error.contains(told) && error.contains("tls."), "{error}");
        assert!(!error.contains("hush"));
    }
    let missing = Paths { cert: "/no/cert".into(), key: "/no/key".into() };
    assert!(start(missing).0.err().unwrap().contains("/no/cert cannot be read"));
}
