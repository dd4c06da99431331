//! `arf key`: create, show, rotate and revoke API keys.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use super::remote::Remote;
use crate::client::{ClientError, Response};
use crate::credentials;

/// Create, show, rotate and revoke API keys
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print one of the first keys, from the credentials file
    Show(Show),
    /// Create a key; its secret is printed once
    Create(Create),
    /// Replace the secret of a key; the new one is printed once, the old one stops working
    Rotate(KeyArgs),
    /// Revoke a key permanently
    Revoke(KeyArgs),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The key to print
    key: FirstKey,
    /// The data directory
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FirstKey {
    /// Administers tenants
    Operator,
    /// Evaluates intents and reports outcomes
    Api,
    /// Gives verdicts
    Reviewer,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The tenant of the key
    #[arg(long, value_name = "UUID")]
    tenant: String,
    /// free, pro, premium or enterprise
    #[arg(long, default_value = "enterprise")]
    tier: String,
    /// agent, ci, reviewer, auditor, policy or operator [default: ci]
    #[arg(long)]
    role: Option<String>,
    /// A name for the key
    #[arg(long)]
    name: Option<String>,
    /// The person or system that uses it; required for reviewers
    #[arg(long)]
    owner: Option<String>,
    /// When it expires (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    #[command(flatten)]
    remote: Remote,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct KeyArgs {
    /// The id of the key
    key_id: String,
    /// The tenant of the key
    #[arg(long, value_name = "UUID")]
    tenant: String,
    #[command(flatten)]
    remote: Remote,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
}

/// For a busy server.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const NO_SERVER: &str = "no server: set ARF_SERVER, and ARF_KEY to an operator key";

pub fn run(args: &Args) -> CliResult {
    match &args.command {
        Command::Show(show) => show.run(),
        Command::Create(create) => create.run(),
        Command::Rotate(key) => key.rotate(),
        Command::Revoke(key) => key.revoke(),
    }
}

impl Show {
    fn run(&self) -> CliResult {
        let file = self.data.join(credentials::FILE);
        let absent = |what: &str| CliError::config(format!("{}: no such {what}", file.display()));
        let kept = credentials::read_keys(&self.data).map_err(CliError::config)?;
        let kept = kept.ok_or_else(|| absent("file"))?;
        let secret = match self.key {
            FirstKey::Operator => Some(kept.operator_key),
            FirstKey::Api => kept.api_key,
            FirstKey::Reviewer => kept.reviewer_key,
        };
        let secret = secret.ok_or_else(|| absent("key in it"))?;
        print_line(secret.reveal())?;
        Ok(Exit::Success)
    }
}

impl Create {
    fn run(&self) -> CliResult {
        let (client, _) = self.remote.client(RETRY_TIMEOUT, NO_SERVER)?;
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
        let created = success(client.post(&path, &Value::Object(body)))?;
        print_answer(&created, "key", self.json)?;
        Ok(Exit::Success)
    }
}

impl KeyArgs {
    fn path(&self) -> String {
        format!("/api/v1/admin/tenants/{}/keys/{}", self.tenant, self.key_id)
    }

    fn rotate(&self) -> CliResult {
        let (client, _) = self.remote.client(RETRY_TIMEOUT, NO_SERVER)?;
        let path = format!("{}/rotate", self.path());
        let rotated = success(client.post(&path, &Value::Object(Map::new())))?;
        print_answer(&rotated, "key", self.json)?;
        Ok(Exit::Success)
    }

    fn revoke(&self) -> CliResult {
        let (client, _) = self.remote.client(RETRY_TIMEOUT, NO_SERVER)?;
        success(client.delete(&self.path()))?;
        let answer = json!({"key_id": self.key_id, "is_active": false});
        print_answer(&answer, "key_id", self.json)?;
        Ok(Exit::Success)
    }
}

fn success(response: Result<Response, ClientError>) -> Result<Value, CliError> {
    let response = response.map_err(CliError::failed)?;
    response
        .success()
        .map_err(|bad| CliError::failed(bad.problem()))
}

/// Prints the whole response as JSON, or one member of it.
fn print_answer(answer: &Value, member: &str, json: bool) -> Result<(), CliError> {
    match answer.get(member).and_then(Value::as_str).filter(|_| !json) {
        Some(text) => print_line(text),
        None => print_line(&answer.to_string()),
    }
}
