//! Doors for fuzz targets, which are built as a crate of their own: never part of the program.

use super::log::frame::{HEADER, Kind, Tail};
use super::log::scan::records;
use super::schema::Schema;
use crate::store::TableSpec;
use crate::store::cursor::Cursor;
use crate::store::head::Head;
use crate::store::record::next_record;
use crate::store::row::ENVELOPE;
use crate::store::row::Op;

/// Reads bytes as a segment, and as the body of a frame.
pub fn segment(bytes: &[u8], tables: &'static [TableSpec]) {
    let schema = Schema::new(tables);
    let mut tail = Tail::START;
    while let Some(Ok(frame)) = usize::try_from(tail.offset)
        .ok()
        .and_then(|at| bytes.get(at..))
        .map(|rest| tail.accept(rest))
    {
        records(&frame, &schema).for_each(drop);
    }
    for count in [0, 1, 2, u32::MAX] {
        let (mut writing, mut reading) = (Tail::START, Tail::START);
        let mut frame = vec![0; HEADER];
        frame.extend_from_slice(bytes);
        writing.finish(Kind::Group, count, &mut frame);
        let read = reading.accept(&frame).ok().expect("a frame is read back");
        records(&read, &schema).for_each(drop);
        assert_eq!(writing, reading);
    }
}

/// Reads bytes as a record with a length and a checksum that are right.
pub fn record(bytes: &[u8], tables: &'static [TableSpec]) {
    let schema = Schema::new(tables);
    let len = u32::try_from(bytes.len()).expect("fuzzers send less");
    let mut whole = len.to_le_bytes().to_vec();
    whole.extend(crc32fast::hash(bytes).to_le_bytes());
    whole.extend_from_slice(bytes);
    let _ = next_record(&mut Cursor::new(&whole), |id| schema.get(id));
}

/// Reads bytes as a head; one that is read is written the same.
pub fn head(bytes: &[u8]) {
    if let Some(head) = Head::decode(bytes) {
        assert_eq!(head.encode(), bytes);
    }
}

/// Key and payload of a row that is put.
///
/// # Panics
/// If it is not.
pub fn put<'o>(op: &'o Op<'_>) -> (&'o [u8], Vec<u8>) {
    let envelope = op.envelope().expect("a row that is put");
    (
        &op.key,
        envelope.get(ENVELOPE..).unwrap_or_default().to_vec(),
    )
}
