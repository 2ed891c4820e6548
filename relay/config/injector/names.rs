//! Names as Kubernetes wants them.

use crate::config::values::within;

pub(super) const OBJECT_NAME: &str = "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$";
pub(super) const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
pub(super) const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
pub(super) const IMAGE: &str = r"^[^\s]+$";
pub(super) const MIRROR: &str = "^[a-z0-9.:-]+(/[a-z0-9._-]+)*$";

/// Reads the name of an object, such as a ConfigMap.
///
/// # Errors
/// What would be right.
pub(super) fn object(text: &str) -> Result<String, String> {
    let allows = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    within(text, 1, 253, allows, "a-z 0-9 - .")?;
    ends(text)
}

/// Reads a name that has no dots, such as that of a volume.
///
/// # Errors
/// What would be right.
pub(super) fn label(text: &str) -> Result<String, String> {
    let allows = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    within(text, 1, 63, allows, "a-z 0-9 -")?;
    ends(text)
}

fn ends(text: &str) -> Result<String, String> {
    if text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
        return Err("it starts and ends with a letter or a digit".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads the name of a variable.
///
/// # Errors
/// What would be right.
pub(super) fn variable(text: &str) -> Result<String, String> {
    within(text, 1, 253, |c| c.is_ascii_alphanumeric() || c == '_', "A-Z a-z 0-9 _")?;
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("it starts with a letter or _".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a registry, with the folder in it or without.
///
/// # Errors
/// What would be right.
pub(super) fn mirror(text: &str) -> Result<String, String> {
    let allows = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".:-_/".contains(c);
    within(text, 1, 255, allows, "a-z 0-9 . : - _ /")?;
    let (registry, folder) = text.split_once('/').unwrap_or((text, "folder"));
    if registry.contains('_')
        || registry.is_empty()
        || folder.contains(':')
        || folder.split('/').any(str::is_empty)
    {
        return Err("a registry such as mirror.example:5000, or one with a folder such as mirror.example/cache, is wanted, without a slash at the end".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads the name of an image, with its tag or digest.
///
/// # Errors
/// What would be right.
pub(super) fn image(text: &str) -> Result<String, String> {
    let allows = |c: char| c.is_ascii_graphic();
    within(text, 1, 512, allows, "the visible characters of ASCII")?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_forms() {
        assert!(object("credential-relay.tls").is_ok());
        assert!(label("vault").is_ok());
        assert!(variable("HTTPS_PROXY").is_ok());
        for (text, read) in [
            ("", object as fn(&str) -> Result<String, String>),
            ("Upper", object),
            ("-a", object),
            ("a.b", label),
            ("1A", variable),
            ("a b", image),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
