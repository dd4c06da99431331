//! `arf doctor`: the state of a data directory.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use super::progress;
use crate::audit::verify::ParsedEntry;
use crate::audit::{Kid, Signer};
use crate::config::Config;
use crate::credentials;
use crate::engine::clock;
use crate::id::{Sequence, TenantId};
use crate::jobs::backup::Plan;
use crate::store::keyfile::{self, KeyFileError, SIGNING_KEY};
use crate::store::{
    self, Backup, DirectorySummary, ENTRIES, Effect, EnvelopeError, Op, OpenError, ReadOnly,
    TablesState,
};
use crate::tenant::key::{KeyHash, KeyRow, Secret};
use crate::tenant::schema::{API_KEYS, Row, RowKey as _, TABLES, TENANTS};
use crate::time::Timestamp;

/// Explain the state of a data directory; changes nothing
///
/// Exits with 0 if it is healthy, 65 if something is damaged, 75 if a process has the directory open
/// (only its files are then listed), 78 if a key file is wrong or a newer version wrote the directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory [default: that of the configuration, or data/db]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server's configuration file, for its backups and sizes
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// JSON has all.
const TENANTS_SHOWN: usize = 20;

/// The best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Fine,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Another process has the directory.
    InUse,
    /// Something has to be done before a start, or soon.
    Problem,
    /// What was written is not what is there.
    Damaged,
}
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    state: State,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tenant {
    tenant_id: TenantId,
    name: Option<String>,
    entries: u64,
}
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<Check>,
    tenants: Vec<Tenant>,
}

/// What files are compared with.
#[derive(Default)]
struct Rows {
    /// Every tenant's last entry.
    last: HashMap<TenantId, Sequence>,
    names: BTreeMap<TenantId, String>,
    keys: HashMap<KeyHash, KeyRow>,
    /// When the newest entry was made, and the key it is signed with.
    signed: Option<(Timestamp, Kid)>,
}
pub fn run(args: &Args) -> CliResult {
    let config = args
        .config
        .as_deref()
        .map_or(Ok(Config::default()), Config::read);
    let config = config.map_err(CliError::config)?;
    let plan = config.backup();
    let store = config.store();
    let store = store.map_err(CliError::config)?;
    let data = args.data.clone().unwrap_or_else(|| config.data());
    let data = std::path::absolute(&data).map_err(CliError::failed)?;
    let survey = DirectorySummary::of(&data)
        .map_err(|why| CliError::failed(format!("{}: {why}", data.display())))?;

    let mut found = Findings::default();
    if survey.empty {
        found.fine("data", "empty: the first start initializes it");
        if survey.restore_cut_short {
            found.note("restore", "one was interrupted: run it again");
        }
    } else {
        found.look(&data, &survey);
    }
    found.room(&survey, store.watermark(survey.newest_snapshot));
    match plan {
        Ok(plan) => found.backups(args.config.is_some(), plan.as_ref()),
        Err(why) => found.add("backups", State::Problem, why.to_string(), ""),
    }
    let worst = found.checks.iter().map(|check| check.state).max();
    let worst = worst.unwrap_or(State::Fine);
    if args.json {
        let summary = json!({
            "data": data.display().to_string(),
            "state": worst,
            "checks": found.checks,
            "tenants": found.tenants,
        });
        print_line(&summary.to_string())?;
    } else {
        found.print(&data)?;
    }
    Ok(match worst {
        State::Fine | State::Note => Exit::Success,
        State::InUse => Exit::InUse,
        State::Problem => Exit::Config,
        State::Damaged => Exit::Damaged,
    })
}

impl Findings {
    fn add(&mut self, what: &'static str, state: State, message: impl Into<String>, help: &str) {
        self.checks.push(Check {
            what,
            state,
            message: message.into(),
            help: Some(help.to_owned()).filter(|help| !help.is_empty()),
        });
    }

    fn fine(&mut self, what: &'static str, message: impl Into<String>) {
        self.add(what, State::Fine, message, "");
    }

