//! `arf gate`: every change of a Terraform plan, asked about as one change set.
//!
//! Of what the plan says about resources nothing leaves the machine but what
//! [`crate::terraform`] lets out: addresses, types, operations, names of attributes, and an allow-list.

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

/// Ask about every change of a Terraform plan
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `terraform show -json PLAN` printed; `-` for standard input
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    #[command(flatten)]
    remote: Remote,
    /// Decide here, by the default rules and without learning, whatever ARF_SERVER says
    #[arg(long)]
    offline: bool,
    /// Where the plan applies, if it does not say: dev, staging, prod or test
    #[arg(long, value_parser = environment, value_name = "ENV")]
    environment: Option<Environment>,
    /// Your name for the change set [default: made from the plan]
    #[arg(long, value_name = "ID")]
    change_set: Option<String>,
    /// Where a person can see the change
    #[arg(long)]
    url: Option<String>,
    /// Which revision of the change it is
    #[arg(long)]
    revision: Option<String>,
    /// What fails the gate where the tenant enforces in full
    #[arg(long, value_enum, default_value = "any")]
    fail_on: FailOn,
    /// Answers older than this are asked for anew
    #[arg(long, value_parser = crate::time::duration, default_value = "24h", value_name = "TIME")]
    max_age: Duration,
    /// How long a busy server is waited for
    #[arg(long, value_parser = crate::time::duration, default_value = "30s", value_name = "TIME")]
    timeout: Duration,
    /// How to print the answer
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Print to a file instead
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep what was asked under which id, as JSON
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

/// Runs the gate.
pub fn run(args: &Args) -> CliResult {
    let failed = |why: &dyn std::fmt::Display| CliError::new(Exit::Failed, why);
    let shown = args.plan.display();
    let bytes = if args.plan.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(&args.plan)
    };
    let bytes = bytes.map_err(|error| failed(&format!("{shown}: {error}")))?;
    let plan = Plan::parse(&bytes).map_err(|error| failed(&format!("{shown}: {error}")))?;
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
    let (exit, softened) = args.verdict(&report);
    let text = match args.format {
        Format::Text => report.text(softened),
        Format::Json => report.json(exit, softened),
        Format::Markdown => report.markdown(softened),
    };
    let write = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).map_err(|error| failed(&format!("{}: {error}", path.display())))
    };
    match &args.out {
        Some(path) => write(path, &text)?,
        None => print(&text)?,
    }
    if let Some(path) = &args.save {
        write(path, &report.run())?;
    }
    Ok(exit)
}

impl Args {
    /// The exit, and what softened it if anything did.
    fn verdict(&self, report: &Report) -> (Exit, Option<&'static str>) {
        let strict = match report.worst() {
            Action::Approve => return (Exit::Success, None),
            Action::Deny => Exit::Denied,
            Action::Escalate => Exit::Escalated,
        };
        let deny_only = strict == Exit::Escalated;
        match (report.enforcement, self.fail_on) {
            (Enforcement::Observe, _) => (
                Exit::Success,
                Some("the tenant only observes: nothing is stopped"),
            ),
            (Enforcement::Deny, _) if deny_only => {
                (Exit::Success, Some("the tenant stops denials only"))
            }
            (Enforcement::Full, FailOn::Never) => {
                (Exit::Success, Some("--fail-on never: nothing is stopped"))
            }
            (Enforcement::Full, FailOn::Deny) if deny_only => (
                Exit::Success,
                Some("--fail-on deny: escalations are not stopped"),
            ),
            (Enforcement::Deny | Enforcement::Full, _) => (strict, None),
        }
    }

    /// The change set that everything is asked under.
    fn change_set(
        &self,
        id: BoundedString<1, 64>,
        changes: &[Change<'_>],
    ) -> Result<ChangeSet, CliError> {
        let usage = |flag: &str, why: &dyn std::fmt::Display| {
            CliError::new(Exit::Usage, format!("{flag} {why}"))
        };
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
