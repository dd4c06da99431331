//! How a command ends: with a code that scripts rely on, or with an error.

use std::fmt::Display;
use std::process::ExitCode;

use crate::store::OpenError;

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
    /// The configuration or a key file is wrong, or a newer version of arf has to be started.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&OpenError> for Exit {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::InUse { .. } => Self::InUse,
            OpenError::Io { .. } | OpenError::Tables(_) => Self::Failed,
            OpenError::Newer { .. } => Self::Config,
            OpenError::Damaged { .. } | OpenError::Row(_) | OpenError::Rebuild { .. } => {
                Self::Damaged
            }
        }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        Self::new(Exit::from(&error), error)
    }
}

/// Why a command failed, in one line, and the code it exits with.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    pub message: String,
}

impl CliError {
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    pub fn failed(message: impl Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn config(message: impl Display) -> Self {
        Self::new(Exit::Config, message)
    }

    pub fn damaged(message: impl Display) -> Self {
        Self::new(Exit::Damaged, message)
    }
}

pub type CliResult = Result<Exit, CliError>;
