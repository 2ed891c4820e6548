//! What names things in Vault.

use std::fmt;
use std::str::FromStr;

use super::url::{host_and_port, http_url, is_plain, is_private};
use super::within;

/// Where a Vault is: an absolute http or https URL, with a path where a proxy puts Vault below one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VaultAddress(Box<str>);
text!(VaultAddress);

impl VaultAddress {
    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0)
    }

    /// Whether what is sent stays unread on its way.
    pub fn is_private(&self) -> bool {
        is_private(&self.0)
    }

    /// Its host, in lower case and without brackets.
    pub fn host(&self) -> String {
        host_and_port(&self.0).0
    }
}

impl FromStr for VaultAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        http_url(text)?;
        if text.ends_with("/v1") {
            return Err("the /v1 is added by the relay; leave it out".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// The name of a role, a user or the like: one part of a path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VaultName(Box<str>);
text!(VaultName);

impl FromStr for VaultName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allows = |c: char| c.is_ascii_alphanumeric() || "_.@+=,-".contains(c);
        within(text, 1, 512, allows, "A-Z a-z 0-9 _ . @ + = , -")?;
        if matches!(text, "." | "..") {
            return Err("a name is wanted".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// The path of a mount or of what is below one, without slashes at its ends.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VaultPath(Box<str>);
text!(VaultPath);

impl FromStr for VaultPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_matches('/');
        let allows = |c: char| c.is_ascii_alphanumeric() || "_.@+=,-/".contains(c);
        within(text, 1, 512, allows, "A-Z a-z 0-9 _ . @ + = , - /")?;
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err("each part between slashes needs a name".to_owned());
        }
        if text.starts_with("v1/") {
            return Err("the v1/ is added by the relay; leave it out".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// A namespace of Vault Enterprise, HCP or OpenBao.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum VaultNamespace {
    /// The root namespace, which no header names.
    Root,
    /// One below it.
    Path(VaultPath),
}

impl VaultNamespace {
    /// What `X-Vault-Namespace` says; nothing for the root.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Root => None,
            Self::Path(path) => Some(path.as_str()),
        }
    }
}

impl fmt::Display for VaultNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header().unwrap_or("root"))
    }
}

impl fmt::Debug for VaultNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VaultNamespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_matches('/') {
            "" | "root" => Ok(Self::Root),
            path => path.parse().map(Self::Path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_without_a_version() {
        for text in ["https://vault:8200", "https://vault:8200/", "http://127.0.0.1:8200/vault"] {
            assert!(text.parse::<VaultAddress>().is_ok(), "{text}");
        }
        for text in ["vault:8200", "https://vault/v1", "https://u:p@vault", "ftp://vault"] {
            assert!(text.parse::<VaultAddress>().is_err(), "{text}");
        }
        let address: VaultAddress = "https://[::1]:8200".parse().unwrap();
        assert_eq!(address.host(), "::1");
    }

    #[test]
    fn a_path_cannot_lead_elsewhere() {
        assert_eq!("/team/aws/".parse::<VaultPath>().unwrap().as_str(), "team/aws");
        for text in ["", "/", "a//b", "a/../b", "v1/aws", "a b", "a?b"] {
            assert!(text.parse::<VaultPath>().is_err(), "{text}");
        }
        assert!("a/b".parse::<VaultName>().is_err());
    }

    #[test]
    fn the_root_namespace_has_three_spellings() {
        for text in ["", "root", "/"] {
            assert_eq!(text.parse::<VaultNamespace>().unwrap(), VaultNamespace::Root);
        }
        assert_eq!("a/b/".parse::<VaultNamespace>().unwrap().header(), Some("a/b"));
    }
}
