//! Amazon resource names, as far as the relay must understand them.

use std::fmt;
use std::str::FromStr;

/// The twelve digits that name an AWS account.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Box<str>);

impl AccountId {
    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(ArnError::Account { len: text.len() })
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A separate AWS: its ARNs and endpoints have nothing in common with another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud (US).
    AwsUsGov,
}

impl Partition {
    /// As it stands in an ARN.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
        }
    }

    /// The domain of its services' addresses.
    pub const fn domain(self) -> &'static str {
        match self {
            Self::AwsCn => "amazonaws.com.cn",
            Self::Aws | Self::AwsUsGov => "amazonaws.com",
        }
    }

    /// The partition to which a region belongs, by its prefix.
    pub fn of_region(region: &str) -> Self {
        if region.starts_with("cn-") {
            Self::AwsCn
        } else if region.starts_with("us-gov-") {
            Self::AwsUsGov
        } else {
            Self::Aws
        }
    }
}

impl FromStr for Partition {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        [Self::Aws, Self::AwsCn, Self::AwsUsGov]
            .into_iter()
            .find(|partition| partition.as_str() == text)
            .ok_or(ArnError::Partition)
    }
}

/// The ARN of an IAM role, checked and kept as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RoleArn {
    text: Box<str>,
    partition: Partition,
    account: AccountId,
}

impl RoleArn {
    /// The ARN as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The account that owns the role.
    pub fn account(&self) -> &AccountId {
        &self.account
    }
}

impl FromStr for RoleArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts[..] else {
            return Err(ArnError::Shape);
        };
        let path = resource.strip_prefix("role/").ok_or(ArnError::NotARole)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b);
        if name.is_empty() || path.starts_with('/') || !path.bytes().all(legal) {
            return Err(ArnError::RoleName);
        }
        Ok(Self { text: text.into(), partition: partition.parse()?, account: account.parse()? })
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not the ARN of a role; each says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArnError {
    /// Not six parts with `arn`, `iam` and no region.
    Shape,
    /// A partition that the relay does not know.
    Partition,
    /// The account is not twelve digits.
    Account {
        /// How many characters it has.
        len: usize,
    },
    /// An IAM resource of another kind.
    NotARole,
    /// The role's name or path is empty or has illegal characters.
    RoleName,
}

impl fmt::Display for ArnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => f.write_str("not an IAM ARN; write arn:aws:iam::<account>:role/<name>"),
            Self::Partition => {
                f.write_str("unknown partition; aws, aws-cn and aws-us-gov are known")
            }
            Self::Account { len } => {
                write!(f, "an account is 12 digits, this one has {len} characters")
            }
            Self::NotARole => {
                f.write_str("not a role; write arn:aws:iam::<account>:role/<name>, not user/, instance-profile/ or an assumed-role session")
            }
            Self::RoleName => f.write_str(
                "the role's name is empty or has characters outside A-Z a-z 0-9 + = , . @ _ -",
            ),
        }
    }
}

impl std::error::Error for ArnError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_partitions_are_read() {
        for (text, partition) in [
            ("arn:aws:iam::111122223333:role/hub", Partition::Aws),
            ("arn:aws-cn:iam::111122223333:role/team/a/hub", Partition::AwsCn),
            ("arn:aws-us-gov:iam::111122223333:role/hub+x=1,y.z@q_-", Partition::AwsUsGov),
        ] {
            let arn: RoleArn = text.parse().unwrap();
            assert_eq!((arn.partition(), arn.as_str()), (partition, text));
            assert_eq!(arn.account().as_str(), "111122223333");
        }
    }

    #[test]
    fn what_is_not_a_role_is_refused_with_its_reason() {
        for (text, error) in [
            ("hub", ArnError::Shape),
            ("arn:aws:sts::111122223333:assumed-role/hub/x", ArnError::Shape),
            ("arn:aws:iam::111122223333:user/hub", ArnError::NotARole),
            ("arn:aws:iam::1111:role/hub", ArnError::Account { len: 4 }),
            ("arn:aws-iso:iam::111122223333:role/hub", ArnError::Partition),
            ("arn:aws:iam::111122223333:role/", ArnError::RoleName),
            ("arn:aws:iam::111122223333:role/a b", ArnError::RoleName),
        ] {
            assert_eq!(text.parse::<RoleArn>().unwrap_err(), error, "{text}");
        }
    }
}
