//! Values of the configuration that cannot be wrong: each is made by reading a text alone, and
//! each error says what would be right, without repeating the text.
//!
//! The patterns stand in the JSON schema. They say as much as a regular expression can; the
//! readers here decide.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::arn::Partition;

pub(super) const PROFILE_NAME: &str = "^[a-z0-9_-]{1,63}$";
pub(super) const REGION: &str = "^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$";
pub(super) const LISTEN: &str = r"^([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}$";
pub(super) const ABSOLUTE_PATH: &str = "^/";
pub(super) const AUDIT: &str = "^(stdout$|/)";
pub(super) const TOKEN_DIGEST: &str = "^sha256:[0-9a-f]{64}$";
pub(super) const URL: &str = r"^https?://[^@?#\s]+$";
pub(super) const ROLE_ARN: &str =
    r"^arn:(aws|aws-cn|aws-us-gov):iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$";
pub(super) const POLICY_ARN: &str =
    r"^arn:(aws|aws-cn|aws-us-gov):iam::([0-9]{12}|aws):policy/[A-Za-z0-9+=,.@_/-]+$";
pub(super) const SESSION_NAME_TEMPLATE: &str =
    r"^([A-Za-z0-9_+=,.@-]|\{(pod|namespace|service_account|profile)\})+$";
pub(super) const EXTERNAL_ID: &str = "^[A-Za-z0-9_+=,.@:/-]+$";
pub(super) const CONTAINER_URI: &str = r"^https?://[^@#\s]+$";
pub(super) const TRUST_ANCHOR_ARN: &str =
    "^arn:aws(-cn|-us-gov)?:rolesanywhere:[a-z0-9-]+:[0-9]{12}:trust-anchor/[0-9A-Fa-f-]+$";
pub(super) const ANYWHERE_PROFILE_ARN: &str =
    "^arn:aws(-cn|-us-gov)?:rolesanywhere:[a-z0-9-]+:[0-9]{12}:profile/[0-9A-Fa-f-]+$";
pub(super) const DURATION: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";
pub(super) const VAULT_NAME: &str = "^[A-Za-z0-9_.@+=,-]{1,512}$";
pub(super) const VAULT_PATH: &str = "^/*[A-Za-z0-9_.@+=,-]+(/[A-Za-z0-9_.@+=,-]+)*/*$";
pub(super) const VAULT_NAMESPACE: &str = "^[A-Za-z0-9_.@+=,/-]*$";

/// What STS accepts (its API references): 15 minutes, 12 hours for AssumeRole, and 36 hours for
/// GetSessionToken and GetFederationToken.
const SHORTEST: Duration = Duration::from_secs(900);
pub(super) const LONGEST_OF_USER: Duration = Duration::from_secs(129_600);
pub(super) const LONGEST: Duration = Duration::from_secs(43_200);
/// What a role session may ask for: upstreams section 4.
pub(super) const LONGEST_CHAINED: Duration = Duration::from_secs(3600);

/// Makes a type over a checked text: it is shown as it was written.
macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

mod policy;
mod source;
mod token;
mod url;
mod vault;

pub use policy::{PolicyArn, PolicyDocument};
pub(super) use source::shared_profile;
pub use source::{RolesAnywhereArn, is_local};
pub use token::TokenDigest;
pub use url::{ContainerUri, UpstreamUrl, host_and_port};
pub use vault::{VaultAddress, VaultName, VaultNamespace, VaultPath};

