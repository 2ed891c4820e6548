//! Response wrapping, as far as approle's secret ids need it.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::upstream::draw;
use super::Inner;
use super::answer::{Refusal, Reply, precise};
use super::request::Asked;
use super::settings::TokenKind;
use super::state::State;
use crate::clock::Moment;
use crate::credential::Secret;

/// A secret id that waits to be unwrapped.
#[derive(Debug)]
pub(super) struct Wrapped {
    token: Secret,
    creation_path: String,
    created: Moment,
    ttl: Duration,
    pub(super) ends: Moment,
    secret_id: Secret,
}

impl Inner {
    pub(super) fn wrap(&self, path: &str, secret_id: &Secret, ttl: Duration) -> Option<Secret> {
        let token = self.token_id(TokenKind::Service)?;
        let now = self.clock.now();
        self.state().wrapped.push(Wrapped {
            token: token.clone(),
            creation_path: path.to_owned(),
            created: now,
            ttl,
            ends: now + ttl,
            secret_id: secret_id.clone(),
        });
        Some(token)
    }

    /// `sys/wrapping/lookup`, which any holder of the wrapping token may ask as often as it likes.
    pub(super) fn lookup_wrapping(&self, state: &State, asked: &Asked) -> Result<Reply, Refusal> {
        let wrapped = &state.wrapped[position(state, asked)?];
        let data = json!({
            "creation_path": wrapped.creation_path,
            "creation_time": precise(wrapped.created.wall),
            "creation_ttl": wrapped.ttl.as_secs(),
        });
        Ok(Reply::of("", data))
    }

    /// `sys/wrapping/unwrap`, once.
    pub(super) fn unwrap(&self, state: &mut State, asked: &Asked) -> Result<Reply, Refusal> {
        let at = position(state, asked)?;
        let wrapped = state.wrapped.remove(at);
        let data: Value = json!({
            "secret_id": wrapped.secret_id.expose(),
            "secret_id_accessor": self.uuid().ok_or_else(Refusal::internal)?.expose(),
            "secret_id_num_uses": 0,
            "secret_id_ttl": 0,
        });
        Ok(Reply::of("approle", data))
    }

    /// An id as approle draws them.
    pub(super) fn uuid(&self) -> Option<Secret> {
        let hex = draw(&self.random, b"0123456789abcdef", 32)?;
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Some(Secret::new(parts.join("-")))
    }
}

/// Which of the wrapped is meant: by the token in the body, or else by the request's own.
fn position(state: &State, asked: &Asked) -> Result<usize, Refusal> {
    let parameters = asked.parameters.as_ref().map_err(Clone::clone)?;
    let own = || asked.token.as_ref().map(Secret::expose).unwrap_or_default();
    let token = Some(parameters.text("token")).filter(|token| !token.is_empty());
    let token = token.unwrap_or_else(own);
    if token.is_empty() {
        let text = "error validating wrapping token: token is empty";
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    state
        .wrapped
        .iter()
        .position(|wrapped| wrapped.token.matches(token.as_bytes()))
        .ok_or_else(|| Refusal::bad_request("wrapping token is not valid or does not exist"))
}
