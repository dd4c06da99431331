//! Row structs to payload bytes and back: the only place that knows bincode.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// More than any row struct has; a length that a damaged payload invents ends here.
const BYTES_MAX: u64 = 64 * 1024;

/// Bytes that are not the struct they are read as.
#[derive(Debug, Error)]
#[error("not the row it is read as: {0}")]
pub struct CodecError(#[from] bincode::Error);

/// Frozen: little-endian, every integer in its full width, nothing after the last field.
fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_little_endian()
        .with_fixint_encoding()
        .with_limit(BYTES_MAX)
        .reject_trailing_bytes()
}

/// The payload of a row.
pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    options()
        .serialize(row)
        .expect("a row struct is plain data of at most 64 KiB")
}

/// The row struct these bytes are.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    Ok(options().deserialize(payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_and_nothing_else() {
        let row = (1u32, "two".to_owned(), Some(3i64));
        let bytes = encode(&row);
        assert_eq!(decode::<(u32, String, Option<i64>)>(&bytes).unwrap(), row);
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decode::<(u32, String, Option<i64>)>(&longer).is_err());
        assert!(decode::<(u32, String, Option<i64>)>(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn a_length_out_of_thin_air_is_refused() {
        let bytes = u64::MAX.to_le_bytes();
        assert!(decode::<Vec<u8>>(&bytes).is_err());
    }
}
