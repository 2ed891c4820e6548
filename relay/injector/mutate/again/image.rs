//! Whether an image is the relay's: another webhook may have pinned it, or put a mirror in its place.

/// What an image's name is made of.
struct Reference<'a> {
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn of(text: &'a str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash is that of the registry's port.
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        };
        Self { repository, tag, digest }
    }

    /// The repository without its registry.
    fn path(&self) -> &'a str {
        match self.repository.split_once('/') {
            Some((registry, path)) if registry.contains(['.', ':']) || registry == "localhost" => {
                path
            }
            _ => self.repository,
        }
    }
}

/// Whether `there` is what `wanted` names: the same, or with the digest of it added to the tag or in the
/// tag's place; from the same repository, or from one of the `mirrors`, under its path or its whole name.
pub(super) fn is_same(there: &str, wanted: &str, mirrors: &[String]) -> bool {
    let (there, wanted) = (Reference::of(there), Reference::of(wanted));
    let of_mirror = |mirror: &String| {
        let rest = there.repository.strip_prefix(mirror.as_str());
        let path = rest.and_then(|rest| rest.strip_prefix('/'));
        path.is_some_and(|path| path == wanted.path() || path == wanted.repository)
    };
    let repository = there.repository == wanted.repository || mirrors.iter().any(of_mirror);
    let same_tag = there.tag == wanted.tag;
    repository
        && match (there.digest, wanted.digest) {
            (None, None) => same_tag,
            (None, Some(_)) => false,
            (Some(digest), None) => is_digest(digest) && (same_tag || there.tag.is_none()),
            (Some(digest), Some(one)) => digest == one && (same_tag || there.tag.is_none()),
        }
}

fn is_digest(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "registry.example:5000/team/credential-relay:1.2.3";

    fn is(there: &str) -> bool {
        let mirrors = ["mirror.example/cache".to_owned(), "other.example".to_owned()];
        is_same(there, WANTED, &mirrors)
    }

    #[test]
    fn an_image_may_be_pinned_and_come_from_a_mirror() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for name in [
            "registry.example:5000/team/credential-relay",
            "mirror.example/cache/team/credential-relay",
            "mirror.example/cache/registry.example:5000/team/credential-relay",
            "other.example/team/credential-relay",
        ] {
            assert!(is(&format!("{name}:1.2.3")), "{name}");
            assert!(is(&format!("{name}:1.2.3@{digest}")), "{name}");
            assert!(is(&format!("{name}@{digest}")), "{name}");
            assert!(!is(name), "{name}");
            assert!(!is(&format!("{name}:1.2.4")), "{name}");
            assert!(!is(&format!("{name}:1.2.4@{digest}")), "{name}");
            for odd in ["sha256:0a", "sha512:0a", "", &digest.to_uppercase(), &format!("{digest}0")]
            {
                assert!(!is(&format!("{name}:1.2.3@{odd}")), "{name} {odd}");
            }
        }
    }

    #[test]
    fn another_repository_is_another_image() {
        for there in [
            "evil.example/x/credential-relay:1.2.3",
            "evil.example/registry.example:5000/team/credential-relay:1.2.3",
            "registry.example:5000/other/credential-relay:1.2.3",
            "mirror.example/team/credential-relay:1.2.3",
            "mirror.example/cache/credential-relay:1.2.3",
            "mirror.example/cacheteam/credential-relay:1.2.3",
            "other.example.evil.example/team/credential-relay:1.2.3",
            "team/credential-relay:1.2.3",
            "",
        ] {
            assert!(!is(there), "{there}");
        }
    }

    #[test]
    fn a_digest_that_is_wanted_is_the_one_that_must_be_there() {
        let [one, other] = ["1", "2"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        let wanted = format!("a/b:1@{one}");
        assert!(is_same(&wanted, &wanted, &[]));
        assert!(is_same(&format!("a/b@{one}"), &wanted, &[]));
        assert!(!is_same(&format!("a/b:1@{other}"), &wanted, &[]));
        assert!(!is_same("a/b:1", &wanted, &[]));
    }
}
