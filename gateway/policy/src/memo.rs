//! Earlier answers. A policy's answer is a function of its declared inputs, so asking twice is waste.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tidegate_types::{collection::CollectionId, policy::Who, route::Access};
use xxhash_rust::xxh3::xxh3_64;

/// Answers that are remembered, a power of two. Each costs about 100 bytes and its inputs.
const SLOTS: usize = 1 << 16;

/// Inputs longer than this together are not remembered: with [`SLOTS`] it bounds the memory.
const MAX_KEY_BYTES: usize = 320;

/// Everything an answer depends on within a generation, as bytes that differ whenever it does:
/// a fixed head, then each input as a length (with absence told from emptiness) and its bytes.
/// Lives on the stack: asking the memo allocates nothing.
pub struct MemoKey {
    bytes: [u8; MAX_KEY_BYTES],
    length: usize,
    fit: Fit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Whole,
    /// Something did not fit: the bytes do not identify the inputs.
    CutOff,
}

impl MemoKey {
    /// A key without inputs yet.
    #[inline]
    pub fn new(who: Who, collection: CollectionId, access: Access) -> Self {
        let mut key = Self { bytes: [0; MAX_KEY_BYTES], length: 0, fit: Fit::Whole };
        key.append(&who.tenant.0.to_le_bytes());
        key.append(&who.class.0.to_le_bytes());
        key.append(&collection.0.to_le_bytes());
        key.append(match access {
            Access::Read => b"r",
            Access::Write => b"w",
        });
        key
    }

    /// Adds the next declared input.
    #[inline]
    pub fn push(&mut self, input: Option<&str>) {
        // Longer inputs do not fit anyway, so every length that matters is told from absence.
        let length = input.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1));
        self.append(&length.to_le_bytes());
        self.append(input.unwrap_or("").as_bytes());
    }

    #[inline]
    fn append(&mut self, part: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + part.len()) {
            Some(room) => {
                room.copy_from_slice(part);
                self.length += part.len();
            }
            None => self.fit = Fit::CutOff,
        }
    }

    /// A number that spreads keys evenly; of what fits, where not everything does.
    #[inline]
    pub fn spread(&self) -> u64 {
        xxh3_64(&self.bytes[..self.length])
    }

    /// The bytes, if they are all there.
    #[inline]
    fn bytes(&self) -> Option<&[u8]> {
        (self.fit == Fit::Whole).then(|| &self.bytes[..self.length])
    }
}

struct Answer<A> {
    key: Box<[u8]>,
    answer: A,
}

/// A bounded table of answers of one generation: two possible slots for each key, no lock.
/// A new answer displaces one of the two at random where both are taken.
pub struct Memo<A> {
    slots: Box<[ArcSwapOption<Answer<A>>]>,
}

impl<A: Clone> Memo<A> {
    /// An empty table.
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect() }
    }

    /// The answer given before for this key.
    #[inline]
    pub fn get(&self, key: &MemoKey) -> Option<A> {
        let key = key.bytes()?;
        places(key).into_iter().find_map(|place| {
            let slot = self.slots[place].load();
            slot.as_ref().filter(|known| *known.key == *key).map(|known| known.answer.clone())
        })
    }

    /// Remembers an answer.
    pub fn put(&self, key: &MemoKey, answer: &A) {
        let Some(key) = key.bytes() else { return };
        let places = places(key);
        let free = places.into_iter().find(|place| self.slots[*place].load().is_none());
        let place = free.unwrap_or(places[usize::from(fastrand::bool())]);
        self.slots[place].store(Some(Arc::new(Answer { key: key.into(), answer: answer.clone() })));
    }
}

/// The two slots of a key.
#[inline]
fn places(key: &[u8]) -> [usize; 2] {
    let hash = xxh3_64(key);
    let place = |bits: u64| usize::try_from(bits).unwrap_or(0) & (SLOTS - 1);
    [place(hash & u64::from(u32::MAX)), place(hash >> 32)]
}

#[cfg(test)]
mod tests {
    use tidegate_types::route::{ShardId, ShardSet};

    use super::*;

    fn key(access: Access, inputs: &[Option<&str>]) -> MemoKey {
        let mut key = MemoKey::new(Who::SHARED, CollectionId(7), access);
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
