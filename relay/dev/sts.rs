//! An STS of the relay's own: it issues short-lived sessions, checks signatures, and refuses what
//! the real one refuses. Policies are not evaluated: a role trusts every caller that is known, and
//! every web identity, unless it is set up with an external id. The signatures of web identities'
//! tokens are not checked.

mod answer;
mod faults;
mod issue;
mod keys;
mod ledger;
mod query;
mod request;
mod sigv4;
mod spoil;
mod users;
mod web_identity;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode};
use ring::rand::SystemRandom;

use super::upstream::Verdict;
use answer::{Answer, Reply};
use keys::{Caller, Sessions};
use sigv4::{Authorization, Signed};
use users::Users;

use crate::arn::{AccountId, RoleArn};
use crate::clock::Clock;
use crate::credential::{AccessKeyId, Secret};

use crate::listener;
pub use crate::listener::Closed;
pub(in crate::dev) use answer::Refusal;
pub use faults::{Fault, FaultError, FaultKind, Faults, Reach};
pub use ledger::{Action, Assumption, Call, Ledger, Outcome};
pub(in crate::dev) use query::Form;
pub use users::Propagation;
pub(in crate::dev) use users::{NewSession, UserKeys};

/// The longest request body that is read: 50 tags and a policy take less than 50 kB when encoded.
const LONGEST_BODY: usize = 128 * 1024;

/// The API version that is spoken.
const VERSION: &str = "2011-06-15";

/// The account, its user and the roles of the upstream.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account of the user.
    pub account: AccountId,
    /// The one user, whose keys start every chain.
    pub user: User,
    /// How long what is issued lives.
    pub lifetime: IssuedLifetime,
    /// The regions in which it is.
    pub regions: Regions,
    /// The roles that want an external id, with it.
    pub external_ids: HashMap<RoleArn, String>,
}

/// An IAM user with long-lived keys. It is no root user: that one may not assume roles.
#[derive(Clone, Debug)]
pub struct User {
    /// The name in its ARN.
    pub name: String,
    /// The public half of its keys.
    pub access_key_id: AccessKeyId,
    /// The secret half.
    pub secret_access_key: Secret,
}

/// How long an issued session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedLifetime {
    /// As long as was asked for.
    AsAsked,
    /// This long, or as long as was asked for if that is less: STS's shortest is 15 min, which is
    /// too long to wait for a rotation.
    AtMost(Duration),
}

/// Regions that a signature may be scoped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regions {
    /// Whatever region a client is set to.
    Any,
    /// These alone.
    Only(Vec<String>),
}

impl Regions {
    fn contains(&self, region: &str) -> bool {
        match self {
            Self::Any => !region.is_empty(),
            Self::Only(regions) => regions.iter().any(|known| known == region),
        }
    }
}

/// The upstream; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Clock,
    random: SystemRandom,
    users: Mutex<Users>,
    sessions: Mutex<Sessions>,
    faults: Faults,
    ledger: Ledger,
}

impl Sts {
    /// An upstream without sessions and faults.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let users = Users::with(&settings.user);
        Self(Arc::new(Inner {
            settings,
            clock,
            random: SystemRandom::new(),
            users: Mutex::new(users),
            sessions: Mutex::default(),
            faults: Faults::default(),
            ledger: Ledger::default(),
        }))
    }

    /// Its faults, to be changed while it runs.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// What it was asked so far.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`Closed`] if a fault wants the connection to be closed without an answer.
    pub async fn respond<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Closed>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let asked = Asked::read(request).await;
        let (latency, fault) = self.0.faults.draw();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let reply = Reply::new(self.0.clock.now().wall);
        let (verdict, outcome) = match fault.and_then(|fault| spoil::instead(fault, &reply)) {
            Some((verdict, name)) => (verdict, Outcome::Faulted(name)),
            None => self.0.judge(&asked, fault, &reply),
        };
        self.0.ledger.record(Call {
            action: asked.as_ref().map_or(Action::Other, |asked| asked.action),
            access_key_id: asked.as_ref().ok().and_then(Asked::claimed_key_id),
            outcome,
        });
        verdict.carry_out().await
    }
}

