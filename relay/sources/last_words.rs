//! What may be told of a program's last words: they may be an error, and they may be the keys.

use zeroize::Zeroizing;

use crate::credential::{REDACTED, scrub};

/// So many bytes of the end of its standard error are looked at.
pub(super) const LONGEST: usize = 1 << 10;

/// A word that is this long is not repeated: no key or token is shorter.
const LONGEST_WORD: usize = 16;

/// The parts of a path or a host are words of people, of this length at most where there are both
/// digits and letters in one.
const LONGEST_MIXED_PART: usize = 8;

/// The last line that is not empty, of the last [`LONGEST`] bytes that were `said`: without its
/// long words, and without the rest of it after the name of a secret.
pub(super) fn line(said: &[u8]) -> Option<String> {
    let text = Zeroizing::new(String::from_utf8_lossy(said).into_owned());
    let text = text.trim_end();
    let line = text.rsplit(['\n', '\r']).next().map(str::trim).filter(|line| !line.is_empty())?;
    // Its beginning is not there, which may be the name of what follows, or half of a key.
    if said.len() >= LONGEST && !text.contains(['\n', '\r']) {
        return Some(format!("[a line of {LONGEST} bytes or more]"));
    }
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let (word, after) = split(rest, part_of_word);
        let (gap, after) = split(after, |c| !part_of_word(c));
        rest = after;
        if names_a_secret(word) {
            let option = word.starts_with("--") && gap.starts_with(' ');
            let value = rest.contains(part_of_word) && (gap.contains([':', '>']) || option);
            // What is before an equals sign may be long; what is behind it is never told.
            let assigned = word.contains('=') && !(word.ends_with('=') && rest.is_empty());
            let name = word.split('=').next().unwrap_or_default();
            if assigned || value {
                clean.push_str(shown(name));
                clean.push_str(if assigned { "=" } else { gap });
                clean.push_str(REDACTED);
                break;
            }
        }
        clean.push_str(shown(word));
        clean.push_str(gap);
    }
    Some(scrub(&clean, []))
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// Base64 of both kinds, with what JSON and URLs make of its characters, the dots of a JWT, and
/// what passwords are made of. Quotes, brackets, colons and commas end a word.
fn part_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=_-\\%.~@$!*^#?".contains(c)
}

fn names_a_secret(word: &str) -> bool {
    const NAMES: [&str; 8] =
        ["secret", "token", "passw", "passphrase", "key", "bearer", "authorization", "cookie"];
    if word.contains('/') && is_plain(word) {
        return false;
    }
    let word = Zeroizing::new(word.to_ascii_lowercase());
    NAMES.iter().any(|name| word.contains(name))
}

/// A word, if it is short, or plainly a path or a host.
fn shown(word: &str) -> &str {
    if word.len() < LONGEST_WORD || is_name(word) || is_plain(word) { word } else { REDACTED }
}

/// The names that AWS's documents and variables have for secrets, to which their values are not
/// appended.
fn is_name(word: &str) -> bool {
    const NAMES: [&str; 6] = [
        "SecretAccessKey",
        "aws_secret_access_key",
        "AWS_SECRET_ACCESS_KEY",
        "aws_session_token",
        "AWS_SESSION_TOKEN",
        "aws_security_token",
    ];
    NAMES.contains(&word.trim_end_matches('\\'))
}

/// A path or a host in small letters, each part of it short: a key has capitals, or long parts.
fn is_plain(word: &str) -> bool {
    let part_ends = |c: char| "/._-".contains(c);
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || part_ends(c);
    let part_is_plain = |part: &str| {
        let mixed = part.contains(|c: char| c.is_ascii_digit())
            && part.contains(|c: char| c.is_ascii_alphabetic());
        part.len() <= if mixed { LONGEST_MIXED_PART } else { LONGEST_WORD - 1 }
    };
    word.contains(['/', '.'])
        && word.trim_start_matches('~').chars().all(known)
        && word.trim_start_matches('~').split(part_ends).all(part_is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn told(said: &str) -> String {
        line(said.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_line_alone_is_told() {
        assert_eq!(told("one\ntwo\x07\n\n  \n"), "two");
        assert_eq!(told("one\rtwo\r\n"), "two");
        assert_eq!(line(b" \n"), None);
        assert_eq!(line(b""), None);
    }

    #[test]
    fn paths_hosts_and_short_words_are_told() {
        for said in [
            "no file /etc/a/long/path/to/it",
            "cat: /run/user/1000/keys.json: No such file or directory",
            "https://portal.sso.eu-west-1.amazonaws.com/federation/credentials: 403",
            "open ~/.config/company-helper/settings.toml: permission denied",
            "the token has expired, log in",
            "role of 111122223333 in eu-west-1: refused (exit 3)",
        ] {
            assert_eq!(told(said), said);
        }
    }

    #[test]
    fn what_may_be_a_key_is_not() {
        for (said, expected) in [
            (KEY.to_owned(), "[redacted]"),
            (format!("login: refused for {KEY}, try again"), "login: refused for [redacted], try again"),
            (
                r#"{"error":"lease","SecretAccessKey":"wJalrXUtnFEMI\/KxMDENG\/bPxRfiCYEXAMPLEKEY"}"#
                    .to_owned(),
                r#"{"error":"lease","SecretAccessKey":"[redacted]"#,
            ),
            (
                r#"{"k":"wJalrXUtnFEMI\/KxMDENG\/bPxRfiCYEXAMPLEKEY"}"#.to_owned(),
                r#"{"k":"[redacted]"}"#,
            ),
            (r#"{\"Token\":\"short\"}"#.to_owned(), r#"{\"Token\":[redacted]"#),
            ("GET /x?session=wJal%2FrXUtn%2FEMIKxMDENG".to_owned(), "GET [redacted]"),
            ("wrong: abcdefghijklmnop".to_owned(), "wrong: [redacted]"),
            ("deadbeefdeadbeef.cafecafecafecafe".to_owned(), "[redacted]"),
            ("at /K7MDENG/bPxRfiCY/wJalrXUtnFEMI".to_owned(), "at [redacted]"),
            ("eyJhbGciOi.eyJzdWIi.c2ln".to_owned(), "[redacted]"),
            ("password=hunter2 for bob".to_owned(), "password=[redacted]"),
            ("password= hunter2".to_owned(), "password=[redacted]"),
            ("db password: hunter 2".to_owned(), "db password: [redacted]"),
            ("usage: --password hunter2 --json".to_owned(), "usage: --password [redacted]"),
            ("AWS_SECRET_ACCESS_KEY=short,".to_owned(), "AWS_SECRET_ACCESS_KEY=[redacted]"),
            ("<Token>short</Token>".to_owned(), "<Token>[redacted]"),
            ("Authorization: Bearer abc".to_owned(), "Authorization: [redacted]"),
            ("no token:".to_owned(), "no token:"),
        ] {
            assert_eq!(told(&said), expected, "{said}");
        }
    }

    /// Half of a key, or one without its name, stands at the beginning of what was kept.
    #[test]
    fn of_a_line_without_its_beginning_the_length_is_told() {
        let cut = "x ".repeat(LONGEST / 2);
        assert_eq!(told(&cut), "[a line of 1024 bytes or more]");
        assert_eq!(told(&format!("{}\nrefused", "x".repeat(LONGEST - 8))), "refused");
    }
}
