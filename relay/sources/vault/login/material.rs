//! What a login shows to Vault: read from files at each login, trimmed and checked.

use std::path::Path;

use ring::digest;

use super::super::errors::fail;
use crate::credential::Secret;
use crate::failure::{Cause, Failure};
use crate::sources::material::Material;

/// What is told apart by what it is of, not by what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of several texts, whose borders count.
    pub(super) fn of(texts: &[&Secret]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for text in texts {
            context.update(&text.len().to_be_bytes());
            context.update(text.expose().as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// Reads a token, an id or a JWT.
///
/// # Errors
/// What is wrong with the file, without a word of its text.
pub(super) async fn read(setting: &'static str, path: &Path) -> Result<Secret, Failure> {
    Material::new(path.to_owned()).token().await.map_err(|why| unfit(setting, &why))
}

/// Reads a password, in which more is allowed.
///
/// # Errors
/// What is wrong with the file, without a word of its text.
pub(super) async fn read_password(setting: &'static str, path: &Path) -> Result<Secret, Failure> {
    let right = "text without control characters";
    let read = Material::new(path.to_owned()).line(right, |c| !c.is_control()).await;
    read.map_err(|why| unfit(setting, &why))
}

fn unfit(setting: &str, why: &str) -> Failure {
    fail(Cause::NotConfigured, format!("{setting} {why}"))
}