impl listener::Answer for Sts {
    fn answer(&self, request: Request<Incoming>, _: listener::Peer) -> listener::Answered {
        let sts = self.clone();
        listener::Answered::Later(Box::pin(async move { sts.respond(request).await }))
    }
}

/// A request that was read whole.
struct Asked {
    action: Action,
    form: Form,
    signed: Signed,
}

impl Asked {
    async fn read<B>(request: Request<B>) -> Result<Self, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, LONGEST_BODY)
            .collect()
            .await
            .map_err(|_| malformed("the body ends early, or is over 128 KiB"))?
            .to_bytes();
        if head.uri.path() != "/" {
            let message = format!("nothing is served at {}", head.uri.path());
            return Err(Refusal::new(StatusCode::NOT_FOUND, "InvalidAction", message));
        }
        let broken = || malformed("the parameters are not a form in UTF-8");
        let mut form = Form::default();
        form.read(head.uri.query().unwrap_or_default()).map_err(|_| broken())?;
        let query = form.canonical();
        let text = std::str::from_utf8(&body).map_err(|_| broken())?;
        form.read(text).map_err(|_| broken())?;
        Ok(Self {
            action: Action::named(form.get("Action").unwrap_or_default()),
            form,
            signed: Signed { head, query, body },
        })
    }

    fn claimed_key_id(&self) -> Option<String> {
        let authorization = Authorization::parse(&self.signed.head.headers).ok()?;
        Some(authorization.key_id.to_owned())
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::bad_request("MalformedInput", message)
}

impl Inner {
    fn judge(
        &self,
        asked: &Result<Asked, Refusal>,
        fault: Option<FaultKind>,
        reply: &Reply,
    ) -> (Verdict, Outcome) {
        let judged = match asked {
            Ok(asked) => self.perform(asked),
            Err(refusal) => Err(refusal.clone()),
        };
        let (response, outcome) = match judged {
            Ok((answer, outcome)) => (spoil::answer(answer, fault, reply), outcome),
            Err(refusal) => (reply.refusal(&refusal), Outcome::Refused(refusal.code)),
        };
        (Verdict::Send(Box::new(response)), outcome)
    }

    fn perform(&self, asked: &Asked) -> Result<(Answer, Outcome), Refusal> {
        let version = asked.form.get("Version").unwrap_or("NO_VERSION_SPECIFIED");
        if asked.action == Action::Other || version != VERSION {
            let name = asked.form.get("Action").unwrap_or_default();
            return Err(Refusal::bad_request(
                "InvalidAction",
                format!("Could not find operation {name} for version {version}"),
            ));
        }
        if asked.action == Action::AssumeRoleWithWebIdentity {
            return self.assume_role_with_web_identity(&asked.form);
        }
        let caller = self.authenticate(&asked.signed)?;
        match asked.action {
            Action::AssumeRole => self.assume_role(&asked.form, &caller),
            Action::GetSessionToken => self.get_session_token(&asked.form, &caller),
            Action::AssumeRoleWithWebIdentity | Action::GetCallerIdentity | Action::Other => {
                Ok(self.get_caller_identity(&caller))
            }
        }
    }

    fn authenticate(&self, signed: &Signed) -> Result<Caller, Refusal> {
        let now = self.clock.now();
        let authorization = Authorization::parse(&signed.head.headers)?;
        let token = signed.head.headers.get(sigv4::TOKEN).map(HeaderValue::as_bytes);
        let user = self.users().find(authorization.key_id, now);
        let (caller, secret) = match (user, token) {
            (Some(user), None) => user,
            (Some(_), Some(_)) => return Err(Refusal::invalid_token()),
            (None, _) => self.sessions().find(authorization.key_id, token, now)?,
        };
        if let Caller::User { name, session: true } = &caller
            && !self.users().has(name, now)
        {
            return Err(Refusal::invalid_token());
        }
        authorization.verify(signed, &secret, &self.settings.regions, now)?;
        Ok(caller)
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
