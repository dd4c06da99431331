//! Compression of the rows that are long and all alike: entries, and the openings behind them.
//!
//! A row is compressed once, when its record is built; log, tables, snapshots and backups hold the
//! same bytes. Each table has its own dictionary, which is part of the format: its number is in every
//! envelope that uses it, so it is never changed and never removed. A better one gets a new number.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::table::{ENTRIES, OPENINGS, TableSpec};

/// The codec of an uncompressed payload.
pub(super) const PLAIN: u8 = 0;

/// The fastest: with a dictionary, slower levels save little more.
const LEVEL: i32 = 1;

/// The longest payload; a longer length is damage.
const PAYLOAD_MAX: usize = 64 << 20;

struct Dictionary {
    codec: u8,
    encoder: EncoderDictionary<'static>,
    decoder: DecoderDictionary<'static>,
}

impl Dictionary {
    fn new(codec: u8, bytes: &'static [u8]) -> Self {
        Self {
            codec,
            encoder: EncoderDictionary::copy(bytes, LEVEL),
            decoder: DecoderDictionary::copy(bytes),
        }
    }
}

/// Every dictionary ever used, by codec.
static DICTIONARIES: LazyLock<[Dictionary; 2]> = LazyLock::new(|| {
    [
        Dictionary::new(16, include_bytes!("../../data/defaults/dict/16.zstd")),
        Dictionary::new(17, include_bytes!("../../data/defaults/dict/17.zstd")),
    ]
});

/// The dictionary for new rows of a table.
fn of_table(table: &TableSpec) -> Option<&'static Dictionary> {
    let [openings, entries] = &*DICTIONARIES;
    match table.id {
        id if id == OPENINGS.id => Some(openings),
        id if id == ENTRIES.id => Some(entries),
        _ => None,
    }
}

thread_local! {
    /// One per dictionary, kept for their allocations.
    static COMPRESSORS: RefCell<Vec<(u8, Compressor<'static>)>> = const { RefCell::new(Vec::new()) };
    static DECOMPRESSORS: RefCell<Vec<(u8, Decompressor<'static>)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with this thread's worker for a dictionary.
fn with_worker<W, R>(
    workers: &RefCell<Vec<(u8, W)>>,
    codec: u8,
    make: impl FnOnce() -> io::Result<W>,
    work: impl FnOnce(&mut W) -> io::Result<R>,
) -> io::Result<R> {
    let mut workers = workers.borrow_mut();
    if let Some((_, worker)) = workers.iter_mut().find(|(of, _)| *of == codec) {
        return work(worker);
    }
    let mut worker = make()?;
    let done = work(&mut worker);
    workers.push((codec, worker));
    done
}

/// The compressed payload and its codec; `None` to store it uncompressed.
pub(super) fn compress(table: &TableSpec, payload: &[u8]) -> Option<(u8, Vec<u8>)> {
    let dictionary = of_table(table)?;
    let codec = dictionary.codec;
    let make = || Compressor::with_prepared_dictionary(&dictionary.encoder);
    // Where compression fails (out of memory) the payload is stored uncompressed.
    let stored = COMPRESSORS
        .with(|workers| with_worker(workers, codec, make, |worker| worker.compress(payload)))
        .ok()?;
    (stored.len() < payload.len()).then_some((codec, stored))
}

pub(super) fn is_known(codec: u8) -> bool {
    codec == PLAIN
        || DICTIONARIES
            .iter()
            .any(|dictionary| dictionary.codec == codec)
}

pub(super) fn decompress(codec: u8, stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    if codec == PLAIN {
        return Ok(stored.to_vec());
    }
    let mut dictionaries = DICTIONARIES.iter();
    let dictionary = dictionaries
        .find(|dictionary| dictionary.codec == codec)
        .ok_or("unknown codec")?;
    let len = zstd::zstd_safe::get_frame_content_size(stored)
        .ok()
        .flatten()
        .and_then(|len| usize::try_from(len).ok())
        .filter(|len| *len <= PAYLOAD_MAX)
        .ok_or("its compressed payload has no length")?;
    let make = || Decompressor::with_prepared_dictionary(&dictionary.decoder);
    let payload = DECOMPRESSORS.with(|workers| {
        with_worker(workers, codec, make, |worker| {
            worker.decompress(stored, len)
        })
    });
    payload
        .ok()
        .filter(|payload| payload.len() == len)
        .ok_or("its compressed payload cannot be read")
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::store::table::HEADS;

    const TEXT: &[u8] = br#"{"action":"approve","category":"default","type":"decision","v":1}"#;

    #[test]
    fn what_was_compressed_comes_back() {
        for table in [&OPENINGS, &ENTRIES] {
            for len in [TEXT.len(), 1_000, 1 << 20] {
                let payload: Vec<u8> = TEXT.iter().copied().cycle().take(len).collect();
                let (codec, stored) = compress(table, &payload).unwrap();
                assert!(stored.len() < payload.len());
                assert_eq!(decompress(codec, &stored).unwrap(), payload);
            }
        }
    }

    #[test]
    fn rows_that_do_not_shrink_and_rows_of_other_tables_stay_as_they_are() {
        assert!(compress(&ENTRIES, b"").is_none());
        assert!(compress(&ENTRIES, b"a\0b\x01").is_none());
        assert!(compress(&HEADS, &TEXT.repeat(9)).is_none());
        assert_eq!(decompress(PLAIN, TEXT).unwrap(), TEXT);
    }

    /// Rows of every release have to be read, whatever this release's compressor makes of them.
    #[test]
    fn what_the_dictionaries_made_once_is_read_for_ever() {
        let lines: Vec<_> = [&OPENINGS, &ENTRIES]
            .into_iter()
            .map(|table| compress(table, TEXT).unwrap())
            .map(|(codec, stored)| format!("{codec} {}", golden::hex(&stored).replace('\n', "")))
            .collect();
        let kept = golden::read("store_compressed.txt", &lines.join("\n"));
        for line in kept.lines() {
            let (codec, stored) = line.split_once(' ').unwrap();
            let stored: Vec<_> = (0..stored.len() / 2)
                .map(|at| u8::from_str_radix(&stored[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            assert_eq!(decompress(codec.parse().unwrap(), &stored).unwrap(), TEXT);
        }
    }

    #[test]
    fn damage_is_an_error() {
        assert_eq!(decompress(1, TEXT), Err("unknown codec"));
        assert!(decompress(16, TEXT).is_err());
        assert!(decompress(16, b"").is_err());
        let (_, mut stored) = compress(&ENTRIES, &TEXT.repeat(3)).unwrap();
        assert!(decompress(16, &stored).is_err(), "another dictionary's");
        stored.pop();
        assert!(decompress(17, &stored).is_err());
        // A length that nobody could allocate.
        let claims = [
            0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F,
        ];
        assert!(decompress(16, &claims).is_err());
    }
}
