//! A map from sequences to rows, packed: most are inserted in order, and there may be millions.
//!
//! Nodes of a B-tree stay half empty if keys only grow. Here a block is full before the next begins.

use std::collections::BTreeMap;

use crate::id::Sequence;

const BLOCK: usize = 64;

#[derive(Debug)]
pub struct SequenceMap<R> {
    /// INVARIANT: no block is empty; each lies under a key that is not above its first row's and above
    /// those of the block before it; rows are in order.
    blocks: BTreeMap<Sequence, Vec<(Sequence, R)>>,
    count: usize,
}

impl<R> Default for SequenceMap<R> {
    fn default() -> Self {
        Self {
            blocks: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<R> SequenceMap<R> {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn get(&self, sequence: Sequence) -> Option<&R> {
        let (_, block) = self.blocks.range(..=sequence).next_back()?;
        let at = find(block, sequence).ok()?;
        block.get(at).map(|(_, row)| row)
    }

    pub fn since(&self, from: Sequence) -> impl Iterator<Item = (Sequence, &R)> {
        let first = self.blocks.range(..=from).next_back();
        let first = first.map_or(from, |(&key, _)| key);
        self.blocks
            .range(first..)
            .flat_map(move |(_, block)| {
                let skip = block.partition_point(|(sequence, _)| *sequence < from);
                block.iter().skip(skip)
            })
            .map(|(sequence, row)| (*sequence, row))
    }

    pub fn insert(&mut self, sequence: Sequence, row: R) -> Option<R> {
        let place = self.blocks.range_mut(..=sequence).next_back();
        let Some((_, block)) = place else {
            self.count += 1;
            self.blocks.insert(sequence, vec![(sequence, row)]);
            return None;
        };
        match find(block, sequence) {
            Ok(at) => return Some(std::mem::replace(&mut block[at].1, row)),
            Err(at) => {
                self.count += 1;
                if block.len() < BLOCK {
                    block.insert(at, (sequence, row));
                } else if at == block.len() {
                    self.blocks.insert(sequence, vec![(sequence, row)]);
                } else {
                    let mut upper = block.split_off(block.len() / 2);
                    let half = match upper.first() {
                        Some((first, _)) if sequence > *first => &mut upper,
                        Some(_) | None => block,
                    };
                    let at = half.partition_point(|(other, _)| *other < sequence);
                    half.insert(at, (sequence, row));
                    if let Some(&(first, _)) = upper.first() {
                        self.blocks.insert(first, upper);
                    }
                }
            }
        }
        None
    }

    pub fn remove(&mut self, sequence: Sequence) -> Option<R> {
        let (&key, block) = self.blocks.range_mut(..=sequence).next_back()?;
        let at = find(block, sequence).ok()?;
        let (_, row) = block.remove(at);
        self.count -= 1;
        if block.is_empty() {
            self.blocks.remove(&key);
        }
        Some(row)
    }
}

fn find<R>(block: &[(Sequence, R)], sequence: Sequence) -> Result<usize, usize> {
    block.binary_search_by_key(&sequence, |(sequence, _)| *sequence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_map(
            // Mostly in order, now and then anywhere; and some are removed.
            steps in prop::collection::vec((0..40u64, prop::bool::weighted(0.1), prop::bool::weighted(0.2)), 0..400),
            from in 0..500u64,
        ) {
            let mut sequence_map = SequenceMap::default();
            let mut model = BTreeMap::new();
            for (next, (value, anywhere, goes)) in (1..).zip(steps) {
                let key = Sequence::new(if anywhere { value * 13 } else { next });
                if goes {
                    prop_assert_eq!(sequence_map.remove(key), model.remove(&key));
                } else {
                    prop_assert_eq!(sequence_map.insert(key, value), model.insert(key, value));
                }
                prop_assert_eq!(sequence_map.get(key), model.get(&key));
            }
            prop_assert_eq!(sequence_map.len(), model.len());
            for from in [0, from, 1_000] {
                let from = Sequence::new(from);
                let rows: Vec<_> = sequence_map.since(from).map(|(key, value)| (key, *value)).collect();
                let expected: Vec<_> = model.range(from..).map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(rows, expected);
            }
            prop_assert!(sequence_map.blocks.values().all(|block| !block.is_empty() && block.len() <= BLOCK));
        }
    }

    #[test]
    fn rows_in_order_fill_their_blocks() {
        let mut sequence_map = SequenceMap::default();
        for number in 0..1_000 {
            sequence_map.insert(Sequence::new(number), number);
        }
        assert_eq!(sequence_map.blocks.len(), 1_000_usize.div_ceil(BLOCK));
    }
}
