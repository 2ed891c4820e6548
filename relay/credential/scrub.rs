//! The removal of what must not be printed from what others wrote.

use zeroize::Zeroizing;

use super::secret::Secret;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// A known secret that is shorter is a word like any other.
const SHORTEST_KNOWN: usize = 8;

/// An entity's name in HTML, of those for one byte.
const LONGEST_ENTITY: usize = 5;

/// The longest reason that is kept of an upstream's message, in bytes.
const LONGEST_REASON: usize = 600;

/// A run of base64 characters that is longer than this is taken for a secret. Session tokens are
/// several hundred long; the longest role name is 64, and few roles have a path that long.
const LONGEST_WORD: usize = 100;

/// The digits of a signature of AWS's, version 4: a SHA-256 in hex.
const SIGNATURE: usize = 64;

/// How Vault's tokens begin, before a dot: service, batch and recovery tokens.
const VAULTS: [&str; 3] = ["hvs", "hvb", "hvr"];

/// Makes a text that an upstream wrote fit for a log: without the `known` secrets, without
/// anything that looks like a token, on one line, and bounded.
///
/// AWS's SignatureDoesNotMatch quotes the canonical request with the session token in it, so an
/// upstream's text can never be passed on as it is.
pub fn scrub<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let mut clean = String::with_capacity(text.len().min(LONGEST_REASON));
    let mut word = Zeroizing::new(String::new());
    // Tokens have dots in them, and what comes after one looks like any word.
    let mut within_token = false;
    for c in pieces(text, &known).flat_map(str::chars).chain([' ']) {
        if clean.len() > LONGEST_REASON {
            break;
        }
        if c.is_ascii_alphanumeric() || "+/=_-".contains(c) {
            word.push(c);
            continue;
        }
        let secret = within_token || looks_secret(&word);
        clean.push_str(if secret && !word.is_empty() { REDACTED } else { word.as_str() });
        within_token = c == '.' && (secret || VAULTS.iter().any(|kind| word.ends_with(kind)));
        word.clear();
        clean.push(if c.is_control() { ' ' } else { c });
    }
    clean.truncate(clean.trim_end().len());
    if clean.len() > LONGEST_REASON {
        clean.truncate(clean.floor_char_boundary(LONGEST_REASON));
        clean.push('…');
    }
    clean
}

/// A text without the `known` secrets, but as it was otherwise: before a part is taken of it, which could be half of one.
pub fn without<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> Zeroizing<String> {
    let known: Vec<_> = known.into_iter().collect();
    Zeroizing::new(pieces(text, &known).collect())
}

/// A text character by character, with a mark in the place of each secret.
fn pieces<'a>(text: &'a str, known: &'a [&Secret]) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        // One may begin as another does.
        let secret = known.iter().filter_map(|secret| length_of(secret, rest)).max();
        let (piece, after) = match secret.and_then(|length| rest.split_at_checked(length)) {
            Some((_, after)) => (REDACTED, after),
            None => rest.split_at(first.len_utf8()),
        };
        rest = after;
        Some(piece)
    })
}

/// How many bytes of the beginning of a text are a secret, however it is written.
fn length_of(secret: &Secret, text: &str) -> Option<usize> {
    let secret = Some(secret.expose().as_bytes()).filter(|bytes| bytes.len() >= SHORTEST_KNOWN)?;
    WRITTEN.iter().find_map(|forms| {
        secret.iter().try_fold(0, |at, wanted| {
            let (byte, length) = byte(text.as_bytes().get(at..)?, forms)?;
            (byte == *wanted).then_some(at + length)
        })
    })
}

/// How a text is written within another.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Url,
    Html,
}

/// How a secret may be written by whoever sends a request back: as it is, or in a form. The request may have been of a form
/// itself, which is the second one.
const WRITTEN: [&[Form]; 13] = {
    use Form::{Html, Json, Url};
    [
        &[],
        &[Json],
        &[Url],
        &[Html],
        &[Json, Json],
        &[Json, Url],
        &[Json, Html],
        &[Url, Json],
        &[Url, Url],
        &[Url, Html],
        &[Html, Json],
        &[Html, Url],
        &[Html, Html],
    ]
};

/// The byte that a text in these forms, the outermost first, begins with; and how many of its own bytes write it.
fn byte(text: &[u8], forms: &[Form]) -> Option<(u8, usize)> {
    let Some((form, outer)) = forms.split_last() else {
        return text.first().map(|byte| (*byte, 1));
    };
    let mut length = 0;
    let mut next = || {
        let (byte, more) = byte(text.get(length..)?, outer)?;
        length += more;
        Some(byte)
    };
    let first = next()?;
    let written = match (form, first) {
        (Form::Json, b'\\') => escaped(&mut next),
        (Form::Url, b'%') => number(&[next()?, next()?], 16),
        (Form::Html, b'&') => entity(&mut next),
        _ => return Some((first, length)),
    };
    match written {
        Some(byte) => Some((byte, length)),
        // It stands for itself.
        None => byte(text, outer),
    }
}

