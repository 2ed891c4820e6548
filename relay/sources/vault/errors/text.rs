//! Vault's and AWS's messages, made fit for one line.

/// A page says what it is at its beginning, if anywhere.
const BEGINNING: usize = 120;

/// What Vault said: one line, without how many errors there are and without AWS's request ids,
/// which differ each time, so that equal failures read equal.
pub(super) fn tidy(errors: &[String]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| line(error)).collect();
    lines.join("; ")
}

fn line(error: &str) -> String {
    let error = without_request_ids(error);
    let error = if error.contains("<Error") { without_tags(&error) } else { error };
    let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
    // Vault's libraries count errors: "2 errors occurred: * permission denied * invalid token".
    match error.split_once(" occurred: * ") {
        Some((count, list)) if count.ends_with("error") || count.ends_with("errors") => {
            list.replace(" * ", "; ")
        }
        _ => error,
    }
}

/// The beginning of a page, without what is not for people.
pub(super) fn beginning(page: &str) -> String {
    let words = without_tags(page);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(BEGINNING) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

fn without_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut tag = false;
    for c in text.chars() {
        match c {
            '<' => tag = true,
            '>' if tag => {
                tag = false;
                plain.push(' ');
            }
            _ if tag => {}
            _ => plain.push(c),
        }
    }
    plain
}

fn without_request_ids(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, until) in [(", request id:", ",; \t\n)"), ("<RequestId>", "<")] {
        while let Some(start) = text.find(before) {
            let value = start + before.len();
            let rest = &text[value..];
            let blanks = rest.len() - rest.trim_start().len();
            let length = rest[blanks..].find(|c| until.contains(c)).unwrap_or(rest.len() - blanks);
            text.replace_range(start..value + blanks + length, "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidied(text: &str) -> String {
        tidy(&[text.to_owned()])
    }

    #[test]
    fn counts_of_errors_are_left_out() {
        let text = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
        assert_eq!(tidied(text), "permission denied; invalid token");
        let scrubbed = "1 error occurred:   * permission denied";
        assert_eq!(tidied(scrubbed), "permission denied");
        assert_eq!(tidied("an error occurred: * in it"), "in it");
    }

    #[test]
    fn request_ids_are_left_out() {
        let text = "AccessDenied: no  status code: 403, request id: 1111-2222, host id: x";
        assert_eq!(tidied(text), "AccessDenied: no status code: 403, host id: x");
        assert_eq!(tidied("x, request id: 1"), "x");
        assert_eq!(tidied("x, request id:"), "x");
        let xml = "got <ErrorResponse xmlns=\"u\"><Error><Code>Throttling</Code></Error><RequestId>1-2</RequestId></ErrorResponse>";
        assert_eq!(tidied(xml), "got Throttling");
    }

    #[test]
    fn a_page_is_told_by_its_beginning() {
        let page = "<html><head><title>403 Forbidden</title></head>\r\n<body>no</body></html>";
        assert_eq!(beginning(page), "403 Forbidden no");
        assert_eq!(beginning(&"é".repeat(200)).chars().count(), BEGINNING + 1);
        assert_eq!(beginning("<html"), "");
    }
}
