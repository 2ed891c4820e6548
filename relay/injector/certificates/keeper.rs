//! The loop that looks at the cluster, serves what it finds, and writes what was decided.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Status;
use super::decide::{self, Bundle, Edit, Id, Plan, Serve, State, Write};
use super::lead::Candidate;
use super::material::{Material, Serving, Wanted};
use super::objects::{NewSecret, SecretObject, SecretPatch, TYPE, Webhooks};
use crate::clock::{Clock, Moment, Timestamp};
use crate::config::injector::SelfManaged;
use crate::kubernetes::{Error, Kubernetes, Object, Patch};
use crate::listener::tls::Current;
use crate::schedule::Draw;

/// A look reads two objects. Where all is well it is made this often, or half as often by chance.
const POLL: Duration = Duration::from_secs(10);

/// The API servers of a cluster learn of a new caBundle within a second or so; whoever has their
/// connection to etcd cut off learns of it later.
const SETTLE: Duration = Duration::from_secs(300);

/// Until another replica has done what must be done.
const SOON: Duration = Duration::from_secs(1);

/// No two looks are closer than this, whoever asks for them.
const CLOSEST: Duration = Duration::from_millis(100);

/// Of looks because a client does not trust what it was shown.
const CLOSEST_BY_DISTRUST: Duration = Duration::from_secs(1);

/// A certificate begins this long before it was made.
const CLOCKS_APART: Duration = Duration::from_secs(300);

/// The steps from nothing to a certificate that is trusted are fewer.
const MOST_WRITES: u32 = 6;

const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// What keeps the certificates of one replica.
pub(super) struct Keeper {
    settings: SelfManaged,
    wanted: Wanted,
    clock: Clock,
    kubernetes: Kubernetes,
    candidate: Candidate,
    current: Current,
    status: watch::Sender<Status>,
    held: Option<Serving>,
    /// Since when this CA, the newest, has been in the caBundle.
    trusted_since: Option<(Id, Moment)>,
    draw: Draw,
    told: Told,
    failures: u32,
    /// Writes without a look in between that found all well.
    writes: u32,
}

/// What was logged last, so that a state that lasts is logged once.
#[derive(Default)]
struct Told {
    trouble: Option<String>,
    rubbish: Option<String>,
    clocks: bool,
}

/// When to look again.
enum Next {
    /// Something was written: what follows from it is to be seen.
    Now,
    /// Another one is at work, or was faster.
    Soon,
    /// All is well.
    Later,
}

/// Why a look came to nothing.
enum Trouble {
    Asking(Error),
    /// Only a person can heal it.
    Standing(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Asking(error)
    }
}

/// What a look found.
struct Found {
    webhooks: Option<Webhooks>,
    secret: Option<SecretObject>,
    material: Material,
}

impl Keeper {
    pub(super) fn new(
        settings: SelfManaged,
        name: String,
        kubernetes: Kubernetes,
        clock: Clock,
        current: Current,
        status: watch::Sender<Status>,
    ) -> Self {
        let wanted = Wanted::of(&settings.service, &settings.namespace, settings.lifetime);
        let candidate = Candidate::new(name, &settings.namespace, &settings.lease);
        Self {
            settings,
            wanted,
            clock,
            kubernetes,
            candidate,
            current,
            status,
            held: None,
            trusted_since: None,
            draw: Draw::random(),
            told: Told::default(),
            failures: 0,
            writes: 0,
        }
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        loop {
            let looked = self.look().await;
            let next = self.wait_after(looked);
            let at = Instant::now();
            let current = self.current.clone();
            tokio::select! {
                () = sleep_until(at + next.max(CLOSEST)) => {}
                () = async {
                    current.distrusted().await;
                    tracing::debug!("a client does not trust the certificate that it was shown");
                    sleep_until(at + CLOSEST_BY_DISTRUST).await;
                } => {}
            }
        }
    }

