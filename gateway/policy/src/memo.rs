//! Earlier answers. A policy's answer is a function of its declared inputs, so asking twice is waste.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;
use tidegate_types::{
    collection::CollectionId,
    request::TenantId,
    route::{Access, ShardSet},
};
use xxhash_rust::xxh3::xxh3_64;

/// Answers that are remembered, a power of two. Each costs about 100 bytes and its inputs.
const SLOTS: usize = 1 << 16;

/// Inputs longer than this together are not remembered: with [`SLOTS`] it bounds the memory.
const MAX_KEY_BYTES: usize = 320;

/// Everything an answer depends on within a generation, as bytes that differ whenever it does:
/// a fixed head, then each input as a length (with absence told from emptiness) and its bytes.
pub struct MemoKey(SmallVec<[u8; MAX_KEY_BYTES]>);

impl MemoKey {
    /// A key without inputs yet.
    #[inline]
    pub fn new(tenant: TenantId, collection: CollectionId, access: Access) -> Self {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&tenant.0.to_le_bytes());
        bytes.extend_from_slice(&collection.0.to_le_bytes());
        bytes.push(match access {
            Access::Read => 0,
            Access::Write => 1,
        });
        Self(bytes)
    }

    /// Adds the next declared input.
    #[inline]
    pub fn push(&mut self, input: Option<&str>) {
        let length = input.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1));
        self.0.extend_from_slice(&length.to_le_bytes());
        // Past the bound the key is useless anyway: do not copy kilobytes of path.
        if let Some(text) = input.filter(|text| text.len() <= MAX_KEY_BYTES) {
            self.0.extend_from_slice(text.as_bytes());
        } else if input.is_some() {
            self.0.extend_from_slice(&[0; MAX_KEY_BYTES]);
        }
    }

    fn fits(&self) -> bool {
        self.0.len() <= MAX_KEY_BYTES
    }
}

struct Answer {
    key: Box<[u8]>,
    shards: ShardSet,
}

/// A bounded table of answers of one generation: two possible slots for each key, no lock.
/// A new answer displaces one of the two at random where both are taken.
pub struct Memo {
    slots: Box<[ArcSwapOption<Answer>]>,
}

impl Memo {
    /// An empty table.
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect() }
    }

    /// The answer given before for this key.
    #[inline]
    pub fn get(&self, key: &MemoKey) -> Option<ShardSet> {
        if !key.fits() {
            return None;
        }
        self.places(key).into_iter().find_map(|place| {
            let slot = self.slots[place].load();
            slot.as_ref().filter(|answer| *answer.key == *key.0).map(|answer| answer.shards.clone())
        })
    }

    /// Remembers an answer.
    pub fn put(&self, key: &MemoKey, shards: &ShardSet) {
        if !key.fits() {
            return;
        }
        let places = self.places(key);
        let free = places.into_iter().find(|place| self.slots[*place].load().is_none());
        let place = free.unwrap_or(places[usize::from(fastrand::bool())]);
        self.slots[place].store(Some(Arc::new(Answer { key: key.0.as_slice().into(), shards: shards.clone() })));
    }

    /// The two slots of a key.
    #[inline]
    fn places(&self, key: &MemoKey) -> [usize; 2] {
        let hash = xxh3_64(&key.0);
        let place = |bits: u64| usize::try_from(bits).unwrap_or(0) & (SLOTS - 1);
        [place(hash & u64::from(u32::MAX)), place(hash >> 32)]
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::route::ShardId;

    use super::*;

    fn key(access: Access, inputs: &[Option<&str>]) -> MemoKey {
        let mut key = MemoKey::new(TenantId::SHARED, CollectionId(7), access);
        inputs.iter().for_each(|input| key.push(*input));
        key
    }

    fn shards(id: u16) -> ShardSet {
        ShardSet::from_slice(&[ShardId(id)])
    }

    #[test]
    fn keys_that_differ_in_anything_are_different_answers() {
        let memo = Memo::new();
        let keys = [
            key(Access::Read, &[Some("a"), Some("b")]),
            key(Access::Write, &[Some("a"), Some("b")]),
            key(Access::Read, &[Some("ab"), Some("")]),
            key(Access::Read, &[Some("ab"), None]),
            key(Access::Read, &[None, Some("ab")]),
            key(Access::Read, &[Some("ab")]),
            key(Access::Read, &[]),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(memo.get(key), None);
            memo.put(key, &shards(u16::try_from(i).expect("few")));
        }
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(memo.get(key), Some(shards(u16::try_from(i).expect("few"))), "key {i}");
        }
    }

    #[test]
    fn long_inputs_are_not_remembered() {
        let memo = Memo::new();
        let text = "x".repeat(MAX_KEY_BYTES + 1);
        let long = key(Access::Read, &[Some(&text)]);
        memo.put(&long, &shards(1));
        assert_eq!(memo.get(&long), None);
    }

    /// An answer that tells most keys apart.
    fn number(i: usize) -> u16 {
        u16::try_from(i % 1000).expect("small")
    }

    #[test]
    fn more_keys_than_slots_displace_each_other_and_never_answer_for_one_another() {
        let memo = Memo::new();
        let each = || (0..SLOTS * 2).map(|i| (i, i.to_string()));
        for (i, text) in each() {
            memo.put(&key(Access::Read, &[Some(&text)]), &shards(number(i)));
        }
        let mut kept = 0;
        for (i, text) in each() {
            if let Some(answer) = memo.get(&key(Access::Read, &[Some(&text)])) {
                assert_eq!(answer, shards(number(i)));
                kept += 1;
            }
        }
        assert!(kept > SLOTS / 2 && kept <= SLOTS, "{kept} of {SLOTS} slots used");
    }
}
