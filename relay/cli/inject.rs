//! `inject`: the admission webhook that puts the relay into pods.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::serve::Ends;
use super::{Failed, print, print_schema};
use crate::app::injector;
use crate::clock::Clock;
use crate::config;
use crate::config::environment::Environment;
use crate::hardening::{self, Needs};
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Inject {
    /// The injector's configuration file.
    #[arg(long, short, value_name = "FILE", required_unless_present = "schema")]
    config: Option<PathBuf>,
    /// How long to answer on after SIGTERM, in seconds, while the API server learns that this
    /// replica is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain: u64,
    /// Check the configuration and do nothing else.
    #[arg(long)]
    check: bool,
    /// Print the JSON schema of the configuration file and do nothing else.
    #[arg(long, conflicts_with_all = ["check", "config"])]
    schema: bool,
}

impl Inject {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let Some(file) = self.config else {
            return print_schema(config::injector::SCHEMA);
        };
        let ends = Ends::listen()?;
        let settings = config::injector::load(&file).map_err(Failed::Configuration)?;
        if self.check {
            for warning in &settings.warnings {
                print(&format!("warning: {warning}\n"))?;
            }
            return print("the configuration is right\n");
        }
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let needs = Needs::of_injector(&settings, &file);
        let app = injector::build(settings, environment, Clock::system())
            .map_err(|error| Failed::Start(error.to_string()))?;
        hardening::harden(&needs).map_err(|error| Failed::Start(error.to_string()))?;
        telemetry::write();
        let (first, second) = ends.told();
        app.run(first, second, Duration::from_secs(self.drain)).await;
        Ok(())
    }
}
