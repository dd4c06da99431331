//! Lists, a page at a time: `limit` and an opaque `cursor` in, `items` and `next_cursor` out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::problem::Problem;
use crate::id::Sequence;

/// Items of a page where the caller names no number.
const LIMIT_DEFAULT: usize = 100;
/// Items of a page at most.
const LIMIT_MAX: usize = 1_000;

/// Which page is asked for: `limit` items from the sequence `from` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The first sequence that may be on it.
    pub from: Sequence,
    /// How many items at most.
    pub limit: usize,
}

impl Page {
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
            None => Sequence::FIRST,
            Some(text) => read_cursor(text)
                .ok_or_else(|| Problem::invalid("`cursor` must be one that a list answered"))?,
        };
        Ok(Self { from, limit })
    }
}

fn read_cursor(text: &str) -> Option<Sequence> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Sequence::new(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// One page.
#[derive(Debug, Serialize)]
pub struct List<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to ask for the next one with; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page after which `next`, if any, is the first sequence to look at.
    pub fn new(items: Vec<T>, next: Option<Sequence>) -> Self {
        let cursor = |next: Sequence| URL_SAFE_NO_PAD.encode(next.get().to_be_bytes());
        Self {
            items,
            next_cursor: next.map(cursor),
        }
    }

    /// Everything there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self::new(items, None)
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
        assert_eq!(Page::parse(None, None).unwrap().limit, 100);
        for (limit, cursor) in [(Some("0"), None), (Some("1001"), None), (None, Some("??"))] {
            assert!(Page::parse(limit, cursor).is_err());
        }
    }
}
