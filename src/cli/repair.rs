//! `arf repair`: one tenant's rows made anew, or a data directory that does not start made to start.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::{CliError, CliResult, Exit};
use super::output::{print, print_line};
use super::{progress, restore};
use crate::audit::Signer;
use crate::audit::verify::{leaf_hash, tree_root};
use crate::credentials;
use crate::id::TenantId;
use crate::store::{
    Gap, Loss, OpenError, ReadOnly, Repair, RepairError, Salvage, SalvageReport, StoreConfig,
    keyfile,
};
use crate::tenant::schema::TABLES;
use crate::transfer::follow;

/// Repair one tenant's rows, or salvage a data directory that does not start
///
/// With --tenant: makes that tenant's rows in the tables anew from the log, and from a backup where
/// the log does not suffice, if they come to the tenant's last head: count and hash of its rows, and
/// the root over its entries. Otherwise nothing is changed, and it says what differs.
///
/// With --salvage: where the log is damaged, keeps everything before the damage, and behind it every
/// record of tenants that miss none. What is replaced is set aside in quarantine/, with a report of
/// what is lost. The audit logs of tenants that lost something, or may have, go on under new names;
/// their keys are good no longer, as one may have been revoked in what is lost.
///
/// The server must be stopped.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["tenant", "salvage"])))]
pub struct Args {
    /// Make this tenant's rows anew
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// A backup, for what the log does not have any more
    #[arg(long, value_name = "DIR", conflicts_with = "salvage")]
    from: Option<PathBuf>,
    /// Make a damaged data directory start again, with what can be read of it
    #[arg(long)]
    salvage: bool,
    /// Do not ask before salvaging
    #[arg(long, conflicts_with = "tenant")]
    yes: bool,
    /// Leave the keys of tenants that lost something as they are, even those that were revoked in it
    #[arg(long, conflicts_with = "tenant")]
    keep_keys: bool,
    /// Do not print a new operator key
    #[arg(long, conflicts_with = "tenant")]
    no_print_keys: bool,
    /// The data directory
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What is typed to go on.
const YES: &str = "salvage";

/// Repairs.
pub fn run(args: &Args) -> CliResult {
    match &args.tenant {
        Some(tenant) => args.tenant(tenant),
        None => args.salvage(),
    }
}

impl Args {
    fn config(&self) -> Result<StoreConfig, CliError> {
        if self.data.is_dir() {
            return Ok(StoreConfig::new(&self.data));
        }
        let why = format!("{}: there is no such directory", self.data.display());
        Err(CliError::new(Exit::Failed, why))
    }

    fn tenant(&self, tenant: &str) -> CliResult {
        let tenant = TenantId::parse(tenant)
            .map_err(|why| CliError::new(Exit::Usage, format!("--tenant {why}")))?;
        let config = self.config()?;
        let repair = Repair {
            tenant,
            from: self.from.as_deref(),
            leaf: leaf_hash,
            root: tree_root,
        };
        let repaired = repair.run(&config, TABLES, &mut progress::steps());
        let repaired = repaired.map_err(|error| match error {
            RepairError::Open(error) => opened(error),
            RepairError::NoTenant(_) => CliError::new(Exit::Failed, error),
            RepairError::NoTables | RepairError::Differs { .. } => {
                CliError::new(Exit::Damaged, error)
            }
        })?;
        if self.json {
            let progress = json!({
                "tenant": tenant,
                "from": if repaired.log_sufficed { "log" } else { "backup" },
                "sequence": repaired.sequence,
                "hot_rows": repaired.hot_rows,
                "entries": repaired.entries,
                "replaced": repaired.replaced,
            });
            print_line(&progress.to_string())?;
            return Ok(Exit::Success);
        }
        let source = match (repaired.log_sufficed, &self.from) {
            (true, None) => "the log",
            (true, Some(_)) => "the log alone, which has everything: the backup was not needed",
            (false, _) => "the backup and the log behind it",
        };
        print_line(&format!(
            "tenant {tenant}: {} rows and {} entries, up to {}, come to its head, from {source}",
            repaired.hot_rows, repaired.entries, repaired.sequence,
        ))?;
        print_line(if repaired.replaced {
            "its rows in the tables are replaced"
        } else {
            "there are no tables that can be used: the next start builds them from the log"
        })?;
        Ok(Exit::Success)
    }

