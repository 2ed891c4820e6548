//! What a fault makes of an answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};

use super::super::upstream::{HUGE, Verdict};
use super::answer::{Answer, Refusal, Reply};
use super::faults::FaultKind;
use crate::clock::Timestamp;

/// What a fault does instead of performing what was asked, with its name; nothing if it is one
/// that spoils the answer.
pub(super) fn instead(fault: FaultKind, reply: &Reply) -> Option<(Verdict, &'static str)> {
    let send = |response| Verdict::Send(Box::new(response));
    let refuse = |refusal: &Refusal| send(reply.refusal(refusal));
    let verdict = match fault {
        FaultKind::Hang => Verdict::Hang,
        FaultKind::Close => Verdict::Close,
        FaultKind::Outage => send(reply.respond(
            StatusCode::SERVICE_UNAVAILABLE,
            "<html><body>upstream connect error or disconnect".to_owned(),
        )),
        FaultKind::Garbage => send(reply.respond(StatusCode::OK, "\u{fffd}}{ no XML".to_owned())),
        FaultKind::Throttle => refuse(&Refusal::bad_request("Throttling", "Rate exceeded")),
        FaultKind::AccessDenied => {
            refuse(&Refusal::forbidden("AccessDenied", "denied, as asked for by a fault"))
        }
        FaultKind::ExpiredToken => refuse(&Refusal::expired()),
        FaultKind::Latency(_)
        | FaultKind::Truncated
        | FaultKind::PastExpiration
        | FaultKind::NoExpiration
        | FaultKind::Huge => return None,
    };
    Some((verdict, fault.as_str()))
}

/// The answer as a fault leaves it.
pub(super) fn answer(
    mut answer: Answer,
    fault: Option<FaultKind>,
    reply: &Reply,
) -> Response<Full<Bytes>> {
    if let Some(granted) = answer.granted() {
        match fault {
            Some(FaultKind::NoExpiration) => granted.expiration = None,
            Some(FaultKind::PastExpiration) => {
                granted.expiration = Some(a_minute_before(reply.now));
            }
            _ => {}
        }
    }
    let mut body = reply.success(&answer);
    match fault {
        Some(FaultKind::Truncated) => body.truncate(body.floor_char_boundary(body.len() / 2)),
        Some(FaultKind::Huge) => body.extend(std::iter::repeat_n(' ', HUGE)),
        _ => {}
    }
    reply.respond(StatusCode::OK, body)
}

fn a_minute_before(now: Timestamp) -> Timestamp {
    Timestamp::from_secs(now.as_secs().saturating_sub(60))
}
