//! What a request presents to get a profile's credentials, and where the application finds it.

mod file;

use hyper::header::HeaderValue;

pub use file::{TokenFileError, load_or_create};

/// The token that a request presents: the Authorization header without blanks around it, and
/// without `Bearer` before it, which some clients' users write.
pub(super) fn presented(authorization: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let value = authorization.as_bytes().trim_ascii();
    let token = match value.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest.trim_ascii_start(),
        _ => value,
    };
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presented_token_is_trimmed_and_may_have_a_scheme() {
        for (value, expected) in [
            ("abc", Some("abc")),
            ("  abc\t", Some("abc")),
            ("Bearer abc", Some("abc")),
            ("bEARER   abc ", Some("abc")),
            ("Bearerabc", Some("Bearerabc")),
            ("Basic abc", Some("Basic abc")),
            ("Bearer", Some("Bearer")),
            ("", None),
            ("   ", None),
        ] {
            let header = HeaderValue::from_static(value);
            let expected = expected.map(str::as_bytes);
            assert_eq!(presented(&header), expected, "{value:?}");
        }
    }
}
