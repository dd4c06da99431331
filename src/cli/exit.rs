//! How a command ends: with a code that scripts rely on, or with an error.

use std::process::ExitCode;

/// The codes are frozen: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Of `arf gate`: everything was approved.
    Success = 0,
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

/// Why a command failed, in one line, and the code it exits with.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    pub message: String,
}

impl CliError {
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

pub type CliResult = Result<Exit, CliError>;
