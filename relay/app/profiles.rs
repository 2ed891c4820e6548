//! The profiles that run. They can be added, changed and removed while the relay runs: an update
//! is prepared first, where all that can fail does, and then committed as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::assemble::{self, AssembleError, Workshop};
use crate::config;
use crate::config::values::ProfileName;
use crate::endpoint::access;
use crate::metrics::ProfileMetrics;
use crate::rotation::Rotation;
use crate::{admin, endpoint, store};

/// The profiles that run, and what the listeners see of them.
pub(super) struct Profiles {
    workshop: Workshop,
    running: BTreeMap<ProfileName, Running>,
    rotations: JoinSet<()>,
    endpoint: watch::Sender<Arc<endpoint::Directory>>,
    admin: watch::Sender<Arc<admin::Profiles>>,
}

struct Running {
    settings: config::Profile,
    served: Arc<endpoint::Profile>,
    seen: admin::Profile,
    metrics: ProfileMetrics,
    rotation: AbortHandle,
}

/// A change that is ready to be made.
pub(super) struct Update {
    wanted: Vec<ProfileName>,
    fresh: Vec<Fresh>,
}

struct Fresh {
    name: ProfileName,
    settings: config::Profile,
    served: Arc<endpoint::Profile>,
    seen: admin::Profile,
    rotation: Rotation,
}

impl Profiles {
    pub(super) fn new(workshop: Workshop) -> Self {
        Self {
            workshop,
            running: BTreeMap::new(),
            rotations: JoinSet::new(),
            endpoint: watch::Sender::new(Arc::default()),
            admin: watch::Sender::new(Arc::default()),
        }
    }

    pub(super) fn for_endpoint(&self) -> watch::Receiver<Arc<endpoint::Directory>> {
        self.endpoint.subscribe()
    }

    pub(super) fn for_admin(&self) -> watch::Receiver<Arc<admin::Profiles>> {
        self.admin.subscribe()
    }

    /// Makes what is new or changed. What runs is not touched, so an error changes nothing.
    pub(super) fn prepare(
        &mut self,
        wanted: &BTreeMap<ProfileName, config::Profile>,
    ) -> Result<Update, AssembleError> {
        let mut fresh = Vec::new();
        for (name, settings) in wanted {
            let unchanged =
                self.running.get(name).is_some_and(|running| running.settings == *settings);
            if !unchanged {
                fresh.push(self.make(name, settings)?);
            }
        }
        Ok(Update { wanted: wanted.keys().cloned().collect(), fresh })
    }

    fn make(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Fresh, AssembleError> {
        let source = self.workshop.source(name, settings)?;
        let token = access::load_or_create(&settings.access.token_file)
            .map_err(|error| AssembleError::Token(name.clone(), error))?;
        let clock = self.workshop.clock.clone();
        let metrics = &self.workshop.metrics;
        let (publisher, reader) = store::channel(clock.now().wall);
        let served = endpoint::Profile::new(name.clone(), reader.clone(), vec![token], metrics);
        Ok(Fresh {
            name: name.clone(),
            settings: settings.clone(),
            served: Arc::new(served),
            seen: admin::Profile { reader, origin: assemble::origin(settings) },
            rotation: Rotation {
                profile: name.clone(),
                source,
                long_lived_keys: settings.long_lived_keys,
                publisher,
                metrics: metrics.profile(name),
                attempt_timeout: assemble::attempt_timeout(settings),
                clock,
            },
        })
    }

    /// Ends what is wanted no longer, starts what is new, and shows it to the listeners. Profiles
    /// that did not change keep their credentials.
    pub(super) fn commit(&mut self, update: Update) {
        let Update { wanted, fresh } = update;
        self.running.retain(|name, running| {
            let stays = wanted.contains(name);
            if !stays {
                running.end();
            }
            stays
        });
        for Fresh { name, settings, served, seen, rotation } in fresh {
            let metrics = rotation.metrics.clone();
            let rotation = self.rotations.spawn(rotation.run());
            let running = Running { settings, served, seen, metrics, rotation };
            if let Some(before) = self.running.insert(name, running) {
                before.rotation.abort();
            }
        }
        let served = self.running.values().map(|running| Arc::clone(&running.served)).collect();
        self.endpoint.send_replace(Arc::new(endpoint::Directory::new(served)));
        let seen = self.running.iter().map(|(name, running)| (name.clone(), running.seen.clone()));
        self.admin.send_replace(Arc::new(seen.collect()));
    }

    /// Waits until a rotation has ended by itself, which only a bug can make it do.
    pub(super) async fn died(&mut self) {
        while let Some(ended) = self.rotations.join_next().await {
            if !ended.is_err_and(|error| error.is_cancelled()) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Running {
    fn end(&self) {
        self.rotation.abort();
        self.metrics.retire();
    }
}
