//! `check`: is the configuration right, and do its upstreams agree?

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::{ConfigArgs, Failed, print, print_schema};
use crate::app::assemble::{AssembleError, NEW_KEYS, Workshop, fetch_once, origin};
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::values::ProfileName;
use crate::config::{self, Config, load};
use crate::credential::{Credential, Propagation};
use crate::credentials_file;
use crate::failure::{Advice, Cause, Failure, Stage};
use crate::metrics::Metrics;
use crate::rotation;
use crate::sources::Source;
use crate::store::Served;
use crate::sts::{CallerIdentity, Identifier};

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
            return print_schema(load::SCHEMA);
        }
        let config = self.config.load(environment)?;
        for (name, profile) in &config.profiles {
            print(&format!("{name}: {}\n", origin(profile)))?;
        }
        for warning in &config.warnings {
            print(&format!("warning: {warning}\n"))?;
        }
        let mut workshop = Workshop::new(Clock::system(), Metrics::new(), &config.own_addresses());
        let sources = assemble(&mut workshop, &config)?;
        print("the configuration is right\n")?;
        if self.connect { connect(workshop, sources, &config).await } else { Ok(()) }
    }
}

/// Makes every profile's source as `serve` does, which reads the CA files, and looks at the files
/// that it would write over.
fn assemble<'a>(workshop: &mut Workshop, config: &'a Config) -> Result<Vec<Made<'a>>, Failed> {
    let mut sources = Vec::new();
    for (name, profile) in &config.profiles {
        let made = workshop.source(name, profile).and_then(|source| {
            let file = profile.credentials_file.as_ref();
            file.map_or(Ok(()), credentials_file::check)
                .map(|()| source)
                .map_err(|error| AssembleError::File(name.clone(), error))
        });
        match made {
            Ok(source) => sources.push(Made { name, profile, source }),
            Err(error) => print(&format!("FAILED: {error}\n"))?,
        }
    }
    failed(config.profiles.len() - sources.len(), config)?;
    Ok(sources)
}

/// A profile that could be made.
struct Made<'a> {
    name: &'a ProfileName,
    profile: &'a config::Profile,
    source: Box<dyn Source>,
}

fn failed(some: usize, config: &Config) -> Result<(), Failed> {
    match (some, config.profiles.len()) {
        (0, _) => Ok(()),
        (some, all) => Err(Failed::Command(format!("{some} of {all} profiles failed"))),
    }
}

/// Fetches every profile, and says of each who it is or what is wrong.
async fn connect(
    mut workshop: Workshop,
    sources: Vec<Made<'_>>,
    config: &Config,
) -> Result<(), Failed> {
    let mut failures = 0_usize;
    for made in sources {
        let name = made.name;
        match identify(&mut workshop, made, config).await {
            Ok(Found { words, refusal: None }) => print(&format!("{name}: {words}\n"))?,
            Ok(Found { words, refusal: Some(refusal) }) => {
                failures += 1;
                print(&format!(
                    "{name}: {words}\n    FAILED at the endpoint, which does not serve them: {}\n    `get` and credential_process give them as they are.\n",
                    refusal.reason
                ))?;
            }
            Err(failure) => {
                failures += 1;
                print(&format!("{name}: FAILED at {failure}\n{}", advice(&failure)))?;
            }
        }
    }
    // Nobody holds the keys: a user that Vault made for this would stay for as long as its lease.
    workshop.revoke().await;
    failed(failures, config)
}

/// What a profile gives.
struct Found {
    /// Whose keys, and for how long.
    words: String,
    /// Why the endpoint does not serve them, where it does not.
    refusal: Option<Failure>,
}

async fn identify(
    workshop: &mut Workshop,
    made: Made<'_>,
    config: &Config,
) -> Result<Found, Failure> {
    let Made { name, profile, mut source } = made;
    let fetched = fetch_once(source.as_mut(), profile).await?;
    let refusal = rotation::accept(fetched.clone(), &profile.long_lived_keys).err();
    let served = Served::new(fetched, workshop.clock.now())?;
    let credential = served.credential();
    let lifetime = match credential.remaining(workshop.clock.now()) {
        Some(left) => format!("{} s left", left.as_secs()),
        None => "without an end".to_owned(),
    };
    let id = &credential.access_key_id;
    let own = match &profile.source {
        config::Source::WebIdentity(source) => Some(&source.sts),
        _ => None,
    };
    let sts = profile.chain.last().map(|hop| &hop.sts).or(own).or(config.sts.as_ref());
    let way = source.way().map(|way| format!(", by {way}")).unwrap_or_default();
    let words = match sts {
        Some(sts) => {
            let identifier = workshop.identifier(name, sts).map_err(|error| {
                Failure::new(Cause::Misconfigured, Stage::Relay, error.to_string())
            })?;
            let identity = once_known(&identifier, credential).await?;
            format!("{id} is {}, {lifetime}{way}", identity.arn)
        }
        None => format!("{id}, {lifetime}{way}; set sts.region to have AWS asked whose it is"),
    };
    Ok(Found { words, refusal })
}

/// Asks whose keys these are: new ones again and again, until AWS knows them or it takes too long.
async fn once_known(
    identifier: &Identifier,
    credential: &Credential,
) -> Result<CallerIdentity, Failure> {
    let end = Instant::now() + NEW_KEYS;
    loop {
        match identifier.identify(credential).await {
            Err(Failure { cause: Cause::StaleCaller | Cause::Denied, .. })
                if credential.propagation == Propagation::Pending && Instant::now() < end =>
            {
                sleep(Duration::from_secs(1)).await;
            }
            outcome => return outcome,
        }
    }
}

/// What to do about a failure, line by line.
fn advice(failure: &Failure) -> String {
    match failure.advice {
        Advice::Known { layer, fix } => format!("    layer: {layer}\n    fix: {fix}\n"),
        Advice::ByCause => format!("    {}\n", hint(failure.cause)),
    }
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
        Cause::Misconfigured => "This cannot work as it stands: change the setting that it names.",
        Cause::NotConfigured => {
            "The source has nothing to work with: set what it names, or choose another source."
        }
        Cause::Internal => "This is a bug of the relay; please report it.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_be_right_is_told_in_the_place_of_the_hint() {
        let failure = Failure::new(Cause::Denied, Stage::Base("vault"), "permission denied");
        assert!(advice(&failure).contains("sts:AssumeRole"));
        let failure = failure.advised("policy", "grant read on aws/creds/payments");
        let lines = "    layer: policy\n    fix: grant read on aws/creds/payments\n";
        assert_eq!(advice(&failure), lines);
    }
}
