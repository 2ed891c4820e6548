//! What would be right where AssumeRoleWithWebIdentity is refused, by what STS says.

use crate::failure::Cause;

/// What failed: the text in the file.
pub(super) const TOKEN: &str = "web identity token";
const PROVIDER: &str = "OIDC provider";
const TRUST: &str = "trust policy";
const ROLE: &str = "role";
const POLICY: &str = "session policy";

/// A file without a token.
pub(super) const FILE: &str = "let the relay's own container mount the token there, readable for its user (securityContext.fsGroup): on EKS by the \
     annotation eks.amazonaws.com/role-arn of the pod's service account, elsewhere by a projected serviceAccountToken with \
     the audience sts.amazonaws.com";

/// What STS says, and what to do about it. The first row that fits counts.
struct Row {
    says: &'static str,
    layer: &'static str,
    fix: &'static str,
}

/// STS has one code for several mistakes, so its words are looked at; each code has a row for words
/// that are not known here.
const ROWS: &[Row] = &[
    Row {
        says: "No OpenIDConnect provider found",
        layer: PROVIDER,
        fix: "register the token's issuer as an IAM OIDC provider in the role's own account, by the same URL to the letter \
              (aws iam create-open-id-connect-provider); is it the role of another account?",
    },
    Row {
        says: "audience",
        layer: TOKEN,
        fix: "give the token an audience that the IAM OIDC provider has among its client ids, as a rule sts.amazonaws.com \
              (audience of the projected serviceAccountToken; on EKS the annotation eks.amazonaws.com/audience), or add its \
              own there (aws iam add-client-id-to-open-id-connect-provider)",
    },
    Row {
        says: "verification key",
        layer: PROVIDER,
        fix: "let AWS read the issuer's /.well-known/openid-configuration and the keys that it names, by https from the \
              internet; do the keys there have the one (kid) that signs tokens now?",
    },
    Row {
        says: "thumbprint",
        layer: PROVIDER,
        fix: "the issuer's https has another CA than the IAM OIDC provider was told of: renew its thumbprints (aws iam \
              update-open-id-connect-provider-thumbprint)",
    },
    Row {
        says: "IDPCommunicationError",
        layer: PROVIDER,
        fix: "AWS could not ask the issuer for its keys: let its /.well-known/openid-configuration and the keys that it names \
              be reached by https from the internet; the relay tries again",
    },
    Row {
        says: "IDPRejectedClaim",
        layer: PROVIDER,
        fix: "the issuer says that the token is not good any more: let whoever writes the file write a new one",
    },
    Row {
        says: "ExpiredTokenException",
        layer: TOKEN,
        fix: "let whoever writes the file write a new token before the one in it ends: the kubelet does so for a projected \
              serviceAccountToken, but never where it is mounted by subPath or was copied; is this machine's clock right?",
    },
    Row {
        says: "InvalidIdentityToken",
        layer: TOKEN,
        fix: "the file must hold a JWT that an issuer signed which is an IAM OIDC provider in the role's account: compare its \
              issuer, audience and end with that provider",
    },
    Row {
        says: "explicit deny",
        layer: "AWS Organizations",
        fix: "a service or resource control policy of the account denies it: let it allow sts:AssumeRoleWithWebIdentity there",
    },
    Row {
        says: "MaxSessionDuration",
        layer: ROLE,
        fix: "lower source.web_identity.duration to what the role allows (1h unless it was raised), or raise the role's maximum \
              (aws iam update-role --max-session-duration)",
    },
    Row {
        says: "ARN is invalid",
        layer: ROLE,
        fix: "correct source.web_identity.role_arn (AWS_ROLE_ARN)",
    },
    Row {
        says: "PackedPolicyTooLarge",
        layer: POLICY,
        fix: "shorten source.web_identity.policy, or name fewer policy_arns",
    },
    Row {
        says: "MalformedPolicyDocument",
        layer: POLICY,
        fix: "correct source.web_identity.policy: IAM does not understand it",
    },
    Row {
        says: "RegionDisabledException",
        layer: "region",
        fix: "let an administrator activate STS for the region in the role's account, or ask another one by \
              source.web_identity.region (sts.region, AWS_REGION)",
    },
];

const DENIED: &str = "the role must exist, and its trust policy must allow sts:AssumeRoleWithWebIdentity to Federated \
     arn:<partition>:iam::<account>:oidc-provider/<issuer without https://>, with conditions that are the token's own to the \
     letter: <issuer>:aud sts.amazonaws.com, <issuer>:sub system:serviceaccount:<namespace>:<service account>";

/// Where to look and what to do, if more is known than the cause.
pub(super) fn on(cause: Cause, reason: &str) -> Option<(&'static str, &'static str)> {
    match cause {
        Cause::StaleCaller | Cause::Denied | Cause::Misconfigured | Cause::Transient => {
            let row = ROWS.iter().find(|row| reason.contains(row.says));
            let unknown = (cause == Cause::Denied).then_some((TRUST, DENIED));
            row.map(|row| (row.layer, row.fix)).or(unknown)
        }
        Cause::Unreachable
        | Cause::Tls
        | Cause::Throttled { .. }
        | Cause::NotConfigured
        | Cause::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_where_to_look() {
        for (cause, said, layer) in [
            (
                Cause::StaleCaller,
                "400 InvalidIdentityToken: No OpenIDConnect provider found in your account for https://a",
                PROVIDER,
            ),
            (Cause::StaleCaller, "400 InvalidIdentityToken: Incorrect token audience", TOKEN),
            (
                Cause::StaleCaller,
                "400 InvalidIdentityToken: Couldn't retrieve verification key from your identity provider",
                PROVIDER,
            ),
            (Cause::StaleCaller, "400 InvalidIdentityToken: something new", TOKEN),
            (Cause::StaleCaller, "400 ExpiredTokenException: Token expired: current", TOKEN),
            (Cause::Transient, "400 IDPCommunicationError: Failed", PROVIDER),
            (Cause::Denied, "403 IDPRejectedClaim: revoked", PROVIDER),
            (
                Cause::Denied,
                "403 AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
                TRUST,
            ),
            (
                Cause::Denied,
                "403 AccessDenied: with an explicit deny in a service control policy",
                "AWS Organizations",
            ),
            (
                Cause::Misconfigured,
                "400 ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
                ROLE,
            ),
        ] {
            let (found, fix) = on(cause, said).unwrap();
            assert_eq!(found, layer, "{said}");
            assert!(!fix.contains("  "), "{fix}");
        }
        assert_eq!(on(Cause::Unreachable, "no name for the audience"), None);
        assert_eq!(on(Cause::Transient, "STS answered 500 InternalFailure: "), None);
        assert_eq!(on(Cause::Misconfigured, "400 ValidationError: new"), None);
    }
}