/// A profile's name: it stands in a URL path, a metric label and a file path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileName(Box<str>);
text!(ProfileName);

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 63 || !text.bytes().all(legal) {
            return Err("a profile's name is 1 to 63 of a-z 0-9 - _".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl std::borrow::Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// An AWS region.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Region(Box<str>);
text!(Region);

impl Region {
    /// The partition that it belongs to.
    pub fn partition(&self) -> Partition {
        Partition::of_region(&self.0)
    }
}

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('-').collect();
        let letters =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let digits =
            |part: &str| matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        let [area, places @ .., number] = parts.as_slice() else {
            return Err("a region looks like eu-west-1".to_owned());
        };
        let other_partition =
            *area == "eusc" || places.first().is_some_and(|p| p.starts_with("iso"));
        if other_partition {
            return Err(
                "this region's partition is not known; aws, aws-cn and aws-us-gov are".to_owned()
            );
        }
        if area.len() != 2
            || !letters(area)
            || places.is_empty()
            || !places.iter().all(letters)
            || !digits(number)
        {
            return Err("a region looks like eu-west-1".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// A name as STS wants it for a session or a source identity: 2 to 64 of A-Z a-z 0-9 _ + = , . @ -
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionName(Box<str>);
text!(SessionName);

impl SessionName {
    pub(super) const LONGEST: usize = 64;

    /// Whether STS allows this character in it.
    pub(super) fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
    }
}

impl FromStr for SessionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        within(text, 2, Self::LONGEST, Self::allows, "A-Z a-z 0-9 _ + = , . @ -")?;
        Ok(Self(text.into()))
    }
}

/// Reads an external id.
///
/// # Errors
/// What would be right.
pub(super) fn external_id(text: &str) -> Result<String, String> {
    let allows = |c: char| SessionName::allows(c) || c == ':' || c == '/';
    within(text, 2, 1224, allows, "A-Z a-z 0-9 _ + = , . @ : / -")?;
    Ok(text.to_owned())
}

/// Checks the length in characters and each character; `set` names those allowed.
pub(super) fn within(
    text: &str,
    least: usize,
    most: usize,
    allows: impl Fn(char) -> bool,
    set: &str,
) -> Result<(), String> {
    let len = text.chars().count();
    if len < least || len > most {
        return Err(format!("{least} to {most} characters are allowed"));
    }
    match text.chars().position(|c| !allows(c)) {
        Some(at) => Err(format!("character {} is not one of {set}", at + 1)),
        None => Ok(()),
    }
}

/// Whether an address cannot be reached from beyond this machine and its link.
pub(super) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Reads an address to listen on.
///
/// # Errors
/// What would be right.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map_err(|_| {
        "an IP address and a port are wanted, such as 127.0.0.1:9531 or [::1]:9531; a name is not looked up"
    })?;
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(
            "a link-local IPv6 address needs the number of its interface, such as [fe80::1%2]:9531"
                .to_owned(),
        ),
        _ => Ok(address),
    }
}

/// Reads the path of a file.
///
/// # Errors
/// What would be right.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        return Err(
            "an absolute path of a file is wanted, such as /run/credential-relay/token".to_owned()
        );
    }
    Ok(PathBuf::from(text))
}

/// Reads a name that a request's Host may have, into lower case.
///
/// # Errors
/// What would be right.
pub(super) fn host(text: &str) -> Result<String, String> {
    let dns = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if text.parse::<IpAddr>().is_err() {
        within(text, 1, 253, dns, "A-Z a-z 0-9 . - (a port is not compared, so leave it out)")?;
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads a duration, such as `1h`, `45m`, `1h30m` or `3600s`.
///
/// # Errors
/// What would be right.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const RIGHT: &str = "write it as 1h, 45m, 1h30m or 3600s";
    let mut total = 0_u64;
    let mut rest = text;
    for (unit, seconds) in [('h', 3600_u64), ('m', 60), ('s', 1)] {
        let Some((count, after)) = rest.split_once(unit) else {
            continue;
        };
        let count = count.bytes().all(|b| b.is_ascii_digit()).then(|| count.parse::<u64>().ok());
        let part = count.flatten().and_then(|count| count.checked_mul(seconds));
        total = part.and_then(|part| total.checked_add(part)).ok_or(RIGHT)?;
        rest = after;
    }
    if text.is_empty() || !rest.is_empty() {
        return Err(RIGHT.to_owned());
    }
    Ok(Duration::from_secs(total))
}

/// Reads a duration that `who` bounds.
///
/// # Errors
/// What would be right.
pub(super) fn duration_within(
    text: &str,
    bounds: RangeInclusive<Duration>,
    who: &str,
) -> Result<Duration, String> {
    let duration = duration(text)?;
    if !bounds.contains(&duration) {
        let (least, most) = (told(*bounds.start()), told(*bounds.end()));
        return Err(format!("{who} {least} to {most}, this is {}", told(duration)));
    }
    Ok(duration)
}

/// Reads the lifetime of a session of STS, which may live as long as `longest`.
///
/// # Errors
/// What would be right.
pub(super) fn lifetime(text: &str, longest: Duration) -> Result<Duration, String> {
    duration_within(text, SHORTEST..=longest, "STS grants")
}

/// A duration as it would be written in the file.
pub(super) fn told(duration: Duration) -> String {
    let total = duration.as_secs();
    let mut text = String::new();
    for (count, unit) in [(total / 3600, 'h'), (total / 60 % 60, 'm'), (total % 60, 's')] {
        if count > 0 || (unit == 's' && text.is_empty()) {
            text.push_str(&count.to_string());
            text.push(unit);
        }
    }
    text
}

/// One session tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value, filled in.
    pub value: String,
    /// Whether it stays with the sessions that are assumed from this one.
    pub transitive: bool,
}