/// What JSON has after a backslash. No secret has a control character.
fn escaped(next: &mut impl FnMut() -> Option<u8>) -> Option<u8> {
    match next()? {
        b'u' => {
            let digits = [next()?, next()?, next()?, next()?];
            number(&digits, 16)
        }
        itself => Some(itself),
    }
}

/// What HTML has after an ampersand.
fn entity(next: &mut impl FnMut() -> Option<u8>) -> Option<u8> {
    let mut name = Vec::new();
    loop {
        match next()? {
            b';' => break,
            byte if name.len() < LONGEST_ENTITY => name.push(byte),
            _ => return None,
        }
    }
    match &name[..] {
        b"amp" => Some(b'&'),
        b"lt" => Some(b'<'),
        b"gt" => Some(b'>'),
        b"quot" => Some(b'"'),
        b"apos" => Some(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// Whether a run of base64 characters must not be printed: a part of a JWT, the signature of a request, which whoever has it
/// can send again, or any very long run.
fn looks_secret(word: &str) -> bool {
    let last = word.rsplit('=').next().unwrap_or_default();
    let signature = last.len() == SIGNATURE && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    signature || word.len() > LONGEST_WORD || (word.starts_with("eyJ") && word.len() > 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_secret_is_cut_out_even_when_it_is_short_and_has_slashes() {
        let secret = Secret::new("wJalr/XUtn+FEMI".into());
        assert_eq!(
            scrub("signed with wJalr/XUtn+FEMI, no", [&secret]),
            "signed with [redacted], no"
        );
    }

    #[test]
    fn a_known_secret_is_cut_out_however_it_is_written() {
        let secret = Secret::new(r#"pép\a"ss<'/&+%word"#.into());
        for written in [
            r#"pép\a"ss<'/&+%word"#,
            r#"pép\\a\"ss<'\/&+%word"#,
            r#"pép\\a\"ss\u003c\u0027/\u0026+%word"#,
            "p%C3%A9p%5Ca%22ss%3C%27%2F%26%2B%25word",
            "p%c3%a9p%5ca%22ss%3c'/%26+%25word",
            r"pép\a&quot;ss&lt;&#39;/&amp;+%word",
            r"pép\a&#34;ss&#x3C;&apos;/&+%word",
            // JSON within a page, a URL, and JSON.
            r"pép\\a\&quot;ss&lt;'/&amp;+%word",
            "p%C3%A9p%5C%5Ca%5C%22ss%3C'%2F%26%2B%25word",
            r#"pép\\\\a\\\"ss<'/&+%word"#,
        ] {
            assert_eq!(scrub(&format!("a &{written}%, &b;"), [&secret]), "a &[redacted]%, &b;");
        }
    }

    #[test]
    fn of_two_that_begin_alike_nothing_stays() {
        let (one, other) = (Secret::new("the-token".into()), Secret::new("the-token-2".into()));
        let said = "the-token-2the-token the-token-3";
        assert_eq!(scrub(said, [&one, &other]), "[redacted][redacted] [redacted]-3");
    }

    #[test]
    fn long_runs_and_jwts_are_cut_out_and_arns_are_kept() {
        let token = "FwoGZXIvYXdzE".repeat(9);
        let arn = "arn:aws:iam::111122223333:role/a/long/path/of/many/words/that/is/still/a/role";
        let said =
            scrub(&format!("token {token}\nfor {arn} eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0x.c"), []);
        assert_eq!(said, format!("token [redacted] for {arn} [redacted].[redacted].[redacted]"));
    }

    #[test]
    fn signatures_are_cut_out_and_other_hex_is_kept() {
        let signature = "8f".repeat(32);
        let said =
            scrub(&format!("a=b, Signature={signature} {signature}, {}", &signature[1..]), []);
        assert_eq!(said, format!("a=b, [redacted] [redacted], {}", &signature[1..]));
    }

    #[test]
    fn vaults_tokens_are_cut_out_though_nobody_knows_them() {
        for kind in VAULTS {
            let page = format!("{{\"client_token\": \"{kind}.CAESIJ-token_1\"}}");
            let said = format!("{{\"client_token\": \"{kind}.[redacted]\"}}");
            assert_eq!(scrub(&page, []), said);
        }
        assert_eq!(scrub("token=hvs.CAESIJ", []), "token=hvs.[redacted]");
        assert_eq!(scrub("no hvs. at vault.hvs", []), "no hvs. at vault.hvs");
    }

    #[test]
    fn a_long_text_is_bounded() {
        assert_eq!(scrub(&"a b ".repeat(1000), []).chars().count(), LONGEST_REASON + 1);
        let wide = scrub(&"a \u{fffd} ".repeat(1000), []);
        assert!(wide.ends_with('…') && wide.len() <= LONGEST_REASON + '…'.len_utf8(), "{wide}");
    }
}
