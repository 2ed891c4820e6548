//! What every client in Rust has in common: how the driver asks it for calls. See ../../../README.md.

use std::error::Error;
use std::io::{self, Write};

/// Makes one call for each line of the standard input, until that ends. A call tells the access key that it was signed
/// with, or nothing where the client does not tell.
///
/// # Errors
/// Those of the standard input and output; a call's own are answers.
pub async fn serve<E: Error>(
    mut call: impl AsyncFnMut() -> Result<Option<String>, E>,
) -> io::Result<()> {
    for line in io::stdin().lines() {
        line?;
        let answer = match call().await {
            Ok(key) => serde_json::json!({ "ok": true, "key": key }),
            Err(error) => serde_json::json!({ "ok": false, "error": told(&error) }),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The whole chain of errors, without those that their effect already repeats.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let more = one.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = one.source();
    }
    text
}
