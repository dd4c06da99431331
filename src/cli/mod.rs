//! The command line: one file for each command, which has its arguments and runs.
//!
//! Results go to standard output, errors to standard error in one line, and the exit code (`exit.rs`) is
//! one that scripts can rely on.

mod backup;
mod demo;
mod doctor;
mod exit;
mod export;
mod gate;
mod key;
mod output;
mod progress;
mod remote;
mod repair;
mod restore;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::{CliError, Exit};

/// The decision point between AI agents and infrastructure
#[derive(Debug, Parser)]
#[command(name = "arf", version = version(), max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Arf {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API (what `arf` alone does)
    Serve(serve::Args),
    /// Decide about examples, on a temporary data directory
    Demo(demo::Args),
    /// Export all data as JSON lines, or as SQL for PostgreSQL
    Export(export::Args),
    /// Decide about every change of a Terraform plan
    Gate(gate::Args),
    /// Create, show, rotate and revoke API keys
    Key(key::Args),
    /// Create a backup
    Backup(backup::Args),
    /// Restore a backup to a new data directory
    Restore(restore::Args),
    /// Rebuild one tenant's rows, or salvage a damaged data directory
    Repair(repair::Args),
    /// Diagnose a data directory
    Doctor(doctor::Args),
}

const fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("ARF_COMMIT"), ")")
}

pub fn run() -> ExitCode {
    let arf = match Arf::try_parse() {
        Ok(arf) => arf,
        Err(error) => {
            // Help and version are no errors. A wrong command line is 64, and not clap's 2.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            let _ = error.print();
            return exit.into();
        }
    };
    let result = match arf.command {
        None => serve::run(&arf.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Export(args)) => export::run(&args),
        Some(Command::Gate(args)) => gate::run(&args),
        Some(Command::Key(args)) => key::run(&args),
        Some(Command::Backup(args)) => backup::run(&args),
        Some(Command::Restore(args)) => restore::run(&args),
        Some(Command::Repair(args)) => repair::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(CliError { exit, message }) => {
            let _ = writeln!(std::io::stderr(), "arf: {message}");
            exit.into()
        }
    }
}
