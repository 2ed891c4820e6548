//! The removal of what must not be printed from what others wrote.

use zeroize::Zeroizing;

use super::secret::Secret;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A known secret that is shorter is a word like any other.
const SHORTEST_KNOWN: usize = 8;

/// So much of a text is looked at, in bytes: an upstream's answer may have 256 KiB, and the one thread waits.
const LOOKED_AT: usize = 8 << 10;

/// The longest name of an entity in HTML: a character's number.
const LONGEST_ENTITY: usize = 8;

/// A part of a JWT is longer.
const SHORTEST_JWT: usize = 12;

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
        if c.is_ascii_alphanumeric() || "+/=_-%\\".contains(c) {
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
    if clean.len() > LONGEST_REASON || text.len() > LOOKED_AT {
        clean.truncate(clean.floor_char_boundary(LONGEST_REASON));
        clean.push('…');
    }
    clean
}

/// The beginning of a text without the `known` secrets, but as it was otherwise: before a part is taken of it, which could be
/// half of one.
pub fn without<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> Zeroizing<String> {
    let known: Vec<_> = known.into_iter().collect();
    Zeroizing::new(pieces(text, &known).collect())
}

/// The beginning of a text character by character, with a mark in the place of each secret.
fn pieces<'a>(text: &'a str, known: &'a [&Secret]) -> impl Iterator<Item = &'a str> {
    let mut rest = &text[..text.floor_char_boundary(LOOKED_AT)];
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

/// How many bytes of the beginning of a text are a secret, however it is written, or the beginning of one that the text's end
/// cuts off.
fn length_of(secret: &Secret, text: &str) -> Option<usize> {
    let secret = Some(secret.expose()).filter(|secret| secret.len() >= SHORTEST_KNOWN)?;
    // Most characters begin no secret, in whatever form.
    if !text.starts_with(secret.chars().next()?) && !text.starts_with(ESCAPES) {
        return None;
    }
    WRITTEN.iter().find_map(|forms| {
        let mut length = 0;
        for (at, wanted) in secret.char_indices() {
            match read(&text[length..], forms) {
                Some((found, more)) if found == wanted || (found, wanted) == ('+', ' ') => {
                    length += more;
                }
                None if at >= SHORTEST_KNOWN => return Some(text.len()),
                _ => return None,
            }
        }
        Some(length)
    })
}

/// How a text is written within another.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Url,
    Html,
}

/// What begins a character that is not written as itself.
const ESCAPES: [char; 3] = ['\\', '%', '&'];

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

/// The character that a text in these forms, the outermost first, begins with; and how many of its bytes write it. None at
/// its end.
fn read(text: &str, forms: &[Form]) -> Option<(char, usize)> {
    let Some((form, outer)) = forms.split_last() else {
        return text.chars().next().map(|c| (c, c.len_utf8()));
    };
    let itself = read(text, outer)?;
    let (mut length, mut cut_off) = (itself.1, false);
    let next = || {
        let next = read(&text[length..], outer);
        cut_off = next.is_none();
        let (c, more) = next?;
        length += more;
        Some(c)
    };
    let written = match (form, itself.0) {
        (Form::Json, '\\') => escaped(next),
        (Form::Url, '%') => percent_encoded(next),
        (Form::Html, '&') => entity(next),
        _ => return Some(itself),
    };
    match written {
        Some(c) => Some((c, length)),
        None if cut_off => None,
        // It is no escape.
        None => Some(itself),
    }
}

/// What JSON has after a backslash. No secret has a control character.
fn escaped(mut next: impl FnMut() -> Option<char>) -> Option<char> {
    match next()? {
        'u' => {
            let first = unit(&mut next)?;
            let is_half = (0xd800..0xdc00).contains(&first);
            let second =
                if is_half && (next()?, next()?) == ('\\', 'u') { unit(&mut next) } else { None };
            char::decode_utf16([Some(first), second].into_iter().flatten()).next()?.ok()
        }
        itself => Some(itself),
    }
}

fn unit(next: &mut impl FnMut() -> Option<char>) -> Option<u16> {
    u16::try_from(number(&[next()?, next()?, next()?, next()?], 16)?).ok()
}

/// What a URL has after a percent sign: the bytes of UTF-8, each but the first with a sign of its own.
fn percent_encoded(mut next: impl FnMut() -> Option<char>) -> Option<char> {
    let mut bytes = [0; 4];
    for length in 1..=bytes.len() {
        if length > 1 && next()? != '%' {
            return None;
        }
        bytes[length - 1] = u8::try_from(number(&[next()?, next()?], 16)?).ok()?;
        if let Ok(text) = str::from_utf8(&bytes[..length]) {
            return text.chars().next();
        }
    }
    None
}

