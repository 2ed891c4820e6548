//! From a request to its answer: namespace, token, policy, and then the handler.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Inner;
use super::answer::{Refusal, Reply};
use super::ledger::Operation;
use super::request::Asked;
use super::state::State;
use super::tokens::Token;
use crate::clock::Moment;

/// The release that it speaks as.
const VERSION: &str = "1.21.0";

impl Inner {
    /// Performs a request; what comes of it, and the accessor of the token that it brought.
    pub(super) fn perform(&self, asked: &Asked) -> (Result<Reply, Refusal>, Option<String>) {
        let now = self.clock.now();
        let mut state = self.state();
        match asked.operation {
            Operation::Health => return (Ok(self.health(&state, now)), None),
            Operation::SealStatus => return (Ok(seal_status(&state)), None),
            _ if state.sealed => return (Err(Refusal::sealed()), None),
            _ if asked.path.is_empty() => return (Err(Refusal::not_found()), None),
            _ => state.sweep(now),
        }
        if let Err(refusal) = self.check_namespace(asked) {
            return (Err(refusal), None);
        }
        match asked.operation {
            Operation::Login if state.mounted(&asked.path) => {
                (self.login(&mut state, asked, now), None)
            }
            Operation::LookupWrapping => (self.lookup_wrapping(&state, asked), None),
            Operation::Unwrap => (self.unwrap(&mut state, asked), None),
            _ => {
                let id = asked.token.as_ref().filter(|id| !id.is_empty());
                let Some(id) = id else {
                    return (Err(Refusal::permission_denied()), None);
                };
                let Some(token) = state.tokens.spend(id) else {
                    return (Err(Refusal::invalid_token()), None);
                };
                let accessor = Some(token.accessor.clone()).filter(|accessor| !accessor.is_empty());
                (self.authorised(&mut state, asked, &token, now), accessor)
            }
        }
    }

    /// What a request with a good token gets. A token that is used up thereby is revoked after it.
    fn authorised(
        &self,
        state: &mut State,
        asked: &Asked,
        token: &Token,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        let denied = token.grant.denied.iter().any(|path| asked.path.starts_with(path.as_str()));
        let result =
            if denied { Err(Refusal::policy()) } else { self.handle(state, asked, token, now) };
        if !token.spent() {
            return result;
        }
        let leases = state.revoke(token.serial);
        self.end(&leases);
        match result {
            Ok(reply) if reply.leased() => Err(Refusal::bad_request(
                "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.",
            )),
            result => result,
        }
    }

    fn handle(
        &self,
        state: &mut State,
        asked: &Asked,
        token: &Token,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        match &asked.operation {
            Operation::LookupSelf => Ok(Self::lookup_self(token, now)),
            Operation::RenewSelf => self.renew_self(state, asked, token, now),
            Operation::RevokeSelf => self.revoke_self(state, asked, token),
            Operation::Creds(role) => self.creds(state, asked, role, token, now),
            Operation::StaticCreds(role) => self.static_creds(state, asked, role, now),
            Operation::RenewLease => self.renew_lease(state, asked, now),
            Operation::RevokeLease => self.revoke_lease(state, asked),
            _ => Err(self.nothing_there(state, &asked.path)),
        }
    }

    /// The 404 for a path that is not served: whether anything is mounted there tells which.
    fn nothing_there(&self, state: &State, path: &str) -> Refusal {
        let auth = state.logins.iter().map(|login| format!("auth/{}", login.mount));
        let mut mounts = auth.chain(["sys".to_owned(), "auth/token".to_owned()]);
        let below =
            |mount: &str| path.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'));
        if below(&self.settings.mount) || mounts.any(|mount| below(&mount)) {
            Refusal::unsupported_path()
        } else {
            Refusal::no_handler(path)
        }
    }

    /// Whether the request is made in the namespace that has what it asks for. Tokens and leases
    /// know theirs, so either will do for them.
    fn check_namespace(&self, asked: &Asked) -> Result<(), Refusal> {
        let namespaces = &self.settings.namespaces;
        let right: &[&Option<String>] = match asked.operation {
            Operation::Login => &[&namespaces.auth],
            Operation::Creds(_) | Operation::StaticCreds(_) => &[&namespaces.secrets],
            _ => &[&namespaces.auth, &namespaces.secrets],
        };
        let named = asked.namespace.as_deref().map(|name| name.trim_matches('/'));
        if right.iter().any(|right| right.is_none() || right.as_deref() == named) {
            return Ok(());
        }
        let full = match named {
            Some(name) => format!("{name}/{}", asked.path),
            None => asked.path.clone(),
        };
        Err(Refusal::no_handler(&full))
    }

    fn health(&self, state: &State, now: Moment) -> Reply {
        let status = if state.sealed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let enterprise = self.settings.namespaces != super::Namespaces::default();
        let body = json!({
            "initialized": true,
            "sealed": state.sealed,
            "standby": state.sealed,
            "performance_standby": false,
            "replication_performance_mode": "disabled",
            "replication_dr_mode": "disabled",
            "server_time_utc": now.wall.as_secs(),
            "version": VERSION,
            "enterprise": enterprise,
            "echo_duration_ms": 0,
            "clock_skew_ms": 0,
            "replication_primary_canary_age_ms": 0,
        });
        Reply::plain(status, body)
    }
}

fn seal_status(state: &State) -> Reply {
    let body: Value = json!({
        "type": "shamir",
        "initialized": true,
        "sealed": state.sealed,
        "t": 1,
        "n": 1,
        "progress": 0,
        "nonce": "",
        "version": VERSION,
        "build_date": "2025-10-21T17:00:00Z",
        "migration": false,
        "recovery_seal": false,
        "storage_type": "inmem",
    });
    Reply::plain(StatusCode::OK, body)
}
