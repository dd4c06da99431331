//! All tables of a store, by id: the caller's and its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::table::{APPLIED, ENTRIES, HEADS, Load, OPENINGS, PIECES, TableSpec};

/// Ids from here on are reserved for the store.
const OWN: u8 = 0xE0;

/// The order of tables in a snapshot, so that a start can stop reading early: heads, then hot tables,
/// then side tables, then the rest.
pub(super) fn rank(table: &TableSpec) -> u8 {
    match table.load {
        _ if table.id == HEADS.id => 0,
        Load::Hot => 1,
        Load::Side => 2,
        Load::Cold => 3,
    }
}

/// Some of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// What tenants cannot be loaded without: heads, hot and side tables.
    Front,
    Back,
}

impl Part {
    pub fn has(self, table: &TableSpec) -> bool {
        let back = rank(table) == 3;
        match self {
            Self::Whole => true,
            Self::Front => !back,
            Self::Back => back,
        }
    }
}

/// Every table of one store.
#[derive(Clone)]
pub(in crate::store) struct Schema(BTreeMap<u8, &'static TableSpec>);

impl Schema {
    /// The caller's tables, which may include the store's, and the store's.
    ///
    /// # Panics
    /// If two tables share an id or a name, or one has a reserved id.
    pub fn new(tables: &'static [TableSpec]) -> Self {
        let own = [&ENTRIES, &OPENINGS, &HEADS, &PIECES, &APPLIED];
        let mut all: BTreeMap<_, _> = own.into_iter().map(|table| (table.id, table)).collect();
        for table in tables.iter().filter(|table| !own.contains(table)) {
            assert!(table.id < OWN, "the id of `{}` is reserved", table.name);
            assert!(
                all.insert(table.id, table).is_none(),
                "the id of `{}` is taken",
                table.name
            );
        }
        let names: BTreeSet<_> = all.values().map(|table| table.name).collect();
        assert_eq!(names.len(), all.len(), "two tables share a name");
        Self(all)
    }

    pub fn get(&self, id: u8) -> Option<&'static TableSpec> {
        self.0.get(&id).copied()
    }

    pub fn all(&self) -> impl Iterator<Item = &'static TableSpec> {
        self.0.values().copied()
    }

    /// Those whose rows are in the log.
    pub fn logged(&self) -> impl Iterator<Item = &'static TableSpec> {
        self.all()
            .filter(|table| ![PIECES.id, APPLIED.id].contains(&table.id))
    }

    /// Those that a claim loads.
    pub fn hot(&self) -> impl Iterator<Item = &'static TableSpec> {
        self.all().filter(|table| table.load == Load::Hot)
    }
}
