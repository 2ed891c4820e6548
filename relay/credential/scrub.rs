//! The removal of what must not be printed from what others wrote.

use zeroize::Zeroizing;

use super::secret::Secret;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// A known secret that is shorter is a word like any other.
const SHORTEST_KNOWN: usize = 8;

/// The longest reason that is kept of an upstream's message, in bytes.
const LONGEST_REASON: usize = 600;

/// A run of base64 characters that is longer than this is taken for a secret. Session tokens are
/// several hundred long; the longest role name is 64, and few roles have a path that long.
const LONGEST_WORD: usize = 100;

/// How Vault's tokens begin, before a dot: service, batch and recovery tokens.
const VAULTS: [&str; 3] = ["hvs", "hvb", "hvr"];

/// Makes a text that an upstream wrote fit for a log: without the `known` secrets, without
/// anything that looks like a token, on one line, and bounded.
///
/// AWS's SignatureDoesNotMatch quotes the canonical request with the session token in it, so an
/// upstream's text can never be passed on as it is.
pub fn scrub<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> String {
    let text = without(text, known);
    let mut clean = String::with_capacity(text.len().min(LONGEST_REASON));
    let mut word = Zeroizing::new(String::new());
    // Tokens have dots in them, and what comes after one looks like any word.
    let mut within_token = false;
    for c in text.chars().chain([' ']) {
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
/// They are found as they are, and as JSON, URLs and HTML spell them: whoever sends a request back does so in its own form.
pub fn without<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(text.to_owned());
    for secret in known.into_iter().filter(|secret| secret.len() >= SHORTEST_KNOWN) {
        for spelling in SPELLINGS {
            text = cut(&text, secret.expose().as_bytes(), spelling);
        }
    }
    text
}

fn cut(text: &str, secret: &[u8], spelling: Spelling) -> Zeroizing<String> {
    let mut clean = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = length_of(secret, rest.as_bytes(), spelling);
        let (told, after) = match found.and_then(|length| rest.split_at_checked(length)) {
            Some((_, after)) => (REDACTED, after),
            None => rest.split_at(c.len_utf8()),
        };
        clean.push_str(told);
        rest = after;
    }
    clean
}

/// How many bytes at the beginning of a text spell a secret, if they do.
fn length_of(secret: &[u8], text: &[u8], spelling: Spelling) -> Option<usize> {
    secret.iter().try_fold(0, |at, byte| {
        let (spelled, length) = spelling(text.get(at..)?)?;
        (spelled == *byte).then_some(at + length)
    })
}

/// The byte that a text begins with, and how many of its own bytes spell it.
type Spelling = fn(&[u8]) -> Option<(u8, usize)>;

const SPELLINGS: [Spelling; 4] = [plain, json, url, html];

fn plain(text: &[u8]) -> Option<(u8, usize)> {
    text.first().map(|byte| (*byte, 1))
}

fn json(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'\\', b'u', b'0', b'0', high, low, ..] => Some((number(&[*high, *low], 16)?, 6)),
        [b'\\', byte, ..] => Some((*byte, 2)),
        _ => plain(text),
    }
}

fn url(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'%', high, low, ..] => Some((number(&[*high, *low], 16)?, 3)),
        _ => plain(text),
    }
}

fn html(text: &[u8]) -> Option<(u8, usize)> {
    let entity = text.strip_prefix(b"&").and_then(|rest| rest.split(|byte| *byte == b';').next());
    let spelled = entity.and_then(|entity| Some((named(entity)?, entity.len() + 2)));
    spelled.or_else(|| plain(text))
}

fn named(entity: &[u8]) -> Option<u8> {
    match entity {
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

/// Whether a run of base64 characters must not be printed: a part of a JWT, or any very long run.
fn looks_secret(word: &str) -> bool {
    word.len() > LONGEST_WORD || (word.starts_with("eyJ") && word.len() > 12)
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
    fn a_known_secret_is_cut_out_however_it_is_spelled() {
        let secret = Secret::new(r#"pép\a"ss<'/&+%word"#.into());
        for spelled in [
            r#"pép\a"ss<'/&+%word"#,
            r#"pép\\a\"ss<'\/&+%word"#,
            r#"pép\\a\"ss\u003c\u0027/\u0026+%word"#,
            "p%C3%A9p%5Ca%22ss%3C%27%2F%26%2B%25word",
            "p%c3%a9p%5ca%22ss%3c'/%26+%25word",
            r"pép\a&quot;ss&lt;&#39;/&amp;+%word",
            r"pép\a&#34;ss&#x3C;&apos;/&+%word",
        ] {
            assert_eq!(scrub(&format!("a &{spelled}%, &b;"), [&secret]), "a &[redacted]%, &b;");
        }
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
