//! What the tests that read this repository share.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources must end")]

use std::fs;
use std::path::{Path, PathBuf};

/// Adds the files below a folder that end in one of these. What is hidden or was built is no part of the repository.
pub(crate) fn files_below(folder: &Path, ends: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if path.is_dir() {
            if !hidden && name != "target" && name != "node_modules" {
                files_below(&path, ends, found);
            }
        } else if path.extension().is_some_and(|end| ends.iter().any(|wanted| end == *wanted)) {
            found.push(path);
        }
    }
}