    fn note(&mut self, what: &'static str, message: impl Into<String>) {
        self.add(what, State::Note, message, "");
    }

    /// Opens and reads the directory, unless it is in use.
    fn look(&mut self, data: &Path, survey: &DirectorySummary) {
        let opened = ReadOnly::open(data, TABLES);
        let rows = match &opened {
            Ok(seen) => {
                self.fine("use", "no process has it open");
                self.state_of_log(seen, survey);
                self.rows(seen)
            }
            Err(error) => {
                self.not_opened(error, survey);
                None
            }
        };
        let in_use = matches!(opened, Err(OpenError::InUse { .. }));
        self.snapshots(opened.as_ref().ok(), survey);
        if let Ok(backup) = Backup::read(data) {
            let at = backup.made_at;
            self.note(
                "backup",
                format!("this is one, made at {at}: `arf restore` checks all of it"),
            );
            // It has no tables, and keys only if they were asked for.
            return;
        }
        self.tables(survey, in_use);
        self.quarantine(survey);
        self.credentials(data, rows.as_ref());
        self.signing_key(data, rows.as_ref());
    }

    fn not_opened(&mut self, error: &OpenError, survey: &DirectorySummary) {
        let (count, bytes) = survey.segments;
        match error {
            OpenError::InUse { .. } => {
                self.add(
                    "use",
                    State::InUse,
                    "a process has it open: only its files are listed",
                    "",
                );
                self.fine(
                    "log",
                    format!("{count} segments, {bytes} bytes; ask the server itself at /readyz and /metrics"),
                );
            }
            OpenError::Newer { .. } => self.add(
                "format",
                State::Problem,
                error.to_string(),
                "start the version of arf that wrote it, or a newer one",
            ),
            OpenError::Io { .. } | OpenError::Tables(_) => self.add(
                "log",
                State::Problem,
                error.to_string(),
                "run this as the user that the server runs as",
            ),
            OpenError::Damaged { .. } if survey.restore_cut_short => self.add(
                "restore",
                State::Damaged,
                format!("one was interrupted, and a start is refused: {error}"),
                "run `arf restore BACKUP` again",
            ),
            OpenError::Damaged { .. } | OpenError::Row(_) | OpenError::Rebuild { .. } => self.add(
                "log",
                State::Damaged,
                format!(
                    "{error}. It was left as it is, and a start is refused. {count} segments, {bytes} bytes"
                ),
                "move the directory away and run `arf restore BACKUP`; without a backup, `arf repair --salvage \
                 --out DIR` writes what is readable as one",
            ),
        }
    }

    fn state_of_log(&mut self, seen: &ReadOnly, survey: &DirectorySummary) {
        let facts = seen.facts();
        self.fine(
            "format",
            format!(
                "{}; this version reads up to {}",
                facts.format,
                store::FORMAT
            ),
        );
        match (facts.boot_epoch, facts.clean) {
            (None, _) => self.fine("last stop", "it was never started"),
            (Some(starts), true) => {
                self.fine("last stop", format!("clean; started {starts} times"));
            }
            (Some(_), false) => self.note(
                "last stop",
                "unclean (a crash, a kill or a power cut): no acknowledged write is lost, and the \
                 next start recovers",
            ),
        }
        let (count, bytes) = survey.segments;
        let last = facts.last.get();
        self.fine(
            "log",
            format!(
                "{count} segments, {bytes} bytes, every frame as it was written; last record {last}, tables \
                 known to hold {}",
                facts.checkpoint.get()
            ),
        );
        if let Some((file, offset, why)) = facts.torn {
            let file = file.display();
            self.note(
                "log's end",
                format!(
                    "{file} ends at {offset} in a write that was cut short ({why}): it was never \
                     answered; the next start moves it to quarantine/"
                ),
            );
        }
    }

