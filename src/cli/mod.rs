//! The command line: one file for each command, which has its arguments and runs.
//!
//! Results go to standard output, errors to standard error in one line, and the exit code ([`Exit`]) is
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

/// The decision point between agents and infrastructure.
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
    /// Show what it does, on examples and a throw-away engine
    Demo(demo::Args),
    /// Write everything that is stored to files that others read
    Export(export::Args),
    /// Ask about every change of a Terraform plan
    Gate(gate::Args),
    /// Make, show, rotate and revoke API keys
    Key(key::Args),
    /// Make a backup
    Backup(backup::Args),
    /// Make a data directory out of a backup
    Restore(restore::Args),
    /// Repair one tenant's rows, or salvage a data directory that does not start
    Repair(repair::Args),
    /// Explain the state of a data directory
    Doctor(doctor::Args),
}

/// Version and git commit.
const fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("ARF_COMMIT"), ")")
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let arf = match Arf::try_parse() {
        Ok(arf) => arf,
        Err(error) => {
            // Help and version are no errors; everything else is 64, not clap's 2.
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
