//! `arf backup`: a backup of a data directory, or by a running server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use super::progress;
use super::remote::Remote;
use crate::client::Client;
use crate::credentials;
use crate::engine::clock;
use crate::jobs::backup::SECRETS;
use crate::store::{Backup, BackupError, OpenError, ReadOnly};
use crate::tenant::schema::TABLES;

/// Back up a data directory as of one moment, and read the copy back
///
/// If no server runs on the data directory, it is copied directly. If one does, the server copies it,
/// for an operator's key and only to its own `backup.dir`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new backup; must be empty or missing
    dir: PathBuf,
    /// The data directory
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
    /// Include the private keys: signing.key and credentials.json
    #[arg(long)]
    with_keys: bool,
    #[command(flatten)]
    remote: Remote,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// How long to wait for a busy server.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to copy.
const COPY_TIMEOUT: Duration = Duration::from_secs(6 * 3_600);
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
pub fn run(args: &Args) -> CliResult {
    let dir = std::path::absolute(&args.dir).map_err(failed)?;
    let made = match ReadOnly::open(&args.data, TABLES) {
        Ok(seen) => {
            let secrets = if args.with_keys { SECRETS } else { &[] };
            let made = seen.backup(&dir, clock::now(), secrets, &mut progress::steps());
            summary(&dir, &made.map_err(result)?)
        }
        Err(OpenError::InUse { .. }) => args.by_the_server(&dir)?,
        Err(error) => return Err(result(error.into())),
    };
    if args.json {
        print_line(&made.to_string())?;
    } else {
        let number = |name: &str| made.get(name).and_then(Value::as_u64).unwrap_or(0);
        print_line(&format!(
            "backup {}: {} records of {} tenants, {} bytes, checked",
            text(&made, "path"),
            number("lsn"),
            number("tenants"),
            number("bytes"),
        ))?;
    }
    Ok(Exit::Success)
}

fn summary(dir: &Path, made: &Backup) -> Value {
    let bytes: u64 = made.files.values().map(|file| file.bytes).sum();
    json!({
        "name": dir.file_name().map(|name| name.to_string_lossy()),
        "path": dir.display().to_string(),
        "made_at": made.made_at,
        "lsn": made.lsn,
        "tenants": made.tenants,
        "bytes": bytes,
    })
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Args {
    /// Asks the server that has the directory open for a backup.
    fn by_the_server(&self, dir: &Path) -> Result<Value, CliError> {
        let usage = |why: &str| CliError::usage(format!("{}: {why}", dir.display()));
        let name = dir.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| usage("is not the name of a backup"))?;
        let parent = dir.parent().unwrap_or(Path::new("/"));
        // The server compares it with its own directory.
        let parent = std::fs::canonicalize(parent)
            .map_err(|error| CliError::failed(format!("{}: {error}", parent.display())))?;
        let parent = parent.to_str().ok_or_else(|| usage("is not UTF-8"))?;
        let key = match self.remote.key()? {
            Some(key) => key,
            None => {
                let kept = credentials::read_keys(&self.data);
                let kept = kept.map_err(CliError::config)?;
                let kept = kept
                    .ok_or_else(|| self.in_use("set ARF_SERVER, and ARF_KEY to an operator key"))?;
                kept.operator_key
            }
        };
        let server = self.remote.server.as_deref().unwrap_or(DEFAULT_SERVER);
        let body = json!({"name": name, "parent": parent, "with_keys": self.with_keys});
        let client = Client::with_timeout(server, key, BUSY_TIMEOUT, COPY_TIMEOUT);
        let answer = client.post("/api/v1/admin/backup", &body);
        let answer = answer.map_err(|why| self.in_use(&why.to_string()))?;
        let forbidden = answer.status == 403;
        answer.success().map_err(|bad| {
            let hint = if forbidden {
                " (it takes an operator key: `arf key show operator` prints the first one)"
            } else {
                ""
            };
            CliError::failed(format!("{}{hint}", bad.problem()))
        })
    }

    fn in_use(&self, why: &str) -> CliError {
        let data = self.data.display();
        let message = format!("{data} is in use, so its server has to make the backup: {why}");
        CliError::new(Exit::InUse, message)
    }
}

fn failed(why: impl std::fmt::Display) -> CliError {
    CliError::failed(why)
}

/// The exit code of a failed backup or restore.
pub fn result(error: BackupError) -> CliError {
    let exit = match &error {
        BackupError::NotEmpty { .. }
        | BackupError::Unfinished { .. }
        | BackupError::Inside { .. }
        | BackupError::NoRoom { .. }
        | BackupError::NoData { .. }
        | BackupError::Closed
        | BackupError::Io { .. } => Exit::Failed,
        BackupError::NotABackup { .. } | BackupError::Damaged { .. } => Exit::Damaged,
        BackupError::Open(error) => error.into(),
    };
    CliError::new(exit, error)
}
