//! Descriptions of tables: the caller's, and the store's own.

/// One table. Its id and its name are in every row's checksum, so neither may ever change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    /// 0xE0 and up are reserved for the store.
    pub id: u8,
    pub name: &'static str,
    pub load: Load,
    pub key_kind: KeyKind,
    /// The newest layout of its rows.
    pub version: u16,
}

/// When a table's rows are read and which checks cover them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Loaded when a tenant is claimed; counted and hashed in its head.
    Hot,
    /// Read on request; each row has its checksum.
    Cold,
    /// As [`Load::Cold`], and written outside the tenant's order.
    Side,
}

/// What a table's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A `u64`, big-endian, mostly growing: many rows share one value (a block).
    Sequence,
    /// Bytes of the row's own, possibly none: one value a row.
    Natural,
}

impl TableSpec {
    /// The longest key a row of this table can have, without the tenant. For sequences there is
    /// room for something behind the number; blocks must hold at least one row beside its key.
    pub(super) const fn key_max(&self) -> usize {
        match self.key_kind {
            KeyKind::Sequence => 32,
            KeyKind::Natural => 1024,
        }
    }
}

/// The audit log: each entry's exact bytes under its sequence.
pub static ENTRIES: TableSpec = TableSpec {
    id: 0xE0,
    name: "decision_audit_log",
    load: Load::Cold,
    key_kind: KeyKind::Sequence,
    version: 1,
};

/// The erasable text behind the entries' commitments, under the entries' sequences.
pub static OPENINGS: TableSpec = TableSpec {
    id: 0xE1,
    name: "openings",
    load: Load::Cold,
    key_kind: KeyKind::Sequence,
    version: 1,
};

/// Each tenant's [`Head`](super::Head), under the empty key.
pub(super) static HEADS: TableSpec = TableSpec {
    id: 0xF0,
    name: "_heads",
    load: Load::Cold,
    key_kind: KeyKind::Natural,
    version: 1,
};

/// The payloads of long rows, cut; see `local/tables/layout.rs`. Only in the tables, never in the log.
pub(super) static PIECES: TableSpec = TableSpec {
    id: 0xF1,
    name: "_pieces",
    load: Load::Cold,
    key_kind: KeyKind::Natural,
    version: 1,
};

/// How far the tables have come; see `local/tables/stamp.rs`. Only in the tables, never in the log.
pub(super) static APPLIED: TableSpec = TableSpec {
    id: 0xF2,
    name: "_applied",
    load: Load::Cold,
    key_kind: KeyKind::Natural,
    version: 1,
};
