//! The aims of docs/performance.md, each measured beside a bare hyper server in the same run.
//!
//! `cargo bench --bench aims` prints the whole table. With `-- --gate` it checks only what does not drift
//! from one machine or hour to the next, and fails if it is missed. `--relay PATH` measures
//! another binary than the one that cargo built for the benchmark.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod http;
mod instructions;
mod latency;
mod load;
mod memory;
mod process;
mod rest;
mod servers;
mod site;
mod size;
mod start;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use process::Cores;
use site::Upstream;
use table::{Row, Table};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the benchmark was asked to do.
struct Options {
    /// The relay's binary.
    relay: PathBuf,
    /// Whether it was named, and so is another than the one with the `dev` feature.
    named: bool,
    gate: bool,
}

impl Options {
    fn read(args: &[String]) -> Result<Self> {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_credential-relay"));
        let mut options = Self { relay: built, named: false, gate: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => {}
                "--gate" => options.gate = true,
                "--relay" => {
                    let path = args.next().ok_or("--relay wants a path")?;
                    options.relay = std::fs::canonicalize(path)
                        .map_err(|error| format!("--relay {path}: {error}"))?;
                    options.named = true;
                }
                other => return Err(format!("{other}: --gate and --relay PATH are known").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            println!("the benchmark could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    if let Some((mode, rest)) = args.split_first()
        && servers::MODES.contains(&mode.as_str())
    {
        servers::serve(mode, rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --all-targets` runs benchmarks too, to see that they run.
        println!("nothing is measured without --bench: use `cargo bench --bench aims`");
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::read(args)?;
    let table = measure(&options)?;
    print!("{table}");
    let failed = options.gate && table.missed() > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(options: &Options) -> Result<Table> {
    let cores = Cores::claim()?;
    let hour = Upstream::start(3600)?;
    let mut table = Table::default();
    note("instructions per request");
    table.extend(instructions::measure(&cores, &options.relay, &hour)?);
    if options.named && !options.gate {
        table.extend(size::measure(&options.relay, Some(env!("CARGO_BIN_EXE_credential-relay")))?);
    } else {
        table.extend(size::measure(&options.relay, None)?);
    }
    if options.gate {
        return Ok(table);
    }
    note("time to answer");
    table.extend(latency::measure(&cores, &options.relay, &hour)?);
    note("time to start");
    table.extend(start::measure(&cores, &options.relay, &hour)?);
    note("memory");
    table.extend(memory::resident(&cores, &options.relay, &hour)?);
    table.add(memory::per_profile(&cores, &options.relay, &hour)?);
    note("rotations, and a relay at rest");
    let mut rotations: Option<Row> = None;
    let rest = rest::measure(&cores, &options.relay, &hour, || {
        rotations = Some(memory::rotations(&cores, &options.relay)?);
        Ok(())
    })?;
    table.extend(rotations);
    table.add(rest);
    Ok(table)
}

/// Says what is being measured: some of it takes a while.
fn note(what: &str) {
    println!("measuring: {what}");
}
