//! What Roles Anywhere's refusals mean (upstreams section 6), and what would be right.

use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Response};
use serde::Deserialize;

use super::fail;
use crate::credential::scrub;
use crate::failure::{Cause, Failure};
use crate::sources::headers::retry_after;
use crate::transport::SendError;

/// An error's body; each of AWS's front ends writes it in its own way.
#[derive(Default, Deserialize)]
struct Body {
    #[serde(default, rename = "__type", alias = "code", alias = "Code")]
    kind: Option<String>,
    #[serde(default, alias = "Message")]
    message: Option<String>,
}

/// What is told of a refusal beyond its code.
struct Kind {
    /// What its message says, in small letters.
    says: &'static [&'static str],
    cause: Cause,
    layer: &'static str,
    fix: &'static str,
}

/// Refusals that are told apart by their words. AWS documents its codes alone, so whatever has
/// other words falls to its code.
const KINDS: &[Kind] = &[
    Kind {
        says: &["untrusted", "insufficient certificate"],
        cause: Cause::Denied,
        layer: "trust anchor",
        fix: "let the trust anchor hold the CA that signed the certificate, and roles_anywhere.certificate the intermediates after the certificate; the certificate must be X.509 version 3, CA:FALSE, with the key usage digitalSignature and a signature by SHA-256 or better (openssl x509 -text shows it)",
    },
    Kind {
        says: &["expired certificate", "certificate is expired", "certificate has expired"],
        cause: Cause::StaleCaller,
        layer: "certificate",
        fix: "renew the certificate, or an intermediate after it that has expired",
    },
    Kind {
        says: &["revoked"],
        cause: Cause::Denied,
        layer: "certificate",
        fix: "have a new certificate issued: the trust anchor's revocation list (CRL) has this one",
    },
    Kind {
        says: &["signature expired", "request expired", "request has expired", "not yet current"],
        cause: Cause::StaleCaller,
        layer: "clock",
        fix: "set this machine's clock: a signature is good for some minutes",
    },
    Kind {
        says: &["signature"],
        cause: Cause::StaleCaller,
        layer: "signature",
        fix: "is this machine's clock right, and does a proxy change headers or the path? The key was found to be the certificate's",
    },
    Kind {
        says: &["session tags", "source identity", "sourceidentity"],
        cause: Cause::Denied,
        layer: "certificate",
        fix: "let the profile's attribute mappings name fields that the certificate has, with values that session tags allow (aws rolesanywhere put-attribute-mapping, delete-attribute-mapping), and let the role's trust policy allow sts:TagSession and sts:SetSourceIdentity",
    },
    Kind {
        says: &["session name"],
        cause: Cause::Misconfigured,
        layer: "profile",
        fix: "leave roles_anywhere.session_name away, or let the profile take one: aws rolesanywhere update-profile --profile-id <id> --accept-role-session-name",
    },
    Kind {
        says: &["disabled", "not enabled", "not active"],
        cause: Cause::Denied,
        layer: "profile",
        fix: "enable both: aws rolesanywhere enable-profile --profile-id <id>, aws rolesanywhere enable-trust-anchor --trust-anchor-id <id>",
    },
    Kind {
        says: &["assume role", "assumerole", "role"],
        cause: Cause::Denied,
        layer: "role",
        fix: "let the role's trust policy allow rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity, under conditions that this certificate and trust anchor meet, and let the profile's role ARNs list the role",
    },
];

/// An answer that is a refusal.
pub(super) fn refused(answer: &Response<Bytes>, endpoint: &str) -> Failure {
    let status = answer.status().as_u16();
    let body: Option<Body> = serde_json::from_slice(answer.body()).ok();
    let body = body.unwrap_or_default();
    let Some(code) = code(answer.headers(), &body) else {
        let cause = match status {
            429 => Cause::Throttled { retry_after: retry_after(answer.headers()) },
            _ => Cause::Transient,
        };
        let reason = format!("the answer ({status}) of {endpoint} is none of Roles Anywhere's");
        return fail(cause, reason).advised(
            "endpoint",
            "a proxy or load balancer answers in its place: correct roles_anywhere.endpoint, or let the proxy pass rolesanywhere.<region>.amazonaws.com",
        );
    };
    let said = body.message.unwrap_or_default();
    let reason = scrub(&format!("Roles Anywhere answered {status} {code}: {said}"), []);
    let (cause, layer, fix) =
        classify(&code, status, &said.to_lowercase(), retry_after(answer.headers()));
    fail(cause, reason).advised(layer, fix)
}

fn classify(
    code: &str,
    status: u16,
    said: &str,
    retry_after: Option<Duration>,
) -> (Cause, &'static str, &'static str) {
    let kind = || KINDS.iter().find(|kind| kind.says.iter().any(|words| said.contains(words)));
    let known = |kind: &Kind| (kind.cause, kind.layer, kind.fix);
    match code {
        "ThrottlingException" | "TooManyRequestsException" | "Throttling" => {
            (Cause::Throttled { retry_after }, "quota", THROTTLED)
        }
        "ResourceNotFoundException" => (Cause::Misconfigured, "ARN", NOT_FOUND),
        "ValidationException" => {
            let found = kind().filter(|kind| kind.layer == "profile");
            found.map_or((Cause::Misconfigured, "request", INVALID), known)
        }
        _ if status == 429 => (Cause::Throttled { retry_after }, "quota", THROTTLED),
        _ if status >= 500 => (Cause::Transient, "Roles Anywhere", TROUBLE),
        _ if status == 401 || status == 403 => {
            kind().map_or((Cause::Denied, "trust", DENIED), known)
        }
        _ => (Cause::Transient, "Roles Anywhere", TROUBLE),
    }
}

