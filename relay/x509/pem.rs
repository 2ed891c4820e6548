//! Blocks of PEM. What is decoded is wiped when it is dropped, since it may be a key; so are the
//! copies on the way to it, which is why this is not left to a library.

use aws_smithy_types::base64;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One block.
pub(crate) struct Block {
    /// What it says that it is, such as `CERTIFICATE`.
    pub(crate) label: String,
    /// Whether it has the header of a key that is encrypted in OpenSSL's old way.
    pub(crate) encrypted: bool,
    /// Its bytes; none if they cannot be read.
    pub(crate) der: Option<Zeroizing<Vec<u8>>>,
}

/// The blocks of a file, in order. What stands between them is passed over; a block without an end
/// counts as one that cannot be read.
pub(crate) fn blocks(file: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Open> = None;
    for line in file.split(|byte| *byte == b'\n') {
        let line = str::from_utf8(line).unwrap_or_default().trim();
        if let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) {
            blocks.extend(open.replace(Open::new(label, file.len())).map(Open::broken));
        } else if line.starts_with(END) {
            blocks.extend(open.take().map(|open| open.close(line)));
        } else if let Some(open) = &mut open {
            open.line(line);
        }
    }
    blocks.extend(open.map(Open::broken));
    blocks
}

/// One block as PEM has it, with the newline that ends it.
pub(crate) fn written(label: &str, der: &[u8]) -> Zeroizing<String> {
    const LINE: usize = 64;
    let encoded = Zeroizing::new(base64::encode(der));
    let lines = encoded.len() / LINE + 4;
    // With room for all: what a growing text leaves behind would not be wiped.
    let mut text =
        Zeroizing::new(String::with_capacity(encoded.len() + lines + 64 + 2 * label.len()));
    text.extend([BEGIN, label, DASHES, "\n"]);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        text.extend([line, "\n"]);
        rest = after;
    }
    text.extend([END, label, DASHES, "\n"]);
    text
}

/// A block whose end has not come yet.
struct Open {
    label: String,
    encrypted: bool,
    text: Zeroizing<String>,
}

impl Open {
    /// With room for whatever follows: what a growing text leaves behind would not be wiped.
    fn new(label: &str, most: usize) -> Self {
        let text = Zeroizing::new(String::with_capacity(most));
        Self { label: label.to_owned(), encrypted: false, text }
    }

    fn line(&mut self, line: &str) {
        if line.contains(':') {
            self.encrypted |= line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
        } else {
            self.text.push_str(line);
        }
    }

    fn close(self, line: &str) -> Block {
        let end = line.strip_prefix(END).and_then(|rest| rest.strip_suffix(DASHES));
        let whole = end == Some(self.label.as_str());
        let der = base64::decode(self.text.as_str()).ok().filter(|der| whole && !der.is_empty());
        Block { label: self.label, encrypted: self.encrypted, der: der.map(Zeroizing::new) }
    }

    fn broken(self) -> Block {
        Block { label: self.label, encrypted: self.encrypted, der: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, bool, Option<Vec<u8>>)> {
        let blocks = blocks(text.as_bytes()).into_iter();
        blocks
            .map(|block| (block.label, block.encrypted, block.der.map(|der| der.to_vec())))
            .collect()
    }

    #[test]
    fn blocks_are_read_in_order_and_what_is_between_is_passed_over() {
        let text = "Bag Attributes: 1\r\n-----BEGIN A-----\r\nAAEC\r\nAw==\r\n-----END A-----\r\nx\n\
                    -----BEGIN B C-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAA==\n-----END B C-----";
        assert_eq!(
            told(text),
            [("A".into(), false, Some(vec![0, 1, 2, 3])), ("B C".into(), true, Some(vec![0]))]
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let text = written("PRIVATE KEY", &der);
            assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----\n"));
            assert_eq!(told(&text), [("PRIVATE KEY".into(), false, Some(der))]);
        }
    }

    #[test]
    fn half_a_block_cannot_be_read() {
        for text in [
            "-----BEGIN A-----\nAAEC",
            "-----BEGIN A-----\nAAEC\n-----END B-----",
            "-----BEGIN A-----\n-----END A-----",
            "-----BEGIN A-----\n!!!!\n-----END A-----",
        ] {
            assert_eq!(told(text), [("A".into(), false, None)], "{text}");
        }
        let two = "-----BEGIN A-----\nAAEC\n-----BEGIN B-----\nAAEC\n-----END B-----";
        assert_eq!(
            told(two),
            [("A".into(), false, None), ("B".into(), false, Some(vec![0, 1, 2]))]
        );
        assert_eq!(told("-----END A-----\nhello"), []);
    }
}
