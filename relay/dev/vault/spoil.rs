//! What a fault makes of an answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::upstream::{HUGE, Verdict};
use super::Inner;
use super::answer::respond;
use super::faults::{Canned, FaultKind, Struck};
use super::ledger::Call;
use super::request::Asked;
use crate::clock::Timestamp;

/// What becomes of a request under the faults that strike it, and what the ledger says of it.
pub(super) fn answer(inner: &Inner, asked: &Asked, struck: &Struck) -> (Verdict, Call) {
    let now = inner.clock.now().wall;
    let first = struck.kinds.first();
    let mut call = Call {
        operation: asked.operation.clone(),
        method: asked.method.to_string(),
        path: asked.path.clone(),
        accessor: None,
        namespace: asked.namespace.clone(),
        status: None,
        fault: first.map(FaultKind::as_str).or((!struck.latency.is_zero()).then_some("latency")),
    };
    let verdict = match first.and_then(|kind| instead(kind, asked, now)) {
        Some(verdict) => verdict,
        None => {
            let (response, accessor) = perform(inner, asked, &struck.kinds, now);
            call.accessor = accessor;
            match first {
                Some(FaultKind::Lost) => Verdict::Hang,
                _ => Verdict::Send(Box::new(response)),
            }
        }
    };
    if let Verdict::Send(response) = &verdict {
        call.status = Some(response.status().as_u16());
    }
    (verdict, call)
}

/// What a fault does instead of performing what was asked; nothing if it is one that spoils the
/// answer.
fn instead(fault: &FaultKind, asked: &Asked, now: Timestamp) -> Option<Verdict> {
    let send = |response| Some(Verdict::Send(Box::new(response)));
    match fault {
        FaultKind::Hang => Some(Verdict::Hang),
        FaultKind::Close => Some(Verdict::Close),
        FaultKind::Garbage => send(respond(StatusCode::OK, Some("\u{fffd}}{ no JSON".into()), now)),
        FaultKind::Answer(answer) => send(canned(answer, now)),
        FaultKind::Redirect(address) => {
            let mut response = respond(StatusCode::TEMPORARY_REDIRECT, None, now);
            let location = format!("{address}{}", asked.target);
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(LOCATION, location);
            }
            send(response)
        }
        FaultKind::Latency(_)
        | FaultKind::Lost
        | FaultKind::Truncated
        | FaultKind::Huge
        | FaultKind::NoLease
        | FaultKind::NoTimes
        | FaultKind::Field(..) => None,
    }
}

fn canned(answer: &Canned, now: Timestamp) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, Some(answer.body.clone()), now);
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn perform(
    inner: &Inner,
    asked: &Asked,
    faults: &[FaultKind],
    now: Timestamp,
) -> (Response<Full<Bytes>>, Option<String>) {
    let (result, accessor) = inner.perform(asked);
    let response = match result {
        Err(refusal) => respond(refusal.status, Some(refusal.body().to_string()), now),
        Ok(reply) => {
            let body = reply.body.map(|mut body| {
                faults.iter().for_each(|fault| change(&mut body, fault));
                written(&body, faults)
            });
            respond(reply.status, body, now)
        }
    };
    (response, accessor)
}

/// The answer's fields as a fault leaves them.
fn change(body: &mut Value, fault: &FaultKind) {
    match fault {
        FaultKind::NoLease | FaultKind::NoTimes => {
            for (field, value) in
                [("lease_id", json!("")), ("lease_duration", json!(0)), ("renewable", json!(false))]
            {
                body[field] = value;
            }
            if let (FaultKind::NoTimes, Some(data)) = (fault, body["data"].as_object_mut()) {
                data.remove("ttl");
            }
        }
        FaultKind::Field(pointer, value) => set(body, pointer, value.clone()),
        _ => {}
    }
}

fn set(body: &mut Value, pointer: &str, value: Option<Value>) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    let Some(Value::Object(parent)) = body.pointer_mut(parent) else {
        return;
    };
    match value {
        Some(value) => drop(parent.insert(name.to_owned(), value)),
        None => drop(parent.remove(name)),
    }
}

fn written(body: &Value, faults: &[FaultKind]) -> String {
    let mut text = body.to_string();
    text.push('\n');
    match faults.first() {
        Some(FaultKind::Truncated) => text.truncate(text.floor_char_boundary(text.len() / 2)),
        Some(FaultKind::Huge) => text.extend(std::iter::repeat_n(' ', HUGE)),
        _ => {}
    }
    text
}
