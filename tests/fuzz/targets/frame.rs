//! The log: segments of any bytes, and records with a valid checksum.
#![no_main]

use arf::store::fuzz;
use arf::tenant::schema::TABLES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzz::segment(bytes, TABLES);
    fuzz::record(bytes, TABLES);
});
