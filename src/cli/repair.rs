//! `arf repair`: one tenant's rows rebuilt, or what survives of a data directory that does not start
//! written as a backup.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::exit::{CliError, CliResult, Exit};
use super::output::{print, print_line};
use super::{backup, progress};
use crate::audit::verify::{leaf_hash, tree_root};
use crate::engine::clock;
use crate::id::TenantId;
use crate::jobs::backup::SECRETS;
use crate::store::{
    DamagedRange, LogGap, Repair, RepairError, Salvage, SalvageReport, StoreConfig, TenantLoss,
};
use crate::tenant::schema::TABLES;

/// Repair one tenant's rows, or salvage a data directory that does not start
///
/// With --tenant: rebuilds that tenant's rows in the tables from the log, and from a backup where the
/// log does not suffice, if they match the tenant's last head: count and hash of its rows, and the root
/// over its entries. Otherwise nothing is changed and the difference is reported.
///
/// With --salvage: writes what can be read of a damaged data directory as a backup: everything before
/// the damage, and behind it every record of tenants that miss none. The damaged directory is not
/// changed. `arf restore` installs the backup. Without --out only the report is printed.
///
/// The server must be stopped.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["tenant", "salvage"])))]
pub struct Args {
    /// Rebuild this tenant's rows
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// A backup, for what the log no longer has
    #[arg(long, value_name = "DIR", conflicts_with = "salvage")]
    from: Option<PathBuf>,
    /// Report what survives of a damaged data directory, and write it to --out
    #[arg(long)]
    salvage: bool,
    /// Write what survives as a backup to this directory
    #[arg(long, value_name = "DIR", conflicts_with = "tenant")]
    out: Option<PathBuf>,
    /// Include the private keys: signing.key and credentials.json
    #[arg(long, requires = "out")]
    with_keys: bool,
    /// The data directory
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

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
        Err(CliError::failed(why))
    }

    fn tenant(&self, tenant: &str) -> CliResult {
        let tenant =
            TenantId::parse(tenant).map_err(|why| CliError::usage(format!("--tenant {why}")))?;
        let config = self.config()?;
        let repair = Repair {
            tenant,
            from: self.from.as_deref(),
            leaf: leaf_hash,
            root: tree_root,
        };
        let repaired = repair.run(&config, TABLES, &mut progress::steps());
        let repaired = repaired.map_err(|error| match error {
            RepairError::Open(error) => CliError::from(error),
            RepairError::NoTenant(_) => CliError::failed(error),
            RepairError::NoTables | RepairError::Differs { .. } => CliError::damaged(error),
        })?;
        if self.json {
            let summary = json!({
                "tenant": tenant,
                "from": if repaired.log_sufficed { "log" } else { "backup" },
                "sequence": repaired.sequence,
                "hot_rows": repaired.hot_rows,
                "entries": repaired.entries,
                "replaced": repaired.replaced,
            });
            print_line(&summary.to_string())?;
            return Ok(Exit::Success);
        }
        let source = match (repaired.log_sufficed, &self.from) {
            (true, None) => "the log",
            (true, Some(_)) => "the log alone: the backup was not needed",
            (false, _) => "the backup and the log behind it",
        };
        print_line(&format!(
            "tenant {tenant}: {} rows and {} entries up to {} match its head, from {source}",
            repaired.hot_rows, repaired.entries, repaired.sequence,
        ))?;
        print_line(if repaired.replaced {
            "replaced its rows in the tables"
        } else {
            "no usable tables: the next start builds them from the log"
        })?;
        Ok(Exit::Success)
    }

    fn salvage(&self) -> CliResult {
        self.config()?;
        let failed = |error: std::io::Error| CliError::failed(error);
        let scratch = match self.out.as_ref().and_then(|out| out.parent()) {
            Some(beside) if beside.is_dir() => tempfile::tempdir_in(beside),
            Some(_) | None => tempfile::tempdir(),
        };
        let scratch = scratch.map_err(failed)?;
        let mut progress = progress::steps();
        let planned = Salvage::plan(&self.data, TABLES, scratch.path(), &mut progress);
        let Some(salvage) = planned.map_err(CliError::from)? else {
            let data = self.data.display();
            print_line(&if self.json {
                json!({"damaged": false}).to_string()
            } else {
                format!("{data}: it starts as it is; `arf doctor` reads all of it")
            })?;
            return Ok(Exit::Success);
        };
        let report = json(salvage.report());
        if !self.json {
            print(&text(salvage.report()))?;
        }
        let Some(out) = &self.out else {
            if self.json {
                print_line(&report.to_string())?;
            }
            let why = "nothing was written; add --out DIR to write what survives as a backup";
            return Err(CliError::usage(why));
        };
        let secrets = if self.with_keys { SECRETS } else { &[] };
        let bytes = format!("{report:#}\n").into_bytes();
        let written = salvage.write(out, clock::now(), &bytes, secrets, &mut progress);
        written.map_err(backup::result)?;
        drop(progress);
        if self.json {
            print_line(&report.to_string())?;
        } else {
            let out = out.display();
            print_line(&format!(
                "backup      {out}; `arf restore {out} --data DIR` installs it"
            ))?;
        }
        Ok(Exit::Success)
    }
}

fn json(report: &SalvageReport) -> Value {
    let place = |place: &DamagedRange| {
        json!({
            "file": place.file.display().to_string(),
            "offset": place.offset,
            "bytes": place.bytes,
            "why": place.why,
        })
    };
    let gap = |gap: &LogGap| {
        let places: Vec<_> = gap.places.iter().map(place).collect();
        json!({"unreadable": places, "records": gap.records})
    };
    let loss = |loss: &TenantLoss| {
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
        "tenants_from_tables": report.from_tables,
        "losses": report.losses.iter().map(loss).collect::<Vec<_>>(),
    })
}

fn text(report: &SalvageReport) -> String {
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
            None => writeln!(text, "            unknown number of records"),
        };
    }
    let _ = writeln!(
        text,
        "keeps       {} records of the log; {} tenants lose nothing",
        report.kept, report.unharmed
    );
    if report.from_tables > 0 {
        let count = report.from_tables;
        let _ = writeln!(
            text,
            "            the rows of {count} tenants are taken from the tables"
        );
    }
    for loss in &report.losses {
        let kept = loss.last_kept.map_or("nothing stays".to_owned(), |last| {
            format!("stays up to {last}")
        });
        let why = match (loss.dropped, loss.tables_knew) {
            (Some((from, through)), _) => format!(
                "{from} to {through} are readable and dropped, because entries before them are missing"
            ),
            (None, Some(knew)) => format!("the tables knew of it up to {knew}"),
            (None, None) => "more may be missing: nothing of it is behind the damage".to_owned(),
        };
        let harm = if loss.certain() {
            "loses     "
        } else {
            "may lose  "
        };
        let _ = writeln!(text, "{harm}  tenant {}: {kept}; {why}", loss.tenant);
    }
    text
}
