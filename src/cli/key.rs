//! `arf key`: make, show, rotate and revoke API keys.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use super::remote::Remote;
use crate::client::Response;
use crate::credentials;

/// Make, show, rotate and revoke API keys
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print one of the first keys, from the credentials file alone
    Show(Show),
    /// Make a key; its secret is printed once
    Create(Create),
    /// Give a key another secret, which is printed once; the old one is good no longer
    Rotate(Named),
    /// Revoke a key, for ever
    Revoke(Named),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Which one
    which: Which,
    /// The data directory
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    /// Administers tenants
    Operator,
    /// Decides and reports outcomes
    Api,
    /// Gives verdicts
    Reviewer,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The tenant it will be a key of
    #[arg(long, value_name = "UUID")]
    tenant: String,
    /// free, pro, premium or enterprise
    #[arg(long, default_value = "enterprise")]
    tier: String,
    /// agent, ci, reviewer, auditor, policy or operator [default: ci]
    #[arg(long)]
    role: Option<String>,
    /// What you call it
    #[arg(long)]
    name: Option<String>,
    /// The person or system behind it; reviewers must have one
    #[arg(long)]
    owner: Option<String>,
    /// When it stops by itself (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    #[command(flatten)]
    remote: Remote,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The key's id
    key_id: String,
    /// The tenant it is a key of
    #[arg(long, value_name = "UUID")]
    tenant: String,
    #[command(flatten)]
    remote: Remote,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// How long a busy server is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// What to tell where there is no server.
const NO_SERVER: &str = "no server: set ARF_SERVER, and ARF_KEY to an operator key";

/// Runs the subcommand.
pub fn run(args: &Args) -> CliResult {
    match &args.command {
        Command::Show(show) => show.run(),
        Command::Create(create) => create.run(),
        Command::Rotate(named) => named.rotate(),
        Command::Revoke(named) => named.revoke(),
    }
}

impl Show {
    fn run(&self) -> CliResult {
        let file = self.data.join(credentials::FILE);
        let absent = |what: &str| {
            let progress = format!("{}: there is no such {what}", file.display());
            CliError::new(Exit::Config, progress)
        };
        let kept =
            credentials::read_keys(&self.data).map_err(|why| CliError::new(Exit::Config, why))?;
        let kept = kept.ok_or_else(|| absent("file"))?;
        let secret = match self.which {
            Which::Operator => Some(kept.operator_key),
            Which::Api => kept.api_key,
            Which::Reviewer => kept.reviewer_key,
        };
        let secret = secret.ok_or_else(|| absent("key in it"))?;
        print_line(secret.reveal())?;
        Ok(Exit::Success)
    }
}

impl Create {
    fn run(&self) -> CliResult {
        let (client, _) = self.remote.client(PATIENCE, NO_SERVER)?;
        let mut body = Map::from_iter([("tier".to_owned(), json!(self.tier))]);
        let given = [
            ("role", &self.role),
            ("name", &self.name),
            ("owner", &self.owner),
            ("expires_at", &self.expires_at),
        ];
        for (name, value) in given {
            body.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
        let path = format!("/api/v1/admin/tenants/{}/keys", self.tenant);
        let made = good(client.post(&path, &Value::Object(body)))?;
        show(&made, "key", self.json)?;
        Ok(Exit::Success)
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/api/v1/admin/tenants/{}/keys/{}", self.tenant, self.key_id)
    }

    fn rotate(&self) -> CliResult {
        let (client, _) = self.remote.client(PATIENCE, NO_SERVER)?;
        let path = format!("{}/rotate", self.path());
        let rotated = good(client.post(&path, &Value::Object(Map::new())))?;
        show(&rotated, "key", self.json)?;
        Ok(Exit::Success)
    }

    fn revoke(&self) -> CliResult {
        let (client, _) = self.remote.client(PATIENCE, NO_SERVER)?;
        good(client.delete(&self.path()))?;
        let answer = json!({"key_id": self.key_id, "is_active": false});
        show(&answer, "key_id", self.json)?;
        Ok(Exit::Success)
    }
}

fn good(answer: Result<Response, crate::client::ClientError>) -> Result<Value, CliError> {
    let answer = answer.map_err(|why| CliError::new(Exit::Failed, why))?;
    answer
        .success()
        .map_err(|bad| CliError::new(Exit::Failed, bad.problem()))
}

/// Prints the whole answer, or the one member that a script wants.
fn show(answer: &Value, member: &str, whole: bool) -> Result<(), CliError> {
    match answer
        .get(member)
        .and_then(Value::as_str)
        .filter(|_| !whole)
    {
        Some(text) => print_line(text),
        None => print_line(&answer.to_string()),
    }
}