    fn wait_after(&mut self, looked: Result<Next, Trouble>) -> Duration {
        let draw = Draw::random();
        let trouble = match looked {
            Ok(next) => {
                self.failures = 0;
                return self.wait_until(&next, draw);
            }
            // Nothing is wrong: the other's work is seen at the next look.
            Err(Trouble::Asking(error)) if error.is_conflict() => {
                tracing::debug!(%error, "another replica was faster");
                return SOON + draw.share(SOON);
            }
            Err(Trouble::Asking(error)) => error.to_string(),
            Err(Trouble::Standing(why)) => why,
        };
        self.tell(trouble);
        let most = SOON.saturating_mul(1 << self.failures.min(8)).min(LONGEST_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        most / 2 + draw.share(most / 2)
    }

    fn wait_until(&mut self, next: &Next, draw: Draw) -> Duration {
        let poll = (self.settings.lifetime / 40).min(POLL);
        match next {
            Next::Now => {
                self.writes = self.writes.saturating_add(1);
                let undone = self.writes.saturating_sub(MOST_WRITES);
                if undone > 0 {
                    self.tell("what is written is undone each time; is there somebody else who keeps the caBundle, such as cert-manager's CA injector or a GitOps tool?".to_owned());
                }
                CLOSEST.saturating_mul(1 << undone.min(16)).min(LONGEST_BACKOFF)
            }
            Next::Soon => SOON.min(poll) + draw.share(SOON),
            Next::Later => {
                self.writes = 0;
                poll + draw.share(poll)
            }
        }
    }

    fn tell(&mut self, trouble: String) {
        if self.told.trouble.as_ref() != Some(&trouble) {
            tracing::error!(error = %trouble, "the certificates cannot be kept; what is served stays");
            self.told.trouble = Some(trouble);
        }
    }

    async fn look(&mut self) -> Result<Next, Trouble> {
        let found = self.find().await?;
        let now = self.clock.now();
        let wall = self.wall();
        let bundle = self.bundle(&found);
        let kept =
            found.material.kept(found.secret.as_ref().is_some_and(SecretObject::rotation_asked));
        let newest = kept.authorities.last().map(|newest| newest.id);
        let state = State {
            trusted_for: self.trusted_for(newest, &bundle, now),
            kept,
            bundle,
            held: self.held.as_ref().map(Serving::leaf),
            settle: (self.settings.lifetime / 20).min(SETTLE),
            now: wall,
            draw: self.draw,
        };
        let plan = decide::decide(&state);
        self.serve(&plan, &found.material);
        let next = self.write(plan, found).await?;
        if state.bundle == Bundle::Nowhere {
            let SelfManaged { webhook, namespace, service, .. } = &self.settings;
            return Err(Trouble::Standing(format!(
                "MutatingWebhookConfiguration {webhook}: there is none, or none of its webhooks calls the Service {namespace}/{service}; self_managed.webhook, .namespace and .service must be what the chart installed"
            )));
        }
        if matches!(next, Next::Later) && self.told.trouble.take().is_some() {
            tracing::info!("the certificates are kept again");
        }
        Ok(next)
    }

    /// Reads the webhooks first: so the Secret is at least as new as they are, and a CA that they
    /// have but the Secret does not was taken out of it.
    async fn find(&mut self) -> Result<Found, Trouble> {
        let webhooks = self.kubernetes.get(&self.webhook_object()).await?;
        let object = self.secret_object();
        let secret: Option<SecretObject> = self.kubernetes.get(&object).await?;
        let Some(secret) = secret else {
            return Ok(Found { webhooks, secret: None, material: Material::default() });
        };
        if secret.kind != TYPE {
            return Err(Trouble::Standing(format!(
                "{object} is of the type {:?}, so it is not the injector's, and is left alone; delete it, or name another in self_managed.secret (the injector makes its own, of the type {TYPE})",
                secret.kind
            )));
        }
        let (material, wrong) = secret.material(&self.wanted);
        self.tell_rubbish(&object, &secret, &wrong);
        Ok(Found { webhooks, secret: Some(secret), material })
    }

    fn tell_rubbish(&mut self, object: &Object, secret: &SecretObject, wrong: &[String]) {
        let version = &secret.metadata.resource_version;
        if !wrong.is_empty() && self.told.rubbish.as_ref() != Some(version) {
            let wrong = wrong.join("; ");
            tracing::error!(
                wrong,
                "{object} is not as the injector made it; what is wrong in it is replaced"
            );
            self.told.rubbish = Some(version.clone());
        }
    }

    fn bundle(&self, found: &Found) -> Bundle {
        let SelfManaged { namespace, service, .. } = &self.settings;
        found.webhooks.as_ref().map_or(Bundle::Nowhere, |all| all.bundle(namespace, service))
    }

    fn trusted_for(&mut self, newest: Option<Id>, bundle: &Bundle, now: Moment) -> Duration {
        let trusted = newest.filter(|newest| bundle.has(*newest));
        self.trusted_since = trusted.map(|newest| match self.trusted_since {
            Some((before, since)) if before == newest => (newest, since),
            _ => (newest, now),
        });
        self.trusted_since.map_or(Duration::ZERO, |(_, since)| now.boot.saturating_sub(since.boot))
    }

    fn serve(&mut self, plan: &Plan, material: &Material) {
        let different = |serving: &&Serving| {
            let held = self.held.as_ref();
            held.is_none_or(|held| held.pair.leaf() != serving.pair.leaf())
        };
        if plan.serve == Serve::Kept
            && let Some(serving) = material.serving().filter(different)
        {
            self.current.set(serving.pair.certified.clone());
            tracing::info!(expires = %serving.pair.span.until, "a certificate is served");
            self.held = Some(serving.clone());
        }
        let expires = self.held.as_ref().map(|held| held.pair.span.until);
        self.status.send_if_modified(|status| {
            // Once ready it stays so: without any endpoint the API server could not even learn of a
            // certificate that heals.
            let new = Status { ready: status.ready || plan.trusted, expires };
            let changes = new != *status;
            *status = new;
            changes
        });
    }

    async fn write(&mut self, plan: Plan, found: Found) -> Result<Next, Trouble> {
        let lacking = plan.serve == Serve::Nothing;
        if plan.write == Write::Nothing {
            self.candidate.step_down(&mut self.kubernetes).await;
            return Ok(if lacking { Next::Soon } else { Next::Later });
        }
        let now = Moment { wall: self.wall(), boot: self.clock.now().boot };
        if !self.candidate.lead(&mut self.kubernetes, now).await? {
            return Ok(Next::Soon);
        }
        match plan.write {
            Write::Nothing => {}
            Write::Bundle => self.write_bundle(&found).await?,
            Write::Secret(edits) => self.write_secret(found, &edits).await?,
        }
        Ok(Next::Now)
    }

    async fn write_bundle(&mut self, found: &Found) -> Result<(), Trouble> {
        let SelfManaged { namespace, service, .. } = &self.settings;
        let Some(webhooks) = &found.webhooks else {
            return Ok(());
        };
        let patch = webhooks.patch(namespace, service, &found.material.bundle());
        let object = self.webhook_object();
        self.kubernetes.patch(&object, Patch::Strategic, &patch).await?;
        tracing::info!("the caBundle of {object} was set to what the Secret says");
        Ok(())
    }

    async fn write_secret(&mut self, mut found: Found, edits: &[Edit]) -> Result<(), Trouble> {
        let now = self.wall();
        let changed = found.material.change(edits, self.held.as_ref(), &self.wanted, now);
        changed.map_err(Trouble::Standing)?;
        let object = self.secret_object();
        match &found.secret {
            None => {
                let new = NewSecret::of(&self.settings.secret, &found.material);
                self.kubernetes.create(&object, &new).await?;
            }
            Some(secret) => {
                let new_authority = edits.contains(&Edit::Authority);
                let patch = SecretPatch::of(secret, &found.material, new_authority);
                self.kubernetes.patch(&object, Patch::Merge, &patch).await?;
            }
        }
        for edit in edits {
            tracing::info!("{object}: {}", told(*edit));
        }
        Ok(())
    }

    /// The API server's time: it is the one that verifies what is made here, and a replica whose clock is
    /// wrong would make certificates for all that are not valid yet.
    fn wall(&mut self) -> Timestamp {
        let own = self.clock.now().wall;
        let date = self.kubernetes.date().unwrap_or(own);
        let apart = own.saturating_since(date).max(date.saturating_since(own));
        if apart >= CLOCKS_APART && !self.told.clocks {
            tracing::warn!(%own, api_server = %date, "the clocks of this machine and of the API server differ; certificates go by the API server's");
        }
        self.told.clocks = apart >= CLOCKS_APART;
        date
    }

    fn webhook_object(&self) -> Object {
        Object::mutating_webhook(&self.settings.webhook)
    }

    fn secret_object(&self) -> Object {
        Object::secret(&self.settings.namespace, &self.settings.secret)
    }
}

fn told(edit: Edit) -> &'static str {
    match edit {
        Edit::Restore => "the certificate that this replica serves was put back, with its CA",
        Edit::Authority => "a new CA was made",
        Edit::Issue => "a serving certificate of the newest CA was issued",
        Edit::Retire(_) => "a CA whose last serving certificate has ended was taken out",
    }
}
