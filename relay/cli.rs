//! The commands: arguments to a result, and the result to an exit code.

mod ask;
mod check;
mod client;
mod exec;
mod get;
mod inject;
mod serve;

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::environment::Environment;
use crate::config::mistakes::Mistakes;
use crate::config::{Admin, Config, load};
use crate::{hardening, telemetry};

#[cfg(feature = "dev")]
pub(crate) use serve::Ends;

/// Serves short-lived, rotating AWS credentials to AWS SDKs over localhost.
///
/// Exit codes: 0 done; 1 the command failed; 2 the arguments or the configuration are wrong;
/// 3 the relay could not start (an address, the admin socket, a token file, a credentials file, a CA
/// file, the audit's file, the injector's certificate, the folder of `exec`, or a sandbox that is
/// required). `exec` ends with the program's own code: 128 and the signal's number if one
/// ended it; 126 if it could not be executed, 127 if there is none.
#[derive(Debug, Parser)]
#[command(name = "credential-relay", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay until SIGTERM.
    Serve(serve::Serve),
    /// Check the configuration, and with --connect fetch from every profile once.
    Check(check::Check),
    /// Print a profile's credentials; usable as a `credential_process`.
    Get(get::Get),
    /// Replace a profile's credential now: for a key that leaked.
    Rotate(ask::Rotate),
    /// Run a program that gets a profile's credentials, for as long as it runs.
    Exec(exec::Exec),
    /// Show each profile with its expiry, its next rotation and its last error.
    Status(ask::Status),
    /// Ask the running relay's probe: exit code 0 if it says yes.
    Healthcheck(ask::Healthcheck),
    /// Run the admission webhook that puts the relay into a cluster's pods.
    Inject(inject::Inject),
    /// Run with an embedded upstream: no account and nothing installed.
    #[cfg(feature = "dev")]
    Dev(crate::dev::Dev),
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// The configuration file; else `CREDENTIAL_RELAY_CONFIG`; else environment variables alone
    /// say what the one profile is.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self, environment: &Environment) -> Result<Config, Failed> {
        let file = self.file(environment);
        load::load(file.as_deref(), environment).map_err(Failed::Configuration)
    }

    /// For a relay that does not listen where the configuration says.
    fn load_elsewhere(&self, environment: &Environment) -> Result<Config, Failed> {
        let file = self.file(environment);
        load::load_elsewhere(file.as_deref(), environment).map_err(Failed::Configuration)
    }

    /// Where the relay that runs is asked, and what is wrong with its configuration as it stands now, if anything is.
    fn admin(&self, environment: &Environment) -> Result<(Admin, Mistakes), Failed> {
        let file = self.file(environment);
        load::admin(file.as_deref(), environment).map_err(Failed::Configuration)
    }

    fn file(&self, environment: &Environment) -> Option<PathBuf> {
        let named = environment.get("CREDENTIAL_RELAY_CONFIG").map(PathBuf::from);
        self.config.clone().or(named)
    }
}

/// How credentials or a status are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A `credential_process` document.
    Process,
    /// `export` lines for a shell.
    Env,
    /// The endpoint's own document.
    Json,
}

/// Why a command failed, by exit code.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It could not do what was asked: 1.
    Command(String),
    /// The configuration is wrong: 2.
    Configuration(Mistakes),
    /// A setting outside the configuration is wrong: 2.
    Setting(String),
    /// The relay could not start: 3.
    Start(String),
    /// The program that it should run could not be executed: the shells' own codes.
    Program(u8, String),
}

impl Failed {
    pub(crate) fn command(why: impl fmt::Display) -> Self {
        Self::Command(why.to_string())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Command(_) => 1,
            Self::Configuration(_) | Self::Setting(_) => 2,
            Self::Start(_) => 3,
            Self::Program(code, _) => *code,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(why) | Self::Setting(why) | Self::Start(why) | Self::Program(_, why) => {
                f.write_str(why)
            }
            Self::Configuration(mistakes) => mistakes.fmt(f),
        }
    }
}

/// Names are looked up and files read on threads of their own, whose stacks stay resident: with
/// tokio's 512, many profiles that start together would have a thread each.
/// What may hang never has them all.
const BLOCKING_THREADS: usize = crate::files::MOST_ASIDE + 4;

/// Runs the command that `args` names and gives its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` comes here too, with code 0. Where it cannot be printed nobody reads it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(code) => {
            telemetry::flush();
            code
        }
        Err(failed) => {
            telemetry::last_words(&failed);
            ExitCode::from(failed.code())
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failed> {
    // Before any secret is read.
    hardening::memory::hide();
    telemetry::quiet_panics();
    let environment = Environment::of_process();
    // A program's own output is not disturbed unless something is wrong.
    let quiet = matches!(command, Command::Exec(_)).then_some("warn");
    let set = |name: &str| {
        let unset = quiet.filter(|_| name == "CREDENTIAL_RELAY_LOG");
        environment.get(name).or(unset).map(str::to_owned)
    };
    let log = telemetry::Settings::read(set).map_err(|error| Failed::Setting(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failed::Start(format!("the runtime cannot start: {error}")))?;
    let done = runtime.block_on(async {
        let done = match command {
            Command::Exec(exec) => {
                log.start();
                telemetry::write();
                return exec.run(&environment).await;
            }
            Command::Serve(serve) => {
                log.start();
                serve.run(&environment).await
            }
            Command::Inject(inject) => {
                log.start();
                inject.run(&environment).await
            }
            Command::Check(check) => check.run(&environment).await,
            Command::Get(get) => get.run(&environment).await,
            Command::Rotate(rotate) => rotate.run(&environment).await,
            Command::Status(status) => status.run(&environment).await,
            Command::Healthcheck(healthcheck) => healthcheck.run(&environment).await,
            #[cfg(feature = "dev")]
            Command::Dev(dev) => {
                log.start();
                telemetry::write();
                dev.run(&environment).await
            }
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    // A name look-up that hangs in a thread must not hold the end up.
    runtime.shutdown_background();
    done
}

/// Prints to standard output; a pipe that was closed is no reason to fail.
///
/// # Errors
/// If it cannot be written for another reason, such as a disk that is full.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failed::Command(format!("standard output cannot be written: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a JSON schema, indented.
fn print_schema(text: &str) -> Result<(), Failed> {
    let schema: serde_json::Value = serde_json::from_str(text).map_err(Failed::command)?;
    let indented = serde_json::to_string_pretty(&schema).map_err(Failed::command)?;
    print(&format!("{indented}\n"))
}