impl Tag {
    /// Checks a tag's key.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn check_key(key: &str) -> Result<(), String> {
        within(key, 1, 128, Self::allows, Self::SET)?;
        match key.get(..4) {
            Some(start) if start.eq_ignore_ascii_case("aws:") => {
                Err("keys that start with aws: are AWS's own".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Checks a tag's value.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn check_value(value: &str) -> Result<(), String> {
        within(value, 0, 256, Self::allows, Self::SET)
    }

    const SET: &str = "letters, digits, blanks and _ . : / = + - @";

    fn allows(c: char) -> bool {
        c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_know_their_partition() {
        for (text, partition) in [
            ("eu-west-1", Partition::Aws),
            ("ap-southeast-10", Partition::Aws),
            ("cn-north-1", Partition::AwsCn),
            ("us-gov-west-1", Partition::AwsUsGov),
        ] {
            assert_eq!(text.parse::<Region>().unwrap().partition(), partition);
        }
        for text in [
            "",
            "eu",
            "eu-1",
            "EU-WEST-1",
            "eu-west-1a",
            "aws-global",
            "eu--1",
            "us-iso-east-1",
            "eusc-de-east-1",
        ] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_bounded() {
        for (text, seconds) in [
            ("15m", 900),
            ("1h", 3600),
            ("3600s", 3600),
            ("1h30m", 5400),
            ("1h0m5s", 3605),
            ("12h", 43_200),
        ] {
            assert_eq!(lifetime(text, LONGEST), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "1",
            "3600",
            "1 h",
            "-1h",
            "+1h",
            "1h30",
            "30m1h",
            "1.5h",
            "1d",
            "14m59s",
            "12h1s",
            "99999999999999999999h",
            "9999999999999999999h",
        ] {
            assert!(lifetime(text, LONGEST).is_err(), "{text}");
        }
        assert!(lifetime("36h", LONGEST_OF_USER).is_ok());
        assert_eq!(told(Duration::from_secs(5405)), "1h30m5s");
    }

    #[test]
    fn endpoints_are_read_and_know_whether_they_are_private() {
        for (text, private) in [
            ("https://sts.example.internal", true),
            ("http://127.0.0.1:4566", true),
            ("http://[::1]:4566/", true),
            ("http://localhost:4566", true),
            ("http://169.254.170.23", true),
            ("http://[fd00:ec2::254]", true),
            ("http://[fd00:ec2::255]", false),
            ("http://10.0.0.1:4566", false),
            ("http://localstack:4566", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>().map(|e| e.is_private()), Ok(private), "{text}");
        }
        for text in [
            "",
            "sts",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x?a",
            "https://x#a",
            "https://x:0",
            "https://x:99999",
            "https://x:",
            "https:///x",
            "//x",
        ] {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_hosts_and_tags_have_their_characters() {
        assert!("a".parse::<SessionName>().is_err());
        assert!("a".repeat(65).parse::<SessionName>().is_err());
        assert_eq!(
            "a b".parse::<SessionName>().unwrap_err(),
            "character 2 is not one of A-Z a-z 0-9 _ + = , . @ -"
        );
        assert_eq!(host("Relay.Internal"), Ok("relay.internal".to_owned()));
        assert_eq!(host("fd00::1"), Ok("fd00::1".to_owned()));
        assert!(host("relay:80").is_err());
        assert!(Tag::check_key("Cost Centre/é").is_ok());
        assert!(Tag::check_key("AWS:x").is_err());
        assert!(Tag::check_value("").is_ok());
        assert!(Tag::check_value("a\nb").is_err());
    }
}
