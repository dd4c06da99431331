//! `arf restore`: a data directory from a backup, which is checked first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use super::{backup, progress};
use crate::audit::Signer;
use crate::credentials;
use crate::engine::{Config, Engine};
use crate::id::TenantId;
use crate::store::keyfile::{self, KeyFileError, SIGNING_KEY};
use crate::store::{Backup, PendingRestore, Store, StoreConfig};
use crate::tenant::authorization::Caller;
use crate::tenant::key::{IssuedKey, KeySpec};
use crate::tenant::restore::{FormerLogRow, Restore};
use crate::tenant::schema::TABLES;
use crate::transfer::audit_logs;

/// Restore a backup to a data directory
///
/// All of the backup is checked first: every file, record, row, signature and audit log. Each tenant
/// continues under a new audit log, which names the one before it, its size and root. No key is active
/// afterwards, because some may have been revoked since; a new operator key is printed and written to
/// credentials.json.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup
    backup: PathBuf,
    /// The data directory; must be empty
    #[arg(long, default_value = "data/db", value_name = "DIR")]
    data: PathBuf,
    /// Keep all keys as they were at the time of the backup, even those revoked since
    #[arg(long)]
    keep_keys: bool,
    /// Sign with this key (a signing.key) instead of the one in the backup, or a new one
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Do not print the new operator key
    #[arg(long)]
    no_print_keys: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Tenants restored at once.
const AT_ONCE: usize = 64;
pub fn run(args: &Args) -> CliResult {
    let restoring = PendingRestore::begin(&args.data).map_err(backup::result)?;
    let mut progress = progress::steps();
    let (made, seen) =
        Backup::check(&args.backup, TABLES, &mut progress).map_err(backup::result)?;
    seen.check_rows(&mut progress).map_err(damaged)?;
    let logs = audit_logs::verify(&seen, &mut progress).map_err(damaged)?;
    drop(seen);

    let dir = restoring.dir();
    let without = args.without();
    restoring
        .copy(&args.backup, &made, &without, &mut progress)
        .map_err(backup::result)?;
    drop(progress);
    if let Some(file) = &args.signing_key {
        keyfile::copy_signing_key(file, &dir).map_err(key_file)?;
    }
    let key = keyfile::load_or_create_signing_key(&dir).map_err(key_file)?;
    let signer = Signer::from_seed(&key);
    let operator = if args.keep_keys || !logs.contains_key(&TenantId::ZERO) {
        None
    } else {
        // Written before the key is active: a key that was lost would lock everyone out.
        Some(credentials::write_operator_key(&dir).map_err(failed)?)
    };
    let public_key = signer.public_key().to_string();
    let tenants = logs.len();
    let config = StoreConfig::new(&dir);
    let granted = begin_logs(&config, signer, logs, args.keep_keys, operator)?;
    restoring.finish().map_err(backup::result)?;

    let data = std::path::absolute(&args.data).map_err(failed)?;
    let shown = granted.as_ref().filter(|_| !args.no_print_keys);
    let shown = shown.map(|granted| granted.secret.reveal());
    if args.json {
        let summary = json!({
            "data": data.display().to_string(),
            "made_at": made.made_at,
            "lsn": made.lsn,
            "tenants": tenants,
            "keys": if args.keep_keys { "kept" } else { "inactive" },
            "public_key": public_key,
            "operator_key": shown,
        });
        print_line(&summary.to_string())?;
        return Ok(Exit::Success);
    }
    print_line(&format!(
        "restored {}: {} records of {tenants} tenants, as of {}, all checked",
        data.display(),
        made.lsn,
        made.made_at,
    ))?;
    print_line(&format!("  signing key   {public_key}"))?;
    match (args.keep_keys, shown) {
        (true, _) => print_line("  keys          as in the backup, also those revoked since"),
        (false, Some(key)) => print_line(&format!(
            "  keys          none is active but this:\n  operator key  {key}"
        )),
        (false, None) => print_line(&format!(
            "  keys          none is active but the operator key in {}",
            data.join(credentials::FILE).display()
        )),
    }?;
    Ok(Exit::Success)
}

impl Args {
    /// The files of the backup that are not for this directory.
    fn without(&self) -> Vec<&'static str> {
        let mut without = Vec::new();
        if self.signing_key.is_some() {
            without.push(SIGNING_KEY);
        }
        if !self.keep_keys {
            without.push(credentials::FILE);
        }
        without
    }
}

/// Begins a new audit log for each of these tenants; returns the new operator key, if one was wanted.
fn begin_logs(
    store: &StoreConfig,
    signer: Signer,
    logs: BTreeMap<TenantId, FormerLogRow>,
    keep_keys: bool,
    mut operator: Option<KeySpec>,
) -> Result<Option<IssuedKey>, CliError> {
    let public_key = signer.public_key().to_string();
    actix::System::new().block_on(async {
        let store = Store::open(store, TABLES).map_err(failed)?;
        let engine = Engine::new(store, signer, Config::default()).map_err(failed)?;
        let seat = engine.join_thread();
        let (total, mut done) = (u64::try_from(logs.len()).unwrap_or(u64::MAX), 0);
        let mut progress = progress::bar("beginning audit logs");
        let commands = logs.into_iter().map(|(tenant, prior)| {
            let command = Restore {
                prior,
                keep_keys,
                key: operator.take_if(|_| tenant == TenantId::ZERO),
                public_key: public_key.clone(),
            };
            let engine = engine.clone();
            async move {
                let restored = engine.execute(tenant, Caller::Node, command, 0).await;
                restored
                    .map(|restored| restored.reply)
                    .map_err(|why| failed(format!("tenant {tenant}: {why}")))
            }
        });
        let mut commands = futures_util::stream::iter(commands).buffer_unordered(AT_ONCE);
        let mut granted = None;
        while let Some(restored) = commands.try_next().await? {
            granted = granted.or(restored);
            done += 1;
            progress(done, total);
            if done % 1_024 == 0 {
                engine.passivate_all();
            }
        }
        drop((commands, progress));
        wait_for_tables(&engine).await;
        drop(seat);
        engine.close().map_err(failed)?;
        Ok(granted)
    })
}

/// Waits until the tables are built, so that the first start does not have to; gives up after an hour.
async fn wait_for_tables(engine: &Engine) {
    const LOOKS: u64 = 36_000;
    let mut progress = progress::bar("building the tables");
    for look in 0..LOOKS {
        if !engine.health().store.rebuilding {
            return;
        }
        progress(look, LOOKS);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn failed(why: impl std::fmt::Display) -> CliError {
    CliError::failed(why)
}

fn damaged(why: impl std::fmt::Display) -> CliError {
    CliError::damaged(why)
}

fn key_file(why: KeyFileError) -> CliError {
    CliError::config(why)
}
