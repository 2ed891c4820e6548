//! The search for leaks: any 16 characters in a row of a secret.

use std::collections::HashSet;

use crate::common::USER_SECRET;

const WINDOW: usize = 16;

/// All that must not be told, by its windows.
pub(crate) struct Secrets(HashSet<[u8; WINDOW]>);

impl Secrets {
    /// Each as it is, and as it stands in a URL or a canonical request.
    pub(crate) fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut windows = HashSet::new();
        for secret in secrets {
            let secret = secret.as_ref();
            assert!(secret.len() >= WINDOW, "a secret of {} characters", secret.len());
            for form in [secret.to_owned(), in_url(secret)] {
                windows.extend(form.as_bytes().windows(WINDOW).map(exact));
            }
        }
        Self(windows)
    }

    /// Where a text holds a part of a secret, with what stands around it.
    pub(crate) fn found_in(&self, text: &str) -> Option<String> {
        let at =
            text.as_bytes().windows(WINDOW).position(|window| self.0.contains(&exact(window)))?;
        let start = text.floor_char_boundary(at.saturating_sub(300));
        let end = text.ceil_char_boundary(at + 2 * WINDOW);
        Some(text[start..end].to_owned())
    }

    /// Fails if one of the texts, each with its origin, holds a part of a secret.
    pub(crate) fn assert_untold(&self, texts: &[(String, String)]) {
        for (origin, text) in texts {
            if let Some(found) = self.found_in(text) {
                panic!("{origin} tells a secret: …{found}…");
            }
        }
    }
}

fn exact(window: &[u8]) -> [u8; WINDOW] {
    window.try_into().unwrap()
}

fn in_url(secret: &str) -> String {
    secret.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[test]
fn the_search_finds_what_it_is_for() {
    let secrets = Secrets::new([USER_SECRET]);
    let part = &USER_SECRET[7..23];
    for told in [
        format!("{{\"message\":\"{part}\"}}"),
        format!("ünd {part}"),
        part.to_owned(),
        format!("token={}&", in_url(&USER_SECRET[..24])),
    ] {
        let found = secrets.found_in(&told);
        assert!(found.is_some(), "{told}");
    }
    for untold in ["", "nothing", &USER_SECRET[7..22], "AKIAIOSFODNN7EXAMPLE"] {
        assert_eq!(secrets.found_in(untold), None, "{untold}");
    }
    let texts = [("a log".to_owned(), format!("x {part}"))];
    let caught = std::panic::catch_unwind(|| secrets.assert_untold(&texts));
    assert!(caught.is_err());
}