/// What HTML has after an ampersand.
fn entity(mut next: impl FnMut() -> Option<char>) -> Option<char> {
    let mut name = ['\0'; LONGEST_ENTITY];
    let mut length = 0;
    loop {
        match next()? {
            ';' => break,
            c => *name.get_mut(length)? = c,
        }
        length += 1;
    }
    match &name[..length] {
        ['a', 'm', 'p'] => Some('&'),
        ['l', 't'] => Some('<'),
        ['g', 't'] => Some('>'),
        ['q', 'u', 'o', 't'] => Some('"'),
        ['a', 'p', 'o', 's'] => Some('\''),
        ['#', 'x' | 'X', digits @ ..] => char::from_u32(number(digits, 16)?),
        ['#', digits @ ..] => char::from_u32(number(digits, 10)?),
        _ => None,
    }
}

fn number(digits: &[char], radix: u32) -> Option<u32> {
    let first = digits.first()?.to_digit(radix)?;
    digits[1..]
        .iter()
        .try_fold(first, |number, digit| Some(number * radix + digit.to_digit(radix)?))
}

/// Whether a run of base64 characters must not be printed: a part of a JWT, the signature of a request, which whoever has it
/// can send again, or any very long run.
fn looks_secret(word: &str) -> bool {
    let mut runs = word.split(|c: char| !c.is_ascii_hexdigit());
    let jwt = word.find("eyJ").is_some_and(|at| {
        let part = &word[at..];
        // Within a word it may be of a name's (keyJobs); a part of a JWT has digits.
        part.len() > SHORTEST_JWT && (at == 0 || part.contains(|c: char| c.is_ascii_digit()))
    });
    runs.any(|run| run.len() >= SIGNATURE) || jwt || word.len() > LONGEST_WORD
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
            // Some escape all that is not ASCII.
            r#"p\u00e9p\\a\"ss<'/&+%word"#,
            r"p&#233;p\a&#x22;ss<'/&+%word",
        ] {
            assert_eq!(scrub(&format!("a &{written}%, &b;"), [&secret]), "a &[redacted]%, &b;");
        }
    }

    #[test]
    fn half_a_character_is_read_with_its_other_half() {
        let secret = Secret::new("the \u{1f511} of it".into());
        assert_eq!(scrub(r"no: the \ud83d\udd11 of it", [&secret]), "no: [redacted]");
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
        let names = "role/apiKeyJwtIssuerRole of keyJobsNamespace/default";
        assert_eq!(scrub(names, []), names);
        assert_eq!(scrub("sent%20eyJhbGciOiJSUzI1NiJ9", []), "[redacted]");
    }

    #[test]
    fn a_secret_that_the_end_cuts_off_is_cut_out() {
        let secret = Secret::new("7e4b2d1a-secret of-the-application".into());
        let begun = |text: &str| scrub(&format!("you sent {text}"), [&secret]);
        assert_eq!(begun("7e4b2d1a-secret+of"), "you sent [redacted]");
        for cut_off in ["%20", "%2", "%", "&#32", "&#", r"\u00"] {
            assert_eq!(begun(&format!("7e4b2d1a-secret{cut_off}")), "you sent [redacted]");
        }
        assert_eq!(begun("7e4b2d1"), "you sent 7e4b2d1");
        assert_eq!(begun("7e4b2d1a-secret, no"), "you sent 7e4b2d1a-secret, no");
        let page = format!("{} 7e4b2d1a-secret of-the-application", "x".repeat(LOOKED_AT - 12));
        assert_eq!(scrub(&page, [&secret]), "[redacted] [redacted]…");
    }

    #[test]
    fn signatures_are_cut_out_and_other_hex_is_kept() {
        let signature = "8f".repeat(32);
        let digest = &signature[1..];
        for spelled in ["Signature=", "Signature%3D", r"Signature\u003d", ""] {
            let said = scrub(&format!("a=b, {spelled}{signature} {digest}"), []);
            assert_eq!(said, format!("a=b, [redacted] {digest}"));
        }
        for after in [r#"\","#, r"\r\nHost: x", "%22", "%0AHost", "-"] {
            let said = scrub(&format!("Signature={signature}{after}"), []);
            assert!(said.starts_with("[redacted]"), "{said}");
        }
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
