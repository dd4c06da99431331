//! Heads: what a tenant's last record says about everything before it.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use super::cursor::Cursor;
use crate::id::Sequence;
use crate::time::Timestamp;

/// The version of the layout below, in the envelope of every `_heads` row.
pub(super) const VERSION: u16 = 1;

/// A tenant's last sequence, the checksum of its hot rows, and the state of its audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub sequence: Sequence,
    /// The time of the last entry; no later entry is before it.
    pub at: Timestamp,
    /// The sequence at which the audit log began.
    pub log_base: Sequence,
    /// The earliest time at which a row is due.
    pub next_due: Option<Timestamp>,
    pub hot_rows: u64,
    /// See [`Ledger`](super::Ledger).
    pub hot_hash: u64,
    /// The root of the audit log's tree.
    pub root: [u8; 32],
    /// The compact range of that tree, largest subtree first.
    pub range: Vec<[u8; 32]>,
}

impl Head {
    /// The payload of the `_heads` row.
    pub(super) fn encode(&self) -> Vec<u8> {
        let subtrees =
            u8::try_from(self.range.len()).expect("a tree of 2^64 leaves has 64 subtrees");
        let mut bytes = Vec::with_capacity(82 + self.range.len() * 32);
        bytes.extend(self.sequence.get().to_le_bytes());
        bytes.extend(self.at.micros().to_le_bytes());
        bytes.extend(self.log_base.get().to_le_bytes());
        bytes.push(u8::from(self.next_due.is_some()));
        bytes.extend(self.next_due.unwrap_or_default().micros().to_le_bytes());
        bytes.extend(self.hot_rows.to_le_bytes());
        bytes.extend(self.hot_hash.to_le_bytes());
        bytes.extend(self.root);
        bytes.push(subtrees);
        bytes.extend(self.range.iter().flatten());
        bytes
    }

    /// `None` if the bytes are not exactly one head.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let sequence = Sequence::new(cursor.u64()?);
        let at = Timestamp::from_micros(cursor.i64()?);
        let log_base = Sequence::new(cursor.u64()?);
        let due = cursor.u8()?;
        let moment = Timestamp::from_micros(cursor.i64()?);
        let next_due = match due {
            // Only the canonical encoding is accepted.
            0 if moment == Timestamp::default() => None,
            1 => Some(moment),
            _ => return None,
        };
        let (hot_rows, hot_hash) = (cursor.u64()?, cursor.u64()?);
        let root = cursor.array()?;
        let subtrees = cursor.u8()?;
        let range = (0..subtrees)
            .map(|_| cursor.array())
            .collect::<Option<_>>()?;
        cursor.rest().is_empty().then_some(Self {
            sequence,
            at,
            log_base,
            next_due,
            hot_rows,
            hot_hash,
            root,
            range,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn head(next_due: Option<Timestamp>) -> Head {
        Head {
            sequence: Sequence::new(5),
            at: Timestamp::from_micros(1_764_000_000_000_001),
            log_base: Sequence::new(2),
            next_due,
            hot_rows: 12,
            hot_hash: 0x0123_4567_89AB_CDEF,
            root: [0xAA; 32],
            range: vec![[0xBB; 32], [0xCC; 32]],
        }
    }

    #[test]
    fn a_head_is_frozen() {
        let head = head(Some(Timestamp::from_micros(1_764_000_060_000_000)));
        golden::check("store_head.hex", &golden::hex(&head.encode()));
    }

    #[test]
    fn a_head_comes_back_whole_or_not_at_all() {
        for next_due in [None, Some(Timestamp::from_micros(7))] {
            let bytes = head(next_due).encode();
            assert_eq!(Head::decode(&bytes), Some(head(next_due)));
            assert!((0..bytes.len()).all(|len| Head::decode(&bytes[..len]).is_none()));
            assert_eq!(Head::decode(&[bytes.as_slice(), &[0]].concat()), None);
        }
    }
}
