//! The server and the API key of a command, from flags or the environment.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::exit::CliError;
use crate::client::Client;
use crate::store::keyfile;
use crate::tenant::key::Secret;

#[derive(Debug, Clone, clap::Args)]
pub struct Remote {
    /// The server's URL, as `http://127.0.0.1:8080`
    #[arg(long, env = "ARF_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The API key (visible in `ps`; prefer ARF_KEY or --key-file)
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<String>,
    /// A file with the API key, readable only by its owner
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[arg(long, env = "ARF_KEY", hide = true, hide_env_values = true)]
    env_key: Option<String>,
}

impl Remote {
    pub fn key(&self) -> Result<Option<Secret>, CliError> {
        if let Some(key) = &self.key {
            let warning = "arf: warning: --key is visible in `ps`; set ARF_KEY or use --key-file";
            let _ = writeln!(std::io::stderr(), "{warning}");
            return Ok(Some(Secret::from_text(key.trim())));
        }
        if let Some(path) = &self.key_file {
            let bytes = keyfile::read_private(path).map_err(CliError::config)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| {
                CliError::config(format!("{} does not contain a key", path.display()))
            })?;
            return Ok(Some(Secret::from_text(text.trim())));
        }
        Ok(self
            .env_key
            .as_deref()
            .map(|key| Secret::from_text(key.trim())))
    }

    /// A client that retries a busy server for `retry_timeout`; `missing` is the error without a server or
    /// a key.
    pub fn client(
        &self,
        retry_timeout: Duration,
        missing: &str,
    ) -> Result<(Client, Secret), CliError> {
        let usage = || CliError::usage(missing);
        let server = self.server.as_deref().ok_or_else(usage)?;
        let key = self.key()?.ok_or_else(usage)?;
        Ok((Client::new(server, key.clone(), retry_timeout), key))
    }
}
