//! What an error of STS means for the relay, and what may be told of it.

use std::error::Error;
use std::time::Duration;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::credential::{Secret, scrub};
use crate::failure::Cause;
use crate::transport::SendError;

/// The class of an error and its text without secrets: none of `known`, and nothing of the
/// canonical request that SignatureDoesNotMatch quotes.
pub(crate) fn explain<'a, E>(
    error: &SdkError<E, HttpResponse>,
    known: impl IntoIterator<Item = &'a Secret>,
) -> (Cause, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (cause, text) = match error {
        SdkError::ServiceError(context) => {
            let said = context.err();
            let status = context.raw().status().as_u16();
            let cause = classify(said.code(), status, retry_after(context.raw()));
            let text = match said.code() {
                Some(code) => {
                    let message = said.message().unwrap_or_default();
                    let message = message.split("The Canonical String").next().unwrap_or_default();
                    format!("STS answered {status} {code}: {message}")
                }
                None => format!(
                    "the answer ({status}) is none of STS's; a proxy or load balancer may have answered in its place"
                ),
            };
            (cause, text)
        }
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            (Cause::Transient, format!("STS's answer ({status}) could not be read"))
        }
        SdkError::TimeoutError(_) => (Cause::Unreachable, "STS did not answer in time".to_owned()),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) => {
                let sent = connector.source().and_then(|error| error.downcast_ref::<SendError>());
                let tls = sent.is_some_and(SendError::is_tls);
                let why = sent.map_or_else(|| root_of(connector), SendError::to_string);
                let cause = if tls { Cause::Tls } else { Cause::Unreachable };
                (cause, format!("STS could not be reached: {why}"))
            }
            None => (Cause::Unreachable, "STS could not be reached".to_owned()),
        },
        other => (Cause::Internal, format!("the call could not be made: {}", root_of(other))),
    };
    (cause, scrub(&text, known))
}

/// upstreams section 6, by STS's error code first and the HTTP status where that says nothing.
fn classify(code: Option<&str>, status: u16, retry_after: Option<Duration>) -> Cause {
    match code.unwrap_or_default() {
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled" => Cause::Throttled { retry_after },
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "AuthFailure"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "InvalidIdentityToken" => Cause::StaleCaller,
        "AccessDenied"
        | "AccessDeniedException"
        | "NotAuthorized"
        | "OptInRequired"
        | "IDPRejectedClaim" => Cause::Denied,
        "ValidationError"
        | "MalformedPolicyDocument"
        | "PackedPolicyTooLarge"
        | "RegionDisabledException"
        | "InvalidParameterValue"
        | "InvalidParameterCombination"
        | "MissingParameter"
        | "InvalidAction" => Cause::Misconfigured,
        _ if status == 429 => Cause::Throttled { retry_after },
        // Without a code it is none of STS's answers: a proxy's page says nothing of the role.
        "" => Cause::Transient,
        _ if status == 403 => Cause::Denied,
        _ => Cause::Transient,
    }
}

/// The seconds of a Retry-After; its other form, a date, is not used by STS.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    response.headers().get("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// The innermost error's text: those around it say only that something failed.
fn root_of(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_table_holds() {
        let unnamed = Cause::Throttled { retry_after: None };
        for (code, status, cause) in [
            (Some("Throttling"), 400, unnamed),
            (None, 429, unnamed),
            (Some("ExpiredToken"), 403, Cause::StaleCaller),
            (Some("InvalidClientTokenId"), 403, Cause::StaleCaller),
            (Some("ExpiredTokenException"), 400, Cause::StaleCaller),
            (Some("InvalidIdentityToken"), 400, Cause::StaleCaller),
            (Some("AccessDenied"), 403, Cause::Denied),
            (Some("IDPRejectedClaim"), 403, Cause::Denied),
            (Some("ValidationError"), 400, Cause::Misconfigured),
            (Some("PackedPolicyTooLarge"), 400, Cause::Misconfigured),
            (Some("RegionDisabledException"), 403, Cause::Misconfigured),
            (Some("IDPCommunicationError"), 400, Cause::Transient),
            (Some("InternalFailure"), 500, Cause::Transient),
            (None, 503, Cause::Transient),
            (None, 403, Cause::Transient),
            (Some("SomethingNew"), 403, Cause::Denied),
        ] {
            assert_eq!(classify(code, status, None), cause, "{code:?} {status}");
        }
    }
}
