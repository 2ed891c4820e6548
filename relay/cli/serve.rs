//! `serve`: the relay itself.

use std::time::Duration;

use clap::Args;

use super::{ConfigArgs, Failed};
use crate::app::reload::Reloads;
use crate::app::{self, App};
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::hardening::{self, Needs};
use crate::shutdown::Wish;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// How long to serve on after SIGTERM, in seconds. As a native sidecar the applications have
    /// ended by then; where they are stopped at the same time, give them as long as they need.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain: u64,
}

impl Serve {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let ends = Ends::listen()?;
        let file = self.config.file(environment);
        let reloads = Reloads::of(file.clone())
            .map_err(|error| Failed::Start(format!("signals: {error}")))?;
        let config = self.config.load(environment)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let app = app::build(&config, Clock::system())
            .map_err(|error| Failed::Start(error.to_string()))?;
        let sandbox = hardening::harden(&Needs::of_relay(&config, file.as_deref()))
            .map_err(|error| Failed::Start(error.to_string()))?;
        telemetry::write();
        // What is needed of it the relay has by now.
        drop(config);
        ends.run(app.reloading(reloads.within(sandbox)), Duration::from_secs(self.drain)).await
    }
}

/// The operating system's wishes that the program ends. They are listened for before anything else
/// is done: as process 1 of a container the relay would not even notice one that came earlier.
pub(crate) struct Ends {
    first: Wish,
    second: Wish,
}

impl Ends {
    pub(crate) fn listen() -> Result<Self, Failed> {
        let listen = || Wish::listen().map_err(|error| Failed::Start(format!("signals: {error}")));
        Ok(Self { first: listen()?, second: listen()? })
    }

    /// Runs until an end is wished for; a second wish ends the drain too.
    pub(crate) async fn run(self, app: App, drain: Duration) -> Result<(), Failed> {
        let (first, second) = self.told();
        app.run(first, second, drain).await.map_err(Failed::command)
    }

    /// Wait for the first wish, and for the second.
    pub(super) fn told(self) -> (impl Future<Output = ()>, impl Future<Output = ()>) {
        let Self { mut first, mut second } = self;
        let first = async move { first.told().await };
        let second = async move {
            second.told().await;
            second.told().await;
        };
        (first, second)
    }
}
