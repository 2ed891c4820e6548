//! What several of STS's operations are asked with, as the SDK takes it.

use std::time::Duration;

use aws_sdk_sts::types::PolicyDescriptorType;

use crate::config::values::PolicyArn;

/// `DurationSeconds`; config keeps it far below what would not fit.
pub fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// `PolicyArns`: none where there are none, since STS refuses an empty list.
pub fn policy_arns(arns: &[PolicyArn]) -> Option<Vec<PolicyDescriptorType>> {
    let descriptor = |arn: &PolicyArn| PolicyDescriptorType::builder().arn(arn.as_str()).build();
    Some(arns.iter().map(descriptor).collect()).filter(|arns: &Vec<_>| !arns.is_empty())
}
