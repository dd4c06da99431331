//! The erasable half of an entry: the bytes behind its commitments, and the seed of their salts.
//!
//! Layout, little-endian: seed (32), u16 count, then for each part u8 length, name, u32 length,
//! bytes. Frozen; a golden file guards it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic))]

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::commitment::{Salts, commitment};
use super::tree::Hash;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an opening: {0}")]
pub struct OpeningError(&'static str);

/// 1 to 65,535 parts with distinct names, in the order of the fact.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    seed: [u8; 32],
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
struct Part {
    name: Cow<'static, str>,
    bytes: Vec<u8>,
}

impl Opening {
    /// None without private parts.
    pub(super) fn new(
        private: Vec<(&'static str, Vec<u8>)>,
        seed: impl FnOnce() -> [u8; 32],
    ) -> Option<Self> {
        let part = |(name, bytes)| Part {
            name: Cow::Borrowed(name),
            bytes,
        };
        let parts: Vec<Part> = private.into_iter().map(part).collect();
        (!parts.is_empty()).then(|| Self {
            seed: seed(),
            parts,
        })
    }

    /// Accepts only what [`encode`](Opening::encode) writes: every opening has one encoding. The bytes are
    /// untrusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, OpeningError> {
        let mut rest = bytes;
        let seed = *take(&mut rest)?;
        let count = u16::from_le_bytes(*take(&mut rest)?);
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..count {
            let [length] = *take(&mut rest)?;
            let name = take_slice(&mut rest, usize::from(length))?;
            let name =
                std::str::from_utf8(name).map_err(|_| OpeningError("part name is not UTF-8"))?;
            if parts.iter().any(|part| part.name == name) {
                return Err(OpeningError("duplicate part name"));
            }
            let length = u32::from_le_bytes(*take(&mut rest)?);
            let length = usize::try_from(length).map_err(|_| UNEXPECTED_END)?;
            let bytes = take_slice(&mut rest, length)?.to_vec();
            parts.push(Part {
                name: Cow::Owned(name.to_owned()),
                bytes,
            });
        }
        match (parts.is_empty(), rest.is_empty()) {
            (true, _) => Err(OpeningError("no parts")),
            (_, false) => Err(OpeningError("bytes after the last part")),
            _ => Ok(Self { seed, parts }),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let length = |part: &Part| 1 + part.name.len() + 4 + part.bytes.len();
        let mut out = Vec::with_capacity(34 + self.parts.iter().map(length).sum::<usize>());
        out.extend(self.seed);
        out.extend(
            u16::try_from(self.parts.len())
                .expect("a fact has few parts")
                .to_le_bytes(),
        );
        for Part { name, bytes } in &self.parts {
            out.push(u8::try_from(name.len()).expect("a name is at most 255 bytes"));
            out.extend(name.as_bytes());
            out.extend(
                u32::try_from(bytes.len())
                    .expect("a part is below 4 GiB")
                    .to_le_bytes(),
            );
            out.extend(bytes);
        }
        out
    }

    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub fn part(&self, name: &str) -> Option<&[u8]> {
        self.parts
            .iter()
            .find(|part| part.name == name)
            .map(|part| part.bytes.as_slice())
    }

    /// The commitments that the entry must have, by the parts' names.
    pub fn commitments(&self) -> impl Iterator<Item = (&str, Hash)> {
        let salts = Salts::new(&self.seed);
        self.parts.iter().map(move |Part { name, bytes }| {
            (name.as_ref(), commitment(&salts.salt(name), name, bytes))
        })
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening({} parts)", self.parts.len())
    }
}

const UNEXPECTED_END: OpeningError = OpeningError("unexpected end");

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], OpeningError> {
    let (taken, after) = rest.split_first_chunk().ok_or(UNEXPECTED_END)?;
    *rest = after;
    Ok(taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], OpeningError> {
    rest.split_off(..length).ok_or(UNEXPECTED_END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn opening(seed: [u8; 32], values: Vec<Vec<u8>>) -> Option<Opening> {
        let names = ["request", "intent", "evidence", "decision", "justification"];
        Opening::new(names.into_iter().zip(values).collect(), || seed)
    }

    proptest! {
        #[test]
        fn decode_is_the_inverse_of_encode(
            seed in any::<[u8; 32]>(),
            values in vec(vec(any::<u8>(), 0..100), 1..=5),
        ) {
            let opening = opening(seed, values).unwrap();
            prop_assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
        }

        #[test]
        fn any_bytes_are_an_opening_or_refused(
            seed in any::<[u8; 32]>(),
            count in 0_u16..4,
            tail in vec(prop_oneof![3 => 0_u8..4, 1 => any::<u8>()], 0..60),
        ) {
            let bytes = [&seed[..], &count.to_le_bytes(), &tail].concat();
            if let Ok(opening) = Opening::decode(&bytes) {
                prop_assert_eq!(opening.encode(), bytes);
            }
        }
    }

    #[test]
    fn what_is_cut_or_longer_is_no_opening() {
        let whole = opening([3; 32], vec![b"bytes".to_vec(), Vec::new()])
            .unwrap()
            .encode();
        for length in 0..whole.len() {
            assert_eq!(
                Opening::decode(&whole[..length]),
                Err(UNEXPECTED_END),
                "{length}"
            );
        }
        let check = |bytes: &[u8], why| assert_eq!(Opening::decode(bytes), Err(OpeningError(why)));
        check(&[&whole[..], b"\0"].concat(), "bytes after the last part");
        check(&[0; 34], "no parts");
        check(
            &[&[0; 32][..], b"\x02\0\x01a\0\0\0\0\x01a\0\0\0\0"].concat(),
            "duplicate part name",
        );
        check(
            &[&[0; 32][..], b"\x01\0\x01\xFF\0\0\0\0"].concat(),
            "part name is not UTF-8",
        );
    }

    #[test]
    fn nothing_private_is_no_opening_and_needs_no_seed() {
        assert_eq!(
            Opening::new(Vec::new(), || unreachable!("no seed is made")),
            None
        );
    }
}
