//! Lists, a page at a time: `limit` and an opaque `cursor` in, `items` and `next_cursor` out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::id::{Sequence, TenantId};

pub const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// A position in a list that a cursor stands for.
pub trait Cursor: Sized {
    /// Where a list begins.
    const START: Self;
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes())
    }

    fn decode(text: &str) -> Result<Self, &'static str> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or("must be the `next_cursor` of a page of this list")
    }
}

impl Cursor for Sequence {
    const START: Self = Self::FIRST;

    fn to_bytes(&self) -> Vec<u8> {
        self.get().to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::new(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl Cursor for TenantId {
    const START: Self = Self::ZERO;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

/// Which page: at most `limit` items from `from` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C> {
    pub from: C,
    pub limit: usize,
}

/// Reads the parameter `limit`.
pub fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok();
    limit
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| format!("must be an integer from 1 to {LIMIT_MAX}"))
}

/// One page.
#[derive(Debug, Serialize)]
pub struct List<T> {
    items: Vec<T>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page; the next one begins at `next`.
    pub fn new<C: Cursor>(items: Vec<T>, next: Option<C>) -> Self {
        Self {
            items,
            next_cursor: next.map(|next| next.encode()),
        }
    }

    /// A list of one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self::new(items, None::<Sequence>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_decoded_to_the_position_it_stands_for() {
        let list = List::new(vec![1], Some(Sequence::new(77)));
        let cursor = list.next_cursor.unwrap();
        assert_eq!(Sequence::decode(&cursor), Ok(Sequence::new(77)));
        assert!(TenantId::decode(&cursor).is_err());
        assert!(Sequence::decode("??").is_err());
    }

    #[test]
    fn a_limit_is_in_its_range() {
        assert_eq!((limit("1"), limit("1000")), (Ok(1), Ok(1_000)));
        for bad in ["0", "1001", "-1", "x", ""] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
