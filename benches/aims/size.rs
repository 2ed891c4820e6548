//! The binary's size.

use std::path::Path;

use crate::Result;
use crate::table::Row;

/// Aimed at for the static musl build of the image; this one is linked against glibc.
const LIMIT_MB: f64 = 7.5;

/// The size of the binary that is measured, and of the one with the `dev` feature if that is
/// another.
pub(crate) fn measure(relay: &Path, with_dev: Option<&str>) -> Result<Vec<Row>> {
    let row = |name: &str, path: &Path, aimed: bool| -> Result<Row> {
        let megabytes = std::fs::metadata(path)?.len() as f64 / 1e6;
        Ok(Row {
            aim: name.to_owned(),
            limit: if aimed { format!("{LIMIT_MB} MB") } else { String::new() },
            relay: format!("{megabytes:.2} MB"),
            bare: String::new(),
            ratio: None,
            met: aimed.then_some(megabytes <= LIMIT_MB),
        })
    };
    let mut rows = vec![row("binary, stripped", relay, true)?];
    if let Some(path) = with_dev {
        rows.push(row("binary with the dev feature", Path::new(path), false)?);
    }
    Ok(rows)
}
