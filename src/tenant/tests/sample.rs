//! What the sample rows of all tables are made of: rows that belong together name each other.

use crate::id::{KeyId, Pseudonym, Sequence};
use crate::time::Timestamp;

/// The intent that some of the rows belong to. Bytes that occur in no row by chance.
pub const INTENT: Sequence = Sequence::new(0x0102_0304_0506_0708);
/// Its outcome.
pub const OUTCOME: Sequence = Sequence::new(0x0102_0304_0506_0800);
/// A command that changed something else.
pub const OTHER: Sequence = Sequence::new(258);
pub const KEY: KeyId = KeyId::from_bytes([7; 16]);
pub const CHANGE_SET: Pseudonym = pseudonym(10);

pub const fn pseudonym(byte: u8) -> Pseudonym {
    Pseudonym::from_bytes([byte; 16])
}

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + micros)
}

/// True if the bytes of a key or a row hold this intent's sequence or its id.
pub fn names(bytes: &[u8], sequence: Sequence, id: Option<Pseudonym>) -> bool {
    let sequence = sequence.get();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    has(&sequence.to_be_bytes())
        || has(&sequence.to_le_bytes())
        || id.is_some_and(|id| has(id.as_bytes()))
}
