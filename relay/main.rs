//! The `credential-relay` program: arguments to a command, and its result to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    credential_relay::cli::main(std::env::args_os())
}
