//! The world as a store sees it: its disk, how tables are opened, and what ends the process.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Disk, RealDisk};
use super::log::commit::{FatalError, FatalHandler};
use super::schema::Schema;
use super::tables::sled::SledTables;
use super::tables::{TableError, Tables};

/// Opens the tables in a directory.
type OpenTables = dyn Fn(&Path, &Schema, u64) -> Result<Box<dyn Tables>, TableError> + Send + Sync;

/// Everything that a test replaces.
pub struct Env {
    pub disk: Arc<dyn Disk>,
    pub open_tables: Box<OpenTables>,
    pub on_fatal: FatalHandler,
}

impl Env {
    /// The operating system, sled, and an end of the process.
    pub fn real() -> Self {
        Self {
            disk: Arc::new(RealDisk),
            open_tables: Box::new(|dir, schema, cache_bytes| {
                let tables: Vec<_> = schema.all().collect();
                // An open sled syncs when it is dropped, and panics where it cannot.
                let open = || SledTables::open(dir, &tables, cache_bytes);
                let opened = catch_unwind(AssertUnwindSafe(open));
                Ok(Box::new(opened.unwrap_or(Err(TableError::Panicked))?))
            }),
            on_fatal: Arc::new(abort),
        }
    }
}

fn abort(error: &FatalError) {
    tracing::error!(%error, "the log cannot be trusted any more: aborting");
    print_error(format!("arf: {error}: aborting\n"));
    std::process::abort()
}

/// Log lines are written by a thread that may not run again, so this goes to stderr as well. A reader
/// of stderr that does not read must not keep the process alive.
fn print_error(line: String) {
    let (done, printed) = std::sync::mpsc::channel();
    let print = move || {
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(print).is_ok() {
        let _ = printed.recv_timeout(Duration::from_secs(1));
    }
}
