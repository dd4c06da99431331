//! `arf gate`: evaluates every change of a Terraform plan as one change set.
//!
//! Nothing of the plan leaves the machine but what [`crate::terraform`] returns: addresses, types,
//! operations, names of attributes, and the values of an allow-list.

mod offline;
mod online;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use super::exit::{CliError, CliResult, Exit};
use super::output::print;
use super::remote::Remote;
use crate::bounded::BoundedString;
use crate::decide::Action;
use crate::decide::intent::{ChangeSet, Environment};
use crate::decide::settings::Enforcement;
use crate::terraform::{Change, GateKey, Plan};

use online::Gate;
use report::Report;

/// Decide about every change of a Terraform plan
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The output of `terraform show -json`; `-` reads standard input
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    #[command(flatten)]
    remote: Remote,
    /// Decide without a server, by the default rules and without outcomes
    #[arg(long)]
    offline: bool,
    /// The environment of every change: dev, staging, prod or test [default: from tags and variables]
    #[arg(long, value_parser = environment, value_name = "ENV")]
    environment: Option<Environment>,
    /// The id of the change set [default: derived from the plan]
    #[arg(long, value_name = "ID")]
    change_set: Option<String>,
    /// A link to the change, for reviewers
    #[arg(long)]
    url: Option<String>,
    /// The revision of the change set
    #[arg(long)]
    revision: Option<String>,
    /// What fails the gate, if the tenant's enforcement is full
    #[arg(long, value_enum, default_value = "any")]
    fail_on: FailOn,
    /// Do not reuse answers older than this
    #[arg(long, value_parser = crate::time::duration, default_value = "24h", value_name = "TIME")]
    max_age: Duration,
    /// How long to retry a busy server
    #[arg(long, value_parser = crate::time::duration, default_value = "30s", value_name = "TIME")]
    timeout: Duration,
    /// The format of the report
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Write the report to a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the ids of the intents to a file, as JSON
    #[arg(long, value_name = "RUN.json")]
    save: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Denials and escalations
    Any,
    /// Denials only
    Deny,
    /// Nothing
    Never,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For programs
    Json,
    /// For a pull request
    Markdown,
}

const NO_SERVER: &str =
    "no server: set ARF_SERVER and ARF_KEY, or use --offline (default rules, no learning)";

fn environment(text: &str) -> Result<Environment, String> {
    Environment::parse(text).ok_or_else(|| "must be dev, staging, prod or test".to_owned())
}

pub fn run(args: &Args) -> CliResult {
    let at_path = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("{}: {error}", args.plan.display()))
    };
    let bytes = if args.plan.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(&args.plan)
    };
    let bytes = bytes.map_err(|error| at_path(&error))?;
    let plan = Plan::parse(&bytes).map_err(|error| at_path(&error))?;
    let changes = plan.changes(args.environment);
    let report = if changes.is_empty() {
        Report::empty()
    } else if args.offline {
        let id = BoundedString::new("offline").expect("it is short");
        offline::run(&changes, &args.change_set(id, &changes)?)
    } else {
        let (client, key) = args.remote.client(args.timeout, NO_SERVER)?;
        let (key, max_age) = (GateKey::new(key.reveal()), args.max_age);
        let gate = Gate {
            client,
            key,
            max_age,
        };
        gate.run(&changes, |id| args.change_set(id, &changes))?
    };
    let (exit, softened) = args.exit(&report);
    let text = match args.format {
        Format::Text => report.text(softened),
        Format::Json => report.json(exit, softened),
        Format::Markdown => report.markdown(softened),
    };
    let write = |path: &PathBuf, text: &str| {
        std::fs::write(path, text)
            .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
    };
    match &args.out {
        Some(path) => write(path, &text)?,
        None => print(&text)?,
    }
    if let Some(path) = &args.save {
        write(path, &report.run_json())?;
    }
    Ok(exit)
}

impl Args {
    /// The exit, and why it is not the one that the report calls for.
    fn exit(&self, report: &Report) -> (Exit, Option<&'static str>) {
        let strict = match report.worst() {
            Action::Approve => return (Exit::Success, None),
            Action::Deny => Exit::Denied,
            Action::Escalate => Exit::Escalated,
        };
        let deny_only = strict == Exit::Escalated;
        match (report.enforcement, self.fail_on) {
            (Enforcement::Observe, _) => (
                Exit::Success,
                Some("the tenant's enforcement is observe, which blocks nothing"),
            ),
            (Enforcement::Deny, _) if deny_only => (
                Exit::Success,
                Some("the tenant's enforcement is deny, which blocks denials only"),
            ),
            (Enforcement::Full, FailOn::Never) => (Exit::Success, Some("--fail-on never")),
            (Enforcement::Full, FailOn::Deny) if deny_only => (
                Exit::Success,
                Some("--fail-on deny, and there are only escalations"),
            ),
            (Enforcement::Deny | Enforcement::Full, _) => (strict, None),
        }
    }

    /// The change set of all intents.
    fn change_set(
        &self,
        id: BoundedString<1, 64>,
        changes: &[Change<'_>],
    ) -> Result<ChangeSet, CliError> {
        let usage =
            |flag: &str, why: &dyn std::fmt::Display| CliError::usage(format!("{flag} {why}"));
        let id = match &self.change_set {
            Some(given) => {
                BoundedString::new(given.as_str()).map_err(|why| usage("--change-set", &why))?
            }
            None => id,
        };
        let url = self.url.as_deref().map(BoundedString::new).transpose();
        let revision = self.revision.as_deref().map(BoundedString::new).transpose();
        let deletes = changes
            .iter()
            .filter(|change| change.intent.destroys())
            .count();
        Ok(ChangeSet {
            id,
            url: url.map_err(|why| usage("--url", &why))?,
            revision: revision.map_err(|why| usage("--revision", &why))?,
            intents: u32::try_from(changes.len()).ok(),
            deletes: u32::try_from(deletes).ok(),
        })
    }
}
