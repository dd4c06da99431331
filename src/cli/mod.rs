//! The command line: one file for each command, which has its arguments and runs.
//!
//! Prints to people on standard output, tells errors on standard error in one line, and ends with a
//! code that scripts can rely on ([`Exit`]). The only code that prints.

mod backup;
mod demo;
mod doctor;
mod export;
mod gate;
mod key;
mod progress;
mod remote;
mod repair;
mod restore;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// How a command ends. Frozen: scripts rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well; of a gate: everything was approved.
    Fine = 0,
    /// It could not be done.
    Failed = 1,
    /// Something was denied.
    Denied = 2,
    /// Something was escalated.
    Escalated = 3,
    /// The command line is wrong.
    Usage = 64,
    /// The data is damaged.
    Damaged = 65,
    /// The data directory is in use.
    InUse = 75,
    /// The configuration or a key file is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that ends early: what to tell, and the code.
#[derive(Debug)]
pub struct CliError {
    exit: Exit,
    message: String,
}

impl CliError {
    /// Ends with `exit`, and tells why.
    pub fn with(exit: Exit, why: impl std::fmt::Display) -> Self {
        Self {
            exit,
            message: why.to_string(),
        }
    }
}

/// Prints to standard output. A reader that is gone, or a full disk behind it, ends the command.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| CliError::with(Exit::Failed, format!("standard output: {error}")))
}

/// Prints one line.
fn line(text: &str) -> Result<(), CliError> {
    print(&format!("{text}\n"))
}

/// What a command comes to.
pub type CliResult = Result<Exit, CliError>;

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
                Exit::Fine
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
