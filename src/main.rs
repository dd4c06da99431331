//! The `arf` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    arf::cli::run()
}
