//! Rows, openings and entries of any bytes.
#![no_main]

use arf::audit::Opening;
use arf::audit::verify::ParsedEntry;
use arf::id::TenantId;
use arf::store::{self, fuzz};
use arf::tenant::schema::{Mutation, Row, TABLES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8], &[u8])| {
    let (table, version, key, payload) = input;
    let table = &TABLES[usize::from(table) % TABLES.len()];
    let tenant = TenantId::from_bytes([7; 16]);
    let _ = store::open_envelope(tenant, table, key, payload);
    if let Ok(row) = Row::decode(table, version, key, payload) {
        // A decoded value encodes, and decodes to the same.
        let written = Mutation::from(row).op(tenant);
        let (key, again) = fuzz::put(&written);
        let row = Row::decode(table, 1, key, &again).expect("a row that was written is read");
        assert_eq!(fuzz::put(&Mutation::from(row).op(tenant)).1, again);
    }
    if let Ok(opening) = Opening::decode(payload) {
        assert_eq!(opening.encode(), payload);
    }
    let _ = ParsedEntry::parse(payload);
    fuzz::head(payload);
});
