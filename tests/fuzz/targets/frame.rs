//! The log: segments as they may lie on a disk, and records whose checksums happen to be right.
#![no_main]

use arf::store::fuzz;
use arf::tenant::schema::TABLES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzz::segment(bytes, TABLES);
    fuzz::record(bytes, TABLES);
});