    /// Reads every row; `None` if they cannot be trusted.
    fn rows(&mut self, seen: &ReadOnly) -> Option<Rows> {
        let mut progress = progress::steps();
        let mut rows = Rows {
            last: seen.heads().map(|(id, head)| (id, head.sequence)).collect(),
            ..Rows::default()
        };
        let read = seen.walk(&mut progress, &mut |op| {
            rows.take(op)?;
            Ok(ControlFlow::Continue(()))
        });
        let checked = read.and_then(|()| seen.check_rows(&mut progress));
        self.tenants = seen
            .heads()
            .map(|(tenant_id, head)| Tenant {
                tenant_id,
                name: rows.names.remove(&tenant_id),
                entries: head.sequence.get() + 1,
            })
            .collect();
        self.tenants.sort_by_key(|tenant| tenant.tenant_id);
        let count = self.tenants.len();
        match checked {
            Ok(()) => {
                let entries: u64 = self.tenants.iter().map(|tenant| tenant.entries).sum();
                self.fine(
                    "tenants",
                    format!("{count} with {entries} entries; their rows are those of their heads"),
                );
                Some(rows)
            }
            // The log opened, so this is a snapshot, and no other makes up for it.
            Err(error @ OpenError::Damaged { .. }) => {
                self.add(
                    "snapshots",
                    State::Damaged,
                    format!(
                        "{error}, and no other snapshot is intact: it starts as long as its tables are, the \
                         next snapshot is built from them, and until then no backup can be made"
                    ),
                    "leave tables/ alone, and `arf restore BACKUP` into another directory",
                );
                None
            }
            Err(error) => {
                self.add(
                    "tenants",
                    State::Damaged,
                    error.to_string(),
                    "`arf repair --tenant T --from BACKUP`, or `arf restore BACKUP` into another directory",
                );
                None
            }
        }
    }

    fn snapshots(&mut self, seen: Option<&ReadOnly>, survey: &DirectorySummary) {
        let (count, bytes) = survey.snapshots;
        match count {
            0 => self.fine("snapshots", "none yet: the log is short"),
            _ => self.fine("snapshots", format!("{count}, {bytes} bytes")),
        }
        let damaged = seen.and_then(|seen| seen.damaged_snapshots().ok());
        let damaged = damaged.unwrap_or_default();
        let whole = seen.map_or(0, |seen| seen.facts().snapshots.len()) > damaged.len();
        for damaged in damaged.iter().filter(|_| whole) {
            self.note(
                "snapshots",
                format!(
                    "{} is damaged; the log and the other snapshot replace it",
                    damaged.display()
                ),
            );
        }
        for damaged in seen.into_iter().flat_map(|seen| seen.facts().damaged) {
            self.note(
                "snapshots",
                format!(
                    "{} is damaged; the log and the snapshot before it replace it, and the next start \
                     moves it to quarantine/",
                    damaged.display()
                ),
            );
        }
    }

    fn tables(&mut self, survey: &DirectorySummary, in_use: bool) {
        let bytes = survey.tables_bytes;
        match survey.tables {
            TablesState::Present => self.fine("tables", format!("present, {bytes} bytes")),
            TablesState::Missing => self.note("tables", "missing: the next start builds them"),
            TablesState::Rebuilding if in_use => {
                self.note("tables", "being rebuilt");
            }
            TablesState::Rebuilding => {
                self.note("tables", "incomplete: the next start rebuilds them");
            }
            TablesState::Doubtful => self.note(
                "tables",
                "a write to them failed (a full disk?): the next start rebuilds them",
            ),
        }
    }

    fn quarantine(&mut self, survey: &DirectorySummary) {
        if survey.quarantine.is_empty() {
            return;
        }
        let names = survey.quarantine.iter();
        let names: Vec<_> = names
            .map(|(name, bytes)| format!("{name} ({bytes} bytes)"))
            .collect();
        let names = names.join(", ");
        let dir = survey.data.join("quarantine");
        self.add(
            "quarantine",
            State::Note,
            format!("{names}; nothing reads it"),
            &format!("after inspecting it: rm -r {}", dir.display()),
        );
    }

