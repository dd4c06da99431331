//! Where the server is and what key to speak to it with: flags, or the environment.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::exit::{CliError, Exit};
use crate::client::Client;
use crate::store::keyfile;
use crate::tenant::key::Secret;

/// The server and the key.
#[derive(Debug, Clone, clap::Args)]
pub struct Remote {
    /// The server, as `http://127.0.0.1:8080`
    #[arg(long, env = "ARF_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The key (shows in `ps`: better ARF_KEY or --key-file)
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<String>,
    /// A file that holds the key, readable by you alone
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[arg(long, env = "ARF_KEY", hide = true, hide_env_values = true)]
    env_key: Option<String>,
}

impl Remote {
    /// The key, wherever it was given.
    pub fn key(&self) -> Result<Option<Secret>, CliError> {
        if let Some(key) = &self.key {
            let progress = "arf: --key shows in `ps`; better set ARF_KEY or use --key-file";
            let _ = writeln!(std::io::stderr(), "{progress}");
            return Ok(Some(Secret::from_text(key.trim())));
        }
        if let Some(path) = &self.key_file {
            let bytes =
                keyfile::read_private(path).map_err(|why| CliError::new(Exit::Config, why))?;
            let text = std::str::from_utf8(&bytes).map_err(|_| {
                CliError::new(
                    Exit::Config,
                    format!("{} does not hold a key", path.display()),
                )
            })?;
            return Ok(Some(Secret::from_text(text.trim())));
        }
        Ok(self
            .env_key
            .as_deref()
            .map(|key| Secret::from_text(key.trim())))
    }

    /// A client; `missing` is what to tell where there is no server or no key.
    pub fn client(&self, patience: Duration, missing: &str) -> Result<(Client, Secret), CliError> {
        let usage = || CliError::new(Exit::Usage, missing);
        let server = self.server.as_deref().ok_or_else(usage)?;
        let key = self.key()?.ok_or_else(usage)?;
        Ok((Client::new(server, key.clone(), patience), key))
    }
}