    fn salvage(&self) -> CliResult {
        let config = self.config()?;
        let mut progress = progress::steps();
        let planned = Salvage::plan(&config, TABLES, &mut progress).map_err(opened)?;
        let unfinished = Salvage::unfinished(&self.data).map_err(opened)?;
        if planned.is_none() && unfinished.is_none() {
            let data = self.data.display();
            print_line(&if self.json {
                json!({"damaged": false}).to_string()
            } else {
                format!(
                    "{data}: it starts as it is, and nothing was changed; `arf doctor` reads all of it"
                )
            })?;
            return Ok(Exit::Success);
        }
        // Without it the salvage could not be finished.
        let key = keyfile::load_signing_key(&self.data)
            .map_err(|why| CliError::new(Exit::Config, why))?;
        let mut report = json!({"damaged": true});
        if let Some(salvage) = planned {
            report = json(salvage.report());
            if !self.json {
                print(&text(salvage.report(), self.keep_keys))?;
            }
            drop(progress);
            self.confirm()?;
            let bytes = format!("{report:#}\n").into_bytes();
            let executed = salvage.execute(&bytes, &mut progress::steps());
            executed.map_err(opened)?;
        }
        let harmed = Salvage::unfinished(&self.data).map_err(opened)?;
        let shown = self.go_on(&config, harmed.unwrap_or_default(), Signer::from_seed(&key))?;
        Salvage::finish(&self.data).map_err(opened)?;
        if self.json {
            if let Some(report) = report.as_object_mut() {
                report.insert("operator_key".to_owned(), json!(shown));
            }
            print_line(&report.to_string())?;
            return Ok(Exit::Success);
        }
        if let Some(key) = shown {
            print_line(&format!("operator key  {key}"))?;
        }
        print_line("done: it starts again")?;
        Ok(Exit::Success)
    }

    /// Asks, where there is somebody.
    fn confirm(&self) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        let unasked = || CliError::new(Exit::Usage, "nothing was changed; to go on, say --yes");
        if !std::io::stdin().is_terminal() {
            return Err(unasked());
        }
        print(&format!("Type {YES} to go on: "))?;
        let mut typed = String::new();
        let read = std::io::stdin().read_line(&mut typed);
        read.map_err(|why| CliError::new(Exit::Failed, why))?;
        if typed.trim() == YES {
            Ok(())
        } else {
            Err(CliError::new(Exit::Failed, "nothing was changed"))
        }
    }

    /// Has the tenants that lost something go on under new logs; the way back in, if it is to be
    /// shown.
    fn go_on(
        &self,
        config: &StoreConfig,
        harmed: BTreeSet<TenantId>,
        signer: Signer,
    ) -> Result<Option<String>, CliError> {
        let seen = ReadOnly::open(&self.data, TABLES).map_err(opened)?;
        let logs = follow::logs(&seen, &mut progress::steps());
        let mut logs = logs.map_err(|why| CliError::new(Exit::Damaged, why))?;
        drop(seen);
        logs.retain(|tenant, _| harmed.contains(tenant));
        let failed = |why: &dyn std::fmt::Display| CliError::new(Exit::Failed, why);
        let operator = if self.keep_keys || !logs.contains_key(&TenantId::ZERO) {
            None
        } else {
            keep_credentials(&self.data).map_err(|why| failed(&why))?;
            let made = credentials::make_operator_key(&self.data);
            Some(made.map_err(|why| failed(&why))?)
        };
        let config = StoreConfig {
            finish_salvage: true,
            ..config.clone()
        };
        let granted = restore::go_on(&config, signer, logs, self.keep_keys, operator)?;
        let shown = granted.filter(|_| !self.no_print_keys);
        Ok(shown.map(|granted| granted.secret.reveal().to_owned()))
    }
}

