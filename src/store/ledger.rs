//! An incremental checksum over a tenant's hot rows.
//!
//! A row's own checksum detects a changed row, but not one that is missing, stale or extra. Count and
//! sum over all rows do, and both are updated without reading the other rows.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

use super::row::{Effect, Envelope, Op, key_crc};
use super::table::{Load, TableSpec};
use crate::id::TenantId;

/// Count and hash of the live hot rows of one tenant.
///
/// The hash is the sum modulo 2^64 of `splitmix64(crc32(table name ‖ tenant ‖ key) << 32 | crc of
/// the envelope)`: frozen, it is in every head. To take a row's part out again its last checksum is
/// kept, some 20 bytes a row: under a hash of its place with a random key of this process, so that
/// callers cannot choose keys that collide.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    places: RandomState,
    crcs: HashMap<Place, u32, BuildHasherDefault<PlaceHasher>>,
    hash: u64,
}

impl Ledger {
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an operation, if its table is hot.
    ///
    /// # Panics
    /// On a range of a hot table, which no record may hold: the rows in it are not known here.
    pub fn fold(&mut self, op: &Op<'_>) {
        let Op {
            tenant, table, key, ..
        } = op;
        if table.load != Load::Hot {
            return;
        }
        match &op.effect {
            Effect::Put(envelope) => {
                let envelope = Envelope::read(envelope).expect("a put holds a whole envelope");
                self.put(*tenant, table, key, envelope.crc);
            }
            Effect::Delete => {
                if let Some(old) = self.crcs.remove(&self.place(table, key)) {
                    self.hash = self.hash.wrapping_sub(part(*tenant, table, key, old));
                }
            }
            Effect::DeleteTo(_) => panic!("hot rows are deleted one by one"),
        }
    }

    /// Adds or replaces a row; `crc` is its envelope's checksum.
    pub(super) fn put(&mut self, tenant: TenantId, table: &TableSpec, key: &[u8], crc: u32) {
        if let Some(old) = self.crcs.insert(self.place(table, key), crc) {
            self.hash = self.hash.wrapping_sub(part(tenant, table, key, old));
        }
        self.hash = self.hash.wrapping_add(part(tenant, table, key, crc));
    }

    pub fn count(&self) -> u64 {
        u64::try_from(self.crcs.len()).expect("a usize is at most 64 bits")
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn place(&self, table: &TableSpec, key: &[u8]) -> Place {
        Place(self.places.hash_one((table.id, key)).to_ne_bytes())
    }
}

/// Count and hash of hot rows of one tenant, none of which comes twice: so nothing has to be kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub rows: u64,
    pub hash: u64,
}

impl Tally {
    /// Counts one row in, by its envelope's checksum.
    pub fn put(&mut self, tenant: TenantId, table: &TableSpec, key: &[u8], crc: u32) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(part(tenant, table, key, crc));
    }
}

/// A keyed hash, as bytes so that it and a `u32` take 12 bytes and not 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place([u8; 8]);

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_ne_bytes(self.0));
    }
}

/// A [`Place`] is a hash already.
#[derive(Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a place writes one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One row's part of the sum.
fn part(tenant: TenantId, table: &TableSpec, key: &[u8], crc: u32) -> u64 {
    let place = key_crc(tenant, table, key).finalize();
    splitmix64(u64::from(place) << 32 | u64::from(crc))
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads every bit.
fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::golden;
    use crate::store::table::{ENTRIES, KeyKind};

    static HOT: [TableSpec; 2] = [
        TableSpec {
            id: 1,
            name: "one",
            load: Load::Hot,
            key_kind: KeyKind::Natural,
            version: 1,
        },
        TableSpec {
            id: 2,
            name: "two",
            load: Load::Hot,
            key_kind: KeyKind::Sequence,
            version: 1,
        },
    ];
    const TENANT: TenantId = TenantId::from_bytes([7; 16]);

    #[test]
    fn the_mixer_is_the_published_one() {
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(splitmix64(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn a_row_is_frozen() {
        let mut ledger = Ledger::new();
        ledger.fold(&Op::put(TENANT, &HOT[0], b"key".to_vec(), 1, b"value"));
        golden::check(
            "store_ledger.hex",
            &golden::hex(&ledger.hash().to_be_bytes()),
        );
    }

    #[test]
    fn cold_rows_do_not_count() {
        let mut ledger = Ledger::new();
        ledger.fold(&Op::put(TENANT, &ENTRIES, vec![0; 8], 1, b"entry"));
        assert_eq!((ledger.count(), ledger.hash()), (0, 0));
    }

    proptest! {
        #[test]
        fn row_by_row_is_the_same_as_all_at_once(
            ops in prop::collection::vec((0..2usize, 0..20u8, prop::option::of(0..4u8)), 0..200),
        ) {
            let mut ledger = Ledger::new();
            let mut live = BTreeMap::new();
            for (table, key, value) in ops {
                let op = match value {
                    Some(v) => Op::put(TENANT, &HOT[table], vec![key], 1, &[v]),
                    None => Op::delete(TENANT, &HOT[table], vec![key]),
                };
                ledger.fold(&op);
                match op.effect {
                    Effect::Put(_) => live.insert((table, key), op),
                    Effect::Delete | Effect::DeleteTo(_) => live.remove(&(table, key)),
                };
            }
            let mut fresh = Ledger::new();
            live.values().for_each(|op| fresh.fold(op));
            prop_assert_eq!(ledger.count(), fresh.count());
            prop_assert_eq!(ledger.hash(), fresh.hash());
        }
    }
}