    fn credentials(&mut self, data: &Path, rows: Option<&Rows>) {
        const WHAT: &str = "credentials";
        let file = credentials::FILE;
        let kept = match credentials::read_keys(data) {
            Ok(Some(kept)) => kept,
            Ok(None) => {
                return self.fine(
                    WHAT,
                    format!("no {file}: the first keys are stored elsewhere"),
                );
            }
            Err(error) => {
                return self.add(WHAT, State::Problem, error.to_string(), "");
            }
        };
        let Some(rows) = rows else {
            return self.fine(
                WHAT,
                format!("{file} is present; its keys were not checked"),
            );
        };
        let keys = [
            ("operator", Some(&kept.operator_key)),
            ("api", kept.api_key.as_ref()),
            ("reviewer", kept.reviewer_key.as_ref()),
        ];
        let keys: Vec<_> = keys
            .iter()
            .filter_map(|(name, key)| Some((*name, (*key)?)))
            .collect();
        let now = clock::now();
        let stale: Vec<_> = keys
            .iter()
            .filter(|(_, key)| !rows.is_valid(key, now))
            .map(|(name, _)| *name)
            .collect();
        let all: Vec<_> = keys.iter().map(|(name, _)| *name).collect();
        if rows.keys.is_empty() {
            self.fine(
                WHAT,
                format!("{file} is present: the first start creates its keys"),
            );
        } else if stale.is_empty() {
            self.fine(
                WHAT,
                format!("{file} is up to date: {} valid", is_are(&all)),
            );
        } else {
            self.add(
                WHAT,
                State::Note,
                format!("{file} is stale: {} no longer valid", is_are(&stale)),
                &format!(
                    "create keys with `arf key create`, then move {} away",
                    data.join(file).display()
                ),
            );
        }
    }

    fn signing_key(&mut self, data: &Path, rows: Option<&Rows>) {
        const WHAT: &str = "signing key";
        const LOST: &str = "restore the file from your copy of the private keys; if it is lost, create a backup and \
                            restore it: `arf restore` creates a new key and records it in every log";
        let signed = rows.and_then(|rows| rows.signed);
        match keyfile::load_signing_key(data) {
            Ok(key) => {
                let signer = Signer::from_seed(&key);
                let kid = signer.kid();
                match signed {
                    Some((_, other)) if other != kid => self.add(
                        WHAT,
                        State::Problem,
                        format!(
                            "{SIGNING_KEY} is {kid}, and the newest entry is signed by {other}"
                        ),
                        LOST,
                    ),
                    _ => self.fine(
                        WHAT,
                        format!("{SIGNING_KEY} is present, readable only by its owner: {kid}"),
                    ),
                }
            }
            Err(KeyFileError::Missing { .. }) if rows.is_some() && signed.is_none() => {
                self.fine(WHAT, "none yet: the first start creates it");
            }
            Err(error @ KeyFileError::Missing { .. }) => {
                self.add(WHAT, State::Problem, error.to_string(), LOST);
            }
            Err(error) => self.add(WHAT, State::Problem, error.to_string(), ""),
        }
    }

    /// Below its watermark the store refuses writes.
    fn room(&mut self, survey: &DirectorySummary, wants: u64) {
        let free = survey.free;
        if free >= wants {
            self.fine("disk", format!("{free} bytes free; {wants} required"));
        } else {
            self.add(
                "disk",
                State::Problem,
                format!(
                    "{free} bytes free, {wants} required: writes are refused until there is space"
                ),
                "free some space: old backups and quarantine/ may be deleted",
            );
        }
    }