/// The credentials file is about to be written anew: it stays under another name.
fn keep_credentials(data: &Path) -> std::io::Result<()> {
    let file = data.join(credentials::FILE);
    let kept = file.with_extension("json.before-salvage");
    if file.exists() && !kept.exists() {
        std::fs::rename(file, kept)?;
    }
    Ok(())
}

fn opened(error: OpenError) -> CliError {
    let exit = match &error {
        OpenError::InUse { .. } => Exit::InUse,
        OpenError::Io { .. } | OpenError::Tables(_) => Exit::Failed,
        OpenError::Damaged { .. }
        | OpenError::Row(_)
        | OpenError::Newer { .. }
        | OpenError::Rebuild { .. } => Exit::Damaged,
    };
    CliError::new(exit, error)
}

fn json(report: &SalvageReport) -> Value {
    let gap = |gap: &Gap| {
        let places = gap.places.iter().map(|place| {
            json!({
                "file": place.file.display().to_string(),
                "offset": place.offset,
                "bytes": place.bytes,
                "why": place.why,
            })
        });
        json!({"unreadable": places.collect::<Vec<_>>(), "records": gap.records})
    };
    let loss = |loss: &Loss| {
        json!({
            "tenant": loss.tenant,
            "last_kept": loss.last_kept,
            "dropped": loss.dropped.map(|(from, through)| json!({"from": from, "through": through})),
            "tables_knew": loss.tables_knew,
            "certain": loss.certain(),
        })
    };
    json!({
        "damaged": true,
        "refused": report.refused,
        "gaps": report.gaps.iter().map(gap).collect::<Vec<_>>(),
        "kept_records": report.kept,
        "unharmed_tenants": report.unharmed,
        "losses": report.losses.iter().map(loss).collect::<Vec<_>>(),
        "aside": report.aside.display().to_string(),
    })
}

fn text(report: &SalvageReport, keep_keys: bool) -> String {
    let mut text = format!("{}\n", report.refused);
    // Writing to a String cannot fail.
    for gap in &report.gaps {
        for place in &gap.places {
            let _ = writeln!(
                text,
                "unreadable  {} at {}, {} bytes: {}",
                place.file.display(),
                place.offset,
                place.bytes,
                place.why
            );
        }
        let _ = match gap.records {
            Some(records) => writeln!(text, "            {records} records were there"),
            None => writeln!(text, "            nothing says how many records were there"),
        };
    }
    let _ = writeln!(
        text,
        "keeps       {} records; {} tenants lose nothing",
        report.kept, report.unharmed
    );
    for loss in &report.losses {
        let kept = loss.last_kept.map_or("nothing stays".to_owned(), |last| {
            format!("stays up to {last}")
        });
        let why = match (loss.dropped, loss.tables_knew) {
            (Some((from, through)), _) => format!(
                "{from} to {through} can be read and go, because entries before them are missing"
            ),
            (None, Some(knew)) => format!("the tables knew of it up to {knew}"),
            (None, None) => {
                "more may have been there: nothing of it is behind the damage".to_owned()
            }
        };
        let harm = if loss.certain() {
            "loses     "
        } else {
            "may lose  "
        };
        let _ = writeln!(text, "{harm}  tenant {}: {kept}; {why}", loss.tenant);
    }
    if !report.losses.is_empty() {
        let keys = if keep_keys {
            "stay as they are, even those that were revoked in what is lost"
        } else {
            "are good no longer: one may have been revoked in what is lost (--keep-keys leaves them)"
        };
        let _ = writeln!(text, "keys        of these tenants {keys}");
    }
    let _ = writeln!(text, "set aside   {}", report.aside.display());
    text
}
