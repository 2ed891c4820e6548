//! What the metadata service's refusals mean, and what would be right.

use super::{Agent, Operation, Refusal};
use crate::failure::{Cause, Failure};
use crate::sources::document::Unfit;
use crate::transport::SendError;

pub(super) const NOT_ONE: &str = "is source.imds.endpoint (AWS_EC2_METADATA_SERVICE_ENDPOINT) that of a metadata service? Something else may answer there";

/// A refusal in words.
pub(super) struct Told {
    pub(super) cause: Cause,
    /// What was asked.
    pub(super) asked: &'static str,
    /// What it means, to stand after it; empty where it says so itself.
    pub(super) means: &'static str,
    pub(super) layer: &'static str,
    pub(super) fix: &'static str,
}

/// What a refusal means.
pub(super) fn refusal(operation: Operation, refusal: &Refusal) -> Told {
    let asked = match operation {
        Operation::Token => "the token",
        Operation::Role => "the instance's role",
        Operation::Credentials => "the role's credentials",
    };
    let told = |means, layer, fix| Told { cause: refusal.cause(), asked, means, layer, fix };
    match (operation, refusal, refusal.status()) {
        (_, Refusal::NotSent(error), _) if error.is_tls() => told(
            "",
            "tls",
            "the endpoint's certificate is not trusted: have its CA among the roots of the system (SSL_CERT_FILE)",
        ),
        (Operation::Token, Refusal::NotSent(SendError::Late(_)), _) => told(
            "; it was connected to and never answered, as where the answer may travel one hop alone and the pod is a second one away",
            "hop limit",
            "aws ec2 modify-instance-metadata-options --instance-id <id> --http-put-response-hop-limit 2 (in node groups: HttpPutResponseHopLimit of the launch template), or run the pod on the host's network; better, give the pod a role of its own by IRSA (web_identity) or EKS Pod Identity (container)",
        ),
        (_, Refusal::NotSent(error), _) if !error.may_have_arrived() => told(
            "",
            "address",
            "is this an EC2 instance? Then a NetworkPolicy, or iptables on the node, keeps pods from the metadata service: allow 169.254.169.254 port 80 (IPv6: fd00:ec2::254), or give the pod a role of its own by IRSA (web_identity) or EKS Pod Identity (container)",
        ),
        (_, Refusal::Redirected { .. }, _) => told("", "metadata service", NOT_ONE),
        (_, _, Some(403)) => told(
            "; the metadata service is disabled",
            "metadata options",
            "aws ec2 modify-instance-metadata-options --instance-id <id> --http-endpoint enabled, or use another source",
        ),
        (Operation::Role | Operation::Credentials, _, Some(404)) => Told {
            cause: Cause::NotConfigured,
            ..told(
                "; no instance profile is attached",
                "instance profile",
                "aws ec2 associate-iam-instance-profile --instance-id <id> --iam-instance-profile Name=<profile>, or use another source",
            )
        },
        (Operation::Token, _, Some(400..=499)) => told("", "metadata service", NOT_ONE),
        _ => told("", "metadata service", "the metadata service has trouble: it is asked again"),
    }
}

/// A failure over a document that gives no credentials.
pub(super) fn unfit(agent: &Agent, role: &str, unfit: Unfit) -> Failure {
    match unfit {
        Unfit::Refused { code, message } if code == "AssumeRoleUnauthorizedAccess" => agent
            .fail(Cause::Denied, format!("EC2 may not assume the role {role}: {code}: {message}"))
            .advised(
                "instance profile",
                "the role's trust policy must allow sts:AssumeRole to the service ec2.amazonaws.com; where the role was deleted and made again, associate the instance profile again",
            ),
        Unfit::Refused { code, message } => agent
            .fail(Cause::Transient, format!("no credentials of the role {role}: {code}: {message}"))
            .advised("instance profile", "EC2 could not get credentials of the role: it tries again by itself"),
        Unfit::Garbled(why) => agent.fail(Cause::Transient, why).advised("metadata service", NOT_ONE),
        Unfit::Expired(end) => agent
            .fail(
                Cause::Transient,
                format!("degraded: the metadata service still hands out credentials of the role {role} that ended at {end}; they are not served"),
            )
            .advised(
                "metadata service",
                "EC2 could not renew the role's credentials in time (AWS's static stability; SDKs invent a later end for these, and AWS may refuse them); it heals when EC2 has new ones. If it lasts, is this machine's clock right?",
            ),
    }
}
