//! The local store keeps the contract of all stores.

use std::path::Path;
use std::time::Duration;

use crate::store::tests::contract::{Backend, TABLES, contract};
use crate::store::{Durable, Head, Op, Owner, Record, Store, StoreConfig};

struct Local;

impl Backend for Local {
    fn open(dir: &Path) -> Store {
        let config = StoreConfig {
            segment_bytes: 64 << 10,
            tables_every: Duration::from_millis(1),
            snapshot_bytes: 16 << 10,
            table_cache_bytes: 1 << 20,
            ..StoreConfig::new(dir)
        };
        Store::open(&config, &TABLES).unwrap()
    }

    fn append(
        store: &Store,
        owner: Owner,
        rows: Vec<Op<'static>>,
        entry: &[u8],
        head: Head,
    ) -> Durable {
        let record = Record::new(owner, head.sequence, rows, entry.to_vec(), None, head);
        store.append(record, ())
    }
}

contract!(Local);
