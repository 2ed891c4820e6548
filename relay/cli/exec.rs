//! `exec`: a program beside a relay of its own, which ends with it.

mod folder;
mod signals;
mod variables;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use clap::Args;
use tokio::process::{Child, Command};

use super::get::chosen;
use super::{ConfigArgs, Failed};
use crate::app::private;
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::values::ProfileName;
use folder::Folder;
use signals::Signals;
use variables::Variables;

/// Run a program that gets a profile's credentials.
///
/// The credentials go on rotating for as long as it runs. Nothing else is needed: no relay that
/// runs, and none of the configuration's listeners.
#[derive(Debug, Args)]
pub(super) struct Exec {
    #[command(flatten)]
    config: ConfigArgs,
    /// The profile; it may be left out where there is one alone.
    profile: Option<ProfileName>,
    /// The program, and what it is given.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) async fn run(self, environment: &Environment) -> Result<ExitCode, Failed> {
        // Before anything else: who asks for an end that early must not be unheard.
        let mut signals = Signals::listen().map_err(|error| start(&error))?;
        let config = self.config.load(environment)?;
        // `check` tells them; here they would stand in the program's output each time.
        for warning in &config.warnings {
            tracing::info!("{warning}");
        }
        let profile = chosen(&config, self.profile.as_ref())?;
        let region = variables::region(profile.1, config.sts.as_ref());
        let folder = Folder::make()?;
        let token_file = folder.path().join("token");
        let private =
            private::build(profile, token_file.clone(), config.leases_at_end, Clock::system())
                .map_err(|error| Failed::Start(error.to_string()))?;
        let token = folder.keep_private(&token_file)?;
        drop(config);
        let relay = private.start();
        let ready = tokio::select! {
            ready = relay.ready() => ready.map_err(Failed::Command),
            signal = signals.end() => Err(Failed::Program(of_signal(signal), ENDED_EARLY.to_owned())),
        };
        let code = match ready {
            Ok(()) => {
                let variables = Variables { url: relay.url(), token_file, token, region };
                self.program(&variables, &mut signals).await
            }
            Err(failed) => Err(failed),
        };
        relay.end().await;
        code
    }

    /// Runs the program to its end.
    async fn program(
        &self,
        variables: &Variables,
        signals: &mut Signals,
    ) -> Result<ExitCode, Failed> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failed::Setting("a program is needed after --".to_owned()))?;
        let mut command = Command::new(program);
        command.args(arguments);
        variables.set_for(&mut command);
        let mut child = command.spawn().map_err(|error| not_started(program, &error))?;
        let status = wait(&mut child, signals).await.map_err(Failed::command)?;
        Ok(code_of(status))
    }
}

const ENDED_EARLY: &str = "ended before the first credential had come: the program was not started";

fn start(error: &io::Error) -> Failed {
    Failed::Start(format!("signals: {error}"))
}

/// As the shells do: 127 for a program that is not there, 126 for one that cannot be executed.
fn not_started(program: &OsString, error: &io::Error) -> Failed {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failed::Program(code, format!("{} cannot be executed: {error}", program.display()))
}

async fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            signal = signals.next() => signals.forward(signal, child),
        }
    }
}

fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or_else(|| of_signal(status.signal().unwrap_or_default())))
}

/// The shells' code for a program that a signal ended.
fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
