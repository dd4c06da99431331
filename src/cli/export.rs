//! `arf export`: all data, in formats that other programs read.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use super::progress;
use crate::id::TenantId;
use crate::store::{OpenError, ReadOnly};
use crate::tenant::schema::TABLES;
use crate::transfer::{ExportError, StoredTenant, ndjson, sql};

/// Export all data as JSON lines, one file for each table, or as a SQL script for PostgreSQL
///
/// The data directory must not be in use: back up a running server, and export the backup. Erased texts
/// are null. Secrets are not exported: API keys are stored as hashes, and the secret that pseudonyms are
/// derived with is left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory, or a backup
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
    /// The directory to write to; it is created, or has to be empty
    #[arg(long, default_value = "export", value_name = "DIR")]
    out: PathBuf,
    /// Only this tenant; damage to others does not matter
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// Write export.sql, which psql loads into the PostgreSQL tables of the Agentic Reliability Framework
    #[arg(long)]
    sql: bool,
    /// Print the summary as JSON (as in export.json)
    #[arg(long)]
    json: bool,
}

/// The version of `export.json` and of the files that it lists.
const FORMAT: u32 = 1;
const SUMMARY: &str = "export.json";
const SCRIPT: &str = "export.sql";

pub fn run(args: &Args) -> CliResult {
    let tenant = args.tenant.as_deref().map(TenantId::parse).transpose();
    let tenant = tenant.map_err(|why| CliError::usage(format!("--tenant {why}")))?;
    let source = ReadOnly::open(&args.data, TABLES).map_err(open_error)?;
    let mut tenants: Vec<_> = source
        .heads()
        .filter(|(id, _)| tenant.is_none_or(|tenant| tenant == *id))
        .map(|(id, head)| (id, head.sequence.get() + 1))
        .collect();
    tenants.sort_unstable();
    if let Some(tenant) = tenant.filter(|_| tenants.is_empty()) {
        let why = format!("{}: no tenant {tenant}", args.data.display());
        return Err(CliError::failed(why));
    }
    let out = io_error(&args.out);
    create_empty(&args.out).map_err(&out)?;
    // Beside the export: `/tmp` may be too small for it.
    let scratch = tempfile::tempdir_in(&args.out).map_err(&out)?;
    let reader = source.reader(scratch.path()).map_err(open_error)?;

    let mut outputs = Outputs::default();
    let total = tenants.iter().map(|(_, entries)| entries).sum();
    let mut bar = progress::bar("exporting");
    let mut done = 0;
    let mut script = sql::Script::default();
    for (tenant, entries) in &tenants {
        let rows = reader
            .tenant(*tenant)
            .map_err(|why| export_error(why.into()))?;
        let rows = rows.ok_or_else(|| {
            let why = format!("tenant {tenant}: its head is in the log and not in its rows");
            CliError::damaged(why)
        })?;
        let stored = StoredTenant::new(*tenant, rows, &reader).map_err(export_error)?;
        let mut progress = |entries| bar(done + entries, total);
        let mut put = |name, bytes: &[u8]| outputs.put(&args.out, args.sql, name, bytes);
        if args.sql {
            script
                .write(&stored, &mut put, &mut progress)
                .map_err(export_error)?;
        } else {
            ndjson::write(&stored, &mut put, &mut progress).map_err(export_error)?;
        }
        done += entries;
    }
    drop(bar);
    let files = if args.sql {
        outputs.script(&args.out).map_err(&out)?
    } else {
        outputs.lines(&args.out).map_err(&out)?
    };
    drop(reader);
    scratch.close().map_err(&out)?;
    let summary = json!({
        "format": FORMAT,
        "kind": if args.sql { "postgresql" } else { "ndjson" },
        "tenants": tenants.len(),
        "records": source.facts().last.get(),
        "files": files,
    });
    // Last: an export without it is incomplete.
    finish(&args.out, &summary).map_err(&out)?;
    if args.json {
        print_line(&summary.to_string())?;
    } else {
        print_summary(&args.out, &files)?;
    }
    Ok(Exit::Success)
}