    fn backups(&mut self, configured: bool, plan: Option<&Plan>) {
        const WHAT: &str = "backups";
        let Some(plan) = plan else {
            let message = if configured {
                "the server makes none: set `backup.dir` in its configuration"
            } else {
                "unknown: name the server's configuration with --config"
            };
            return self.note(WHAT, message);
        };
        let dir = plan.dir.display();
        let Some(last) = plan.last() else {
            return self.add(
                WHAT,
                State::Note,
                format!("none in {dir} yet"),
                "run `arf backup DIR`",
            );
        };
        let age = clock::now().since(last);
        let late = plan.every.is_some_and(|every| age > every * 2);
        let message = format!(
            "the last one in {dir} is of {last}, {} ago",
            in_largest_unit(age)
        );
        if late {
            let every = plan.every.map_or_else(String::new, in_largest_unit);
            self.add(
                WHAT,
                State::Note,
                format!("{message}; one is due every {every}"),
                "see the server's log",
            );
        } else {
            self.fine(WHAT, message);
        }
    }

    fn print(&self, data: &Path) -> Result<(), CliError> {
        print_line(&format!("data directory {}", data.display()))?;
        for check in &self.checks {
            let state = match check.state {
                State::Fine => "ok",
                State::Note => "note",
                State::InUse => "in use",
                State::Problem => "PROBLEM",
                State::Damaged => "DAMAGED",
            };
            print_line(&format!("  {state:8} {:12} {}", check.what, check.message))?;
            if let Some(help) = &check.help {
                print_line(&format!("  {:21} -> {help}", ""))?;
            }
        }
        if !self.tenants.is_empty() {
            print_line("tenants")?;
        }
        for tenant in self.tenants.iter().take(TENANTS_SHOWN) {
            let name = tenant.name.as_deref().unwrap_or("?");
            print_line(&format!(
                "  {}  {:>10} entries  {name}",
                tenant.tenant_id, tenant.entries
            ))?;
        }
        match self.tenants.len().checked_sub(TENANTS_SHOWN) {
            Some(more @ 1..) => print_line(&format!("  and {more} more (--json has all)")),
            _ => Ok(()),
        }
    }
}

impl Rows {
    fn take(&mut self, op: &Op<'_>) -> Result<(), EnvelopeError> {
        if [&TENANTS, &API_KEYS].contains(&op.table)
            && let Some(stored) = op.stored()?
        {
            match Row::decode(op.table, stored.version, &op.key, &stored.payload) {
                Ok(Row::AccountRow((), account)) => {
                    self.names.insert(op.tenant, account.name);
                }
                Ok(Row::KeyRow(hash, key)) => {
                    self.keys.insert(hash, key);
                }
                Ok(_) | Err(_) => {}
            }
        } else if *op.table == API_KEYS
            && op.effect == Effect::Delete
            && let Some(hash) = KeyHash::from_bytes(&op.key)
        {
            self.keys.remove(&hash);
        } else if *op.table == ENTRIES
            && self.last.get(&op.tenant).copied() == Sequence::from_bytes(&op.key)
            && let Some(stored) = op.stored()?
            && let Ok(entry) = ParsedEntry::parse(&stored.payload)
            && self.signed.is_none_or(|(at, _)| entry.at >= at)
        {
            self.signed = Some((entry.at, entry.kid));
        }
        Ok(())
    }

    fn is_valid(&self, key: &Secret, at: Timestamp) -> bool {
        let row = self.keys.get(&key.hash());
        row.is_some_and(|row| row.is_valid(at))
    }
}

/// `operator`: `the operator key is`.
fn is_are(names: &[&str]) -> String {
    match names {
        [one] => format!("the {one} key is"),
        many => format!("the keys {} are", many.join(", ")),
    }
}

/// A duration in its largest unit.
fn in_largest_unit(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (number, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn states_are_words_and_ordered() {
        let states = [
            State::Fine,
            State::Note,
            State::InUse,
            State::Problem,
            State::Damaged,
        ];
        assert!(states.is_sorted());
        let shown: Vec<Value> = states.iter().map(|state| json!(state)).collect();
        assert_eq!(shown, ["fine", "note", "in_use", "problem", "damaged"]);
    }

    #[test]
    fn durations_are_shown_in_their_largest_unit() {
        for (seconds, text) in [
            (1, "1 seconds"),
            (600, "10 minutes"),
            (86_400, "24 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(in_largest_unit(Duration::from_secs(seconds)), text);
        }
    }
}
