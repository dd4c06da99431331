//! Blocks: many rows of one tenant in one value, for tables keyed by sequence.
//!
//! One value per row costs sled about four times as much CPU and twice the space. A block is its
//! rows in key order, each as: length of its key (u8), its key after the tenant, its value (whose
//! length is in the value's own envelope).

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::store::cursor::Cursor;
use crate::store::row::{ENVELOPE, Envelope};

/// The longest payload that lies in its row's place, and the length of a piece.
pub(super) const PIECE: usize = 4032;

/// How many bytes of the envelope that begins here lie in its row's place.
pub(super) fn inline_len(value: &[u8]) -> Option<usize> {
    let len = Envelope::read(value)?.len;
    Some(if len > PIECE {
        ENVELOPE
    } else {
        ENVELOPE + len
    })
}

/// Rows by key after the tenant.
pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A block is full with this many bytes …
const BYTES_MAX: usize = 4096;
/// … or this many rows.
const ROWS_MAX: usize = 32;

/// `None` if the bytes are not a block.
pub(super) fn decode(block: &[u8]) -> Option<Rows> {
    let mut rows = Rows::new();
    let mut cursor = Cursor::new(block);
    while !cursor.rest().is_empty() {
        let key_len = usize::from(cursor.u8()?);
        let key = cursor.slice(key_len)?;
        let value = cursor.slice(inline_len(cursor.rest())?)?;
        rows.insert(key.to_vec(), value.to_vec());
    }
    Some(rows)
}

/// The number of rows; `None` if the bytes are not a block.
pub(super) fn count(block: &[u8]) -> Option<u64> {
    let mut count = 0;
    let mut cursor = Cursor::new(block);
    while !cursor.rest().is_empty() {
        let key_len = usize::from(cursor.u8()?);
        cursor.slice(key_len)?;
        cursor.slice(inline_len(cursor.rest())?)?;
        count += 1;
    }
    Some(count)
}

/// Packs rows into as few blocks as fit them in order; each with the key of its first row.
pub(super) fn pack(rows: &Rows) -> Vec<(&[u8], Vec<u8>)> {
    let mut blocks: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut count = 0;
    for (key, value) in rows {
        let len = 1 + key.len() + value.len();
        match blocks.last_mut() {
            Some((_, block)) if block.len() + len <= BYTES_MAX && count < ROWS_MAX => {
                push(block, key, value);
                count += 1;
            }
            _ => {
                let mut block = Vec::with_capacity(len);
                push(&mut block, key, value);
                blocks.push((key, block));
                count = 1;
            }
        }
    }
    blocks
}

fn push(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    block.push(u8::try_from(key.len()).expect("keys of sequence tables are short"));
    block.extend_from_slice(key);
    block.extend_from_slice(value);
}
