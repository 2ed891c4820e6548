//! What names the ways by which a pod gets AWS permissions.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::{Region, is_near, within};
use crate::arn::{AccountId, Partition};

/// Where EKS Pod Identity's agent is over IPv6, and the instance's metadata service; over IPv4 both
/// are link-local. AWS's SDKs accept plain http to the first.
const AGENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254);

/// Whether an address is this machine's, its link's, or one of those that AWS gives its agents.
pub fn is_local(address: IpAddr) -> bool {
    is_near(address) || [AGENT_V6, METADATA_V6].contains(&as_v6(address))
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// An ARN of IAM Roles Anywhere, kept as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RolesAnywhereArn {
    text: Box<str>,
    region: Region,
}

impl RolesAnywhereArn {
    /// Reads the ARN of a resource of this kind: `trust-anchor` or `profile`.
    ///
    /// # Errors
    /// What would be right.
    pub fn read(text: &str, kind: &str) -> Result<Self, String> {
        let right = || format!("write arn:aws:rolesanywhere:<region>:<account>:{kind}/<id>");
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "rolesanywhere", region, account, resource] = parts[..] else {
            return Err(format!("not an ARN of IAM Roles Anywhere; {}", right()));
        };
        let id = resource.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/'));
        let legal = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if id.is_none_or(|id| id.is_empty() || !id.bytes().all(legal)) {
            return Err(format!("not a {kind}; {}", right()));
        }
        let partition: Partition =
            partition.parse().map_err(|why| format!("{why}; {}", right()))?;
        account.parse::<AccountId>().map_err(|why| format!("{why}; {}", right()))?;
        let region: Region = region.parse().map_err(|why| format!("its region: {why}"))?;
        if region.partition() != partition {
            return Err("its region is of another partition than it says itself".to_owned());
        }
        Ok(Self { text: text.into(), region })
    }

    /// The ARN as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.region.partition()
    }

    /// Its region.
    pub fn region(&self) -> &Region {
        &self.region
    }
}

impl fmt::Debug for RolesAnywhereArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads the name of a profile in the SDKs' shared files.
///
/// # Errors
/// What would be right.
pub(in crate::config) fn shared_profile(text: &str) -> Result<String, String> {
    let visible = |c: char| !c.is_control() && !"[]".contains(c);
    within(text, 1, 256, visible, "visible characters but [ and ]")?;
    if text.trim() == text {
        Ok(text.to_owned())
    } else {
        Err("it cannot begin or end with a blank".to_owned())
    }
}