fn print_summary(out: &Path, files: &Value) -> Result<(), CliError> {
    for (name, file) in files.as_object().into_iter().flatten() {
        let rows = &file["rows"];
        for (table, rows) in rows.as_object().into_iter().flatten() {
            print_line(&format!("{table:28} {rows:>10} rows"))?;
        }
        if rows.is_number() {
            print_line(&format!("{name:28} {rows:>10} rows"))?;
        }
    }
    print_line(&format!("exported to {}", out.display()))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> CliError {
    move |error| CliError::failed(format!("{}: {error}", path.display()))
}

fn open_error(error: OpenError) -> CliError {
    let advice = match error {
        OpenError::InUse { .. } => ": back it up with `arf backup DIR`, and export the backup",
        OpenError::Io { .. }
        | OpenError::Tables(_)
        | OpenError::Newer { .. }
        | OpenError::Damaged { .. }
        | OpenError::Row(_)
        | OpenError::Rebuild { .. } => "",
    };
    CliError::new(Exit::from(&error), format!("{error}{advice}"))
}

fn export_error(why: ExportError) -> CliError {
    match why {
        ExportError::Read(_) | ExportError::Row { .. } | ExportError::Damaged { .. } => {
            CliError::damaged(why)
        }
        ExportError::TooMany(_) | ExportError::Output(_) => CliError::failed(why),
    }
}

/// Only for this user: the export has callers' texts.
fn create_empty(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    match fs::read_dir(dir)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::other("directory is not empty")),
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// The files, or the sections of the script.
#[derive(Default)]
struct Outputs(Vec<Output>);

struct Output {
    name: &'static str,
    file: BufWriter<File>,
    rows: u64,
}

impl Outputs {
    fn put(&mut self, out: &Path, section: bool, name: &'static str, row: &[u8]) -> io::Result<()> {
        let output = self.output(out, section, name)?;
        output.rows += 1;
        output.file.write_all(row)
    }

    fn output(&mut self, out: &Path, section: bool, name: &'static str) -> io::Result<&mut Output> {
        let index = self.0.iter().position(|output| output.name == name);
        let index = match index {
            Some(index) => index,
            None => {
                let file = if section {
                    tempfile::tempfile_in(out)?
                } else {
                    create(&out.join(name))?
                };
                self.0.push(Output {
                    name,
                    file: BufWriter::new(file),
                    rows: 0,
                });
                self.0.len() - 1
            }
        };
        Ok(&mut self.0[index])
    }

    /// Completes the files of lines, and creates empty ones for tables without rows.
    fn lines(mut self, out: &Path) -> io::Result<Value> {
        let mut files = serde_json::Map::new();
        for name in ndjson::files() {
            let output = self.output(out, false, name)?;
            output.file.flush()?;
            let file = output.file.get_mut();
            file.sync_all()?;
            let described = describe(file, json!(output.rows))?;
            files.insert(name.to_owned(), described);
        }
        Ok(files.into())
    }

    /// Concatenates the sections.
    fn script(mut self, out: &Path) -> io::Result<Value> {
        let mut script = BufWriter::new(create(&out.join(SCRIPT))?);
        let mut rows = serde_json::Map::new();
        script.write_all(sql::BEGIN.as_bytes())?;
        for section in sql::SECTIONS {
            let output = self.output(out, true, section.name)?;
            output.file.flush()?;
            let file = output.file.get_mut();
            file.seek(SeekFrom::Start(0))?;
            script.write_all(section.copy.as_bytes())?;
            io::copy(file, &mut script)?;
            script.write_all(sql::END_OF_COPY.as_bytes())?;
            rows.insert(section.name.to_owned(), json!(output.rows));
        }
        script.write_all(sql::COMMIT.as_bytes())?;
        let mut script = script.into_inner()?;
        script.sync_all()?;
        let described = describe(&mut script, rows.into())?;
        Ok(json!({ SCRIPT: described }))
    }
}

/// For `export.json`. The file is read back, so that the hash is that of the bytes on disk.
fn describe(file: &mut File, rows: Value) -> io::Result<Value> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    let sha256 = format!("{:x}", hash.finalize());
    Ok(json!({"rows": rows, "bytes": bytes, "sha256": sha256}))
}

fn finish(out: &Path, summary: &Value) -> io::Result<()> {
    let mut file = create(&out.join(SUMMARY))?;
    writeln!(file, "{summary:#}")?;
    file.sync_all()?;
    File::open(out)?.sync_all()
}
