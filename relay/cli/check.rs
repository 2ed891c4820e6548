//! `check`: is the configuration right, and do its upstreams agree?

use clap::Args;

use super::{ConfigArgs, Failed, print};
use crate::app::assemble::{Workshop, attempt_timeout, origin};
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::values::ProfileName;
use crate::config::{self, Config, load};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::Metrics;
use crate::sources::Freshness;
use crate::store::Served;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Fetch from every profile once, and ask AWS who the credentials are.
    #[arg(long)]
    connect: bool,
    /// Print the JSON schema of the configuration file and do nothing else.
    #[arg(long, conflicts_with_all = ["connect", "config"])]
    schema: bool,
}

impl Check {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        if self.schema {
            let text = serde_json::to_string_pretty(&load::schema()).map_err(Failed::command)?;
            print(&format!("{text}\n"));
            return Ok(());
        }
        let config = self.config.load(environment)?;
        for (name, profile) in &config.profiles {
            print(&format!("{name}: {}\n", origin(profile)));
        }
        for warning in &config.warnings {
            print(&format!("warning: {warning}\n"));
        }
        print("the configuration is right\n");
        if self.connect { connect(&config).await } else { Ok(()) }
    }
}

/// Fetches every profile, and says of each who it is or what is wrong.
async fn connect(config: &Config) -> Result<(), Failed> {
    let mut workshop = Workshop::new(Clock::system(), Metrics::new());
    let mut failed = 0_usize;
    for (name, profile) in &config.profiles {
        match identify(&mut workshop, name, profile, config).await {
            Ok(words) => print(&format!("{name}: {words}\n")),
            Err(failure) => {
                failed += 1;
                let hint = hint(failure.cause);
                print(&format!("{name}: FAILED at {failure}\n    {hint}\n"));
            }
        }
    }
    match failed {
        0 => Ok(()),
        some => {
            Err(Failed::Command(format!("{some} of {} profiles failed", config.profiles.len())))
        }
    }
}

async fn identify(
    workshop: &mut Workshop,
    name: &ProfileName,
    profile: &config::Profile,
    config: &Config,
) -> Result<String, Failure> {
    let relay = |cause, reason: String| Failure::new(cause, Stage::Relay, reason);
    let mut source = workshop
        .source(name, profile)
        .map_err(|error| relay(Cause::Misconfigured, error.to_string()))?;
    let fetched = tokio::time::timeout(attempt_timeout(profile), source.fetch(Freshness::Reuse))
        .await
        .map_err(|_| relay(Cause::Unreachable, "no answer in time".to_owned()))?;
    let served = Served::new(fetched?, workshop.clock.now())?;
    let credential = served.credential();
    let lifetime = match credential.remaining(workshop.clock.now()) {
        Some(left) => format!("{} s left", left.as_secs()),
        None => "without an end".to_owned(),
    };
    let sts = profile.chain.last().map(|hop| &hop.sts).or(config.sts.as_ref());
    let Some(sts) = sts else {
        return Ok(format!(
            "{}, {lifetime}; set sts.region to have AWS asked whose it is",
            credential.access_key_id
        ));
    };
    let identity = workshop.clients.identify(sts, credential).await?;
    Ok(format!("{} is {}, {lifetime}", credential.access_key_id, identity.arn))
}

/// What to do about a failure of this class.
fn hint(cause: Cause) -> &'static str {
    match cause {
        Cause::Unreachable => {
            "Can the pod reach it? Look at DNS, NetworkPolicy, HTTPS_PROXY and NO_PROXY, and at sts.region and sts.endpoint."
        }
        Cause::Tls => {
            "The certificate is not trusted. Behind an inspecting proxy or with an own CA, set sts.ca_cert."
        }
        Cause::Throttled { .. } => "The account is asked too often. Longer durations ask less.",
        Cause::Transient => {
            "The upstream has trouble, or something between answers in its place. Try again."
        }
        Cause::StaleCaller => {
            "The credentials of the stage before are not accepted. Are they active, and is this machine's clock right?"
        }
        Cause::Denied => {
            "The caller needs sts:AssumeRole on the role (and sts:TagSession, sts:SetSourceIdentity where tags or a source identity are set), and the role's trust policy must name the caller and accept the external id."
        }
        Cause::Misconfigured => {
            "AWS will never grant this as it stands: change the setting that it names."
        }
        Cause::NotConfigured => {
            "The source has nothing to work with: set what it names, or choose another source."
        }
        Cause::Internal => "This is a bug of the relay; please report it.",
    }
}
