//! Lists, a page at a time: `limit` and an opaque `cursor` in, `items` and `next_cursor` out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::problem::Problem;
use crate::id::{Sequence, TenantId};

/// Items of a page where the caller names no number.
const LIMIT_DEFAULT: usize = 100;
/// Items of a page at most.
const LIMIT_MAX: usize = 1_000;

/// A place in a list that a cursor can stand for.
pub trait Cursor: Sized {
    /// Where a list begins.
    const START: Self;
    /// The place as bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// The place that these bytes are.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
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

/// Which page is asked for: `limit` items from the place `from` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C> {
    /// The first place that may be on it.
    pub from: C,
    /// How many items at most.
    pub limit: usize,
}

impl<C: Cursor> Page<C> {
    /// Reads the two query parameters.
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> Result<Self, Problem> {
        let limit = match limit {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or_else(|| Problem::invalid("`limit` must be a whole number from 1 to 1000"))?,
        };
        let from = match cursor {
            None => C::START,
            Some(text) => URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .and_then(|bytes| C::from_bytes(&bytes))
                .ok_or_else(|| Problem::invalid("`cursor` must be one that a list answered"))?,
        };
        Ok(Self { from, limit })
    }
}

/// One page.
#[derive(Debug, Serialize)]
pub struct List<T> {
    /// What is on it.
    items: Vec<T>,
    /// What to ask for the next one with; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page after which `next`, if any, is the first place to look at.
    pub fn new<C: Cursor>(items: Vec<T>, next: Option<C>) -> Self {
        let next_cursor = next.map(|next| URL_SAFE_NO_PAD.encode(next.to_bytes()));
        Self { items, next_cursor }
    }

    /// Everything there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self::new(items, None::<Sequence>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_place_it_stands_for() {
        let list = List::new(vec![1], Some(Sequence::new(77)));
        let page = Page::parse(Some("5"), list.next_cursor.as_deref()).unwrap();
        assert_eq!(
            page,
            Page {
                from: Sequence::new(77),
                limit: 5
            }
        );
        assert_eq!(Page::<Sequence>::parse(None, None).unwrap().limit, 100);
        for (limit, cursor) in [(Some("0"), None), (Some("1001"), None), (None, Some("??"))] {
            assert!(Page::<Sequence>::parse(limit, cursor).is_err());
        }
        assert!(Page::<TenantId>::parse(None, list.next_cursor.as_deref()).is_err());
    }
}