const THROTTLED: &str = "ask less: longer durations, fewer relays, or a higher quota of CreateSession calls for the account and region";
const NOT_FOUND: &str = "correct trust_anchor_arn and profile_arn: both must exist, in the region that is asked (roles_anywhere.region, else the trust anchor's)";
const INVALID: &str = "correct what the message names: the ARNs, the duration (the profile and the role each set a longest one), the session name";
const TROUBLE: &str = "wait: AWS has trouble, or something between answers in its place";
const DENIED: &str = "look at the trust anchor (enabled, with the CA that signed the certificate), at the profile (enabled, with the role in its list) and at the role's trust policy (rolesanywhere.amazonaws.com, sts:AssumeRole, sts:TagSession, sts:SetSourceIdentity)";

/// The error's code: from its header, else from its body, without what follows a colon or comes
/// before a hash sign.
fn code(headers: &HeaderMap, body: &Body) -> Option<String> {
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let code = header.or(body.kind.as_deref())?;
    let code = code.split(':').next()?.rsplit('#').next()?.trim();
    (!code.is_empty()).then(|| code.to_owned())
}

/// No whole answer came.
pub(super) fn unsent(error: &SendError, endpoint: &str) -> Failure {
    let (cause, layer, fix) = if error.is_tls() {
        (
            Cause::Tls,
            "TLS",
            "set roles_anywhere.ca_cert to the CA of the proxy that looks into TLS, or of your own endpoint",
        )
    } else {
        (
            Cause::Unreachable,
            "address",
            "let the pod reach it: DNS, NetworkPolicy, HTTPS_PROXY and NO_PROXY; with a VPC endpoint set roles_anywhere.endpoint. Is the region right?",
        )
    };
    let reason = format!("Roles Anywhere at {endpoint} could not be reached: {error}");
    fail(cause, scrub(&reason, [])).advised(layer, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Advice;

    fn answer(status: u16, kind: Option<&str>, body: &str) -> Failure {
        let mut answer = Response::builder().status(status).header("retry-after", "7");
        if let Some(kind) = kind {
            answer = answer.header("x-amzn-errortype", kind);
        }
        refused(&answer.body(Bytes::from(body.to_owned())).unwrap(), "https://example")
    }

    #[test]
    fn the_failure_table_holds() {
        let asked = Cause::Throttled { retry_after: Some(Duration::from_secs(7)) };
        for (status, code, said, cause, layer) in [
            (
                403,
                "AccessDeniedException",
                "Untrusted Signing Certificate",
                Cause::Denied,
                "trust anchor",
            ),
            (
                403,
                "AccessDeniedException",
                "Untrusted certificate. Insufficient certificate",
                Cause::Denied,
                "trust anchor",
            ),
            (
                403,
                "AccessDeniedException",
                "Unable to assume role for arn:aws:iam::1:role/a",
                Cause::Denied,
                "role",
            ),
            (
                403,
                "AccessDeniedException",
                "Unable to assume role for arn:aws:iam::1:role/a. Some attributes failed to be mapped into session tags.",
                Cause::Denied,
                "certificate",
            ),
            (403, "AccessDeniedException", "Profile is disabled", Cause::Denied, "profile"),
            (403, "AccessDeniedException", "Certificate is revoked", Cause::Denied, "certificate"),
            (
                403,
                "AccessDeniedException",
                "Expired certificate",
                Cause::StaleCaller,
                "certificate",
            ),
            (403, "AccessDeniedException", "Signature expired: 2026", Cause::StaleCaller, "clock"),
            (403, "AccessDeniedException", "Incorrect signature", Cause::StaleCaller, "signature"),
            (403, "AccessDeniedException", "no", Cause::Denied, "trust"),
            (
                400,
                "ValidationException",
                "Custom role session name is not enabled",
                Cause::Misconfigured,
                "profile",
            ),
            (
                400,
                "ValidationException",
                "1 validation error detected",
                Cause::Misconfigured,
                "request",
            ),
            (404, "ResourceNotFoundException", "no such profile", Cause::Misconfigured, "ARN"),
            (429, "ThrottlingException", "Rate exceeded", asked, "quota"),
            (400, "ThrottlingException", "Rate exceeded", asked, "quota"),
            (500, "InternalServerException", "role", Cause::Transient, "Roles Anywhere"),
        ] {
            let body = format!(r#"{{"message":"{said}"}}"#);
            for failure in [
                answer(status, Some(&format!("{code}:http://internal.amazon.com/")), &body),
                answer(status, None, &format!(r#"{{"__type":"com#{code}","Message":"{said}"}}"#)),
            ] {
                assert_eq!(failure.cause, cause, "{failure}");
                assert!(
                    matches!(failure.advice, Advice::Known { layer: found, .. } if found == layer),
                    "{failure:?}"
                );
                assert!(
                    failure.reason.contains(code) && failure.reason.contains(said),
                    "{failure}"
                );
            }
        }
    }

    #[test]
    fn a_page_of_something_between_says_nothing_of_the_role() {
        for (status, cause) in [
            (403, Cause::Transient),
            (302, Cause::Transient),
            (503, Cause::Transient),
            (429, Cause::Throttled { retry_after: Some(Duration::from_secs(7)) }),
        ] {
            let failure = answer(status, None, "<html>role</html>");
            assert_eq!(failure.cause, cause);
            assert!(!failure.reason.contains("html"), "{failure}");
        }
    }
}
