//! Decisions as HTTP answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::answer::{Decision, Refusal};

const WANTED_TOKEN: &str = "an Authorization header with the profile's access token is wanted; SDKs send it when AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names the token's file, which the relay's setting access.token_file gives; those that are too old for it read the token itself from AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The answer that tells a decision.
pub(super) fn render(decision: &Decision<'_>) -> Response<Full<Bytes>> {
    match decision {
        Decision::Issue(served) => json(StatusCode::OK, served.body()),
        Decision::Refuse(refusal) => refuse(refusal),
    }
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Go and Kotlin compare the whole value: no charset.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error in both casings: Go and Java read the lower one, Kotlin and JavaScript the capitals.
#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(rename = "Code")]
    capital_code: &'a str,
    #[serde(rename = "Message")]
    capital_message: &'a str,
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    // A flat struct of strings has nothing that JSON cannot hold: see credential::document.
    let body = serde_json::to_vec(&Problem {
        code,
        message,
        capital_code: code,
        capital_message: message,
    });
    json(status, body.map(Bytes::from).unwrap_or_default())
}

fn with(
    mut response: Response<Full<Bytes>>,
    name: HeaderName,
    value: &'static str,
) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

fn refuse(refusal: &Refusal<'_>) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::Host => problem(
            StatusCode::FORBIDDEN,
            "HostNotAllowed",
            "the request's Host is not one of this endpoint's names: 127.0.0.1, localhost, [::1] or one of the relay's setting endpoint.hosts",
        ),
        Refusal::Forwarded => problem(
            StatusCode::FORBIDDEN,
            "ForwardedRequest",
            "the request came through a proxy (it has Forwarded, Via, X-Forwarded-For or X-Forwarded-Host): add 127.0.0.1 and localhost to NO_PROXY and no_proxy",
        ),
        Refusal::Path => problem(
            StatusCode::NOT_FOUND,
            "NotFound",
            "credentials are served at /v1/credentials and /v1/credentials/<profile>",
        ),
        Refusal::Method => with(
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "credentials are read with GET",
            ),
            ALLOW,
            "GET",
        ),
        Refusal::NoToken => unauthorized("no access token was sent"),
        Refusal::SeveralTokens => unauthorized("more than one Authorization header was sent"),
        Refusal::WrongToken(_) => unauthorized("the access token that was sent does not fit"),
        Refusal::Profile => {
            problem(StatusCode::NOT_FOUND, "UnknownProfile", "there is no profile of that name")
        }
        Refusal::Ambiguous => problem(
            StatusCode::NOT_FOUND,
            "UnknownProfile",
            "the access token belongs to several profiles: ask for /v1/credentials/<profile>",
        ),
        Refusal::Pending => {
            later("CredentialsUninitialized", "the first credentials have not arrived yet")
        }
        Refusal::Expired => later(
            "CredentialsUnavailable",
            "the last credentials have expired, and their renewal is under way",
        ),
        Refusal::Unavailable(failure) => later("CredentialsUnavailable", &failure.to_string()),
        Refusal::Denied(failure) => {
            problem(StatusCode::FORBIDDEN, "AccessDenied", &failure.to_string())
        }
    }
}

fn unauthorized(what: &str) -> Response<Full<Bytes>> {
    with(
        problem(StatusCode::UNAUTHORIZED, "InvalidAccessToken", &format!("{what}: {WANTED_TOKEN}")),
        WWW_AUTHENTICATE,
        "Bearer",
    )
}

/// An answer to ask again, in a second: the request was held for most of one already.
fn later(code: &str, message: &str) -> Response<Full<Bytes>> {
    with(problem(StatusCode::SERVICE_UNAVAILABLE, code, message), RETRY_AFTER, "1")
}
