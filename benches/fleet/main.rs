//! A fleet of relays on simulated time: when each asks, by the project's own schedule and back-off, and what that is
//! for its upstreams. `cargo bench --bench fleet` prints the table of docs/reliability.md; it takes seconds, and is the
//! same in every run.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod fleet;
mod scenarios;
mod upstream;

use std::process::ExitCode;

fn main() -> ExitCode {
    if !std::env::args().any(|arg| arg == "--bench") {
        // `cargo test --all-targets` runs benchmarks too, to see that they run.
        println!("nothing is simulated without --bench: use `cargo bench --bench fleet`");
        return ExitCode::SUCCESS;
    }
    println!(
        "| scenario | calls/s: mean | peak | peak / mean | most refused/s | least left, s | served nobody, s | healed after, s | aim | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut missed = false;
    for scenario in scenarios::all() {
        let outcome = scenario.run();
        missed |= !outcome.met;
        println!("{}", outcome.row);
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
