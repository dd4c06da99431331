//! Standard output: the only code that prints.

use std::io::Write as _;

use super::exit::CliError;

/// A closed pipe, or a full disk behind it, ends the command.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| CliError::failed(format!("standard output: {error}")))
}

pub fn print_line(text: &str) -> Result<(), CliError> {
    print(&format!("{text}\n"))
}
