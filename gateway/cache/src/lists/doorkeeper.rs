//! Which lists were asked for lately. A list that is asked for once would take the place of one that is asked
//! for often, and lists are large and of endless kinds: it is kept when it is asked for again.
//!
//! Two Bloom filters, the younger of which becomes the older when it is full or its time is over. Their size never
//! changes. Wrong one time in fifty or so: then a list is kept that was asked for once.

use std::{hash::BuildHasher, time::Duration};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ListKey;

/// Bits of a filter: 16 KiB.
const BITS: usize = 1 << 17;
/// Bits set for a list: the best number for as many lists as a filter takes.
const PROBES: u32 = 5;
/// Lists that a filter takes.
const CAPACITY: usize = 16_384;
/// How long a filter is the younger one: a list is remembered for this long, and at most twice as long.
const WINDOW: Duration = Duration::from_secs(60);

/// Whether a list was asked for lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Familiarity {
    Unknown,
    Known,
}

#[derive(Debug)]
pub(super) struct Doorkeeper {
    hasher: RandomState,
    // Taken by misses only, each of which costs a query.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    young: Filter,
    old: Filter,
    turned: Instant,
}

impl Doorkeeper {
    pub(super) fn new() -> Self {
        let state = State { young: Filter::new(), old: Filter::new(), turned: Instant::now() };
        Self { hasher: RandomState::default(), state: Mutex::new(state) }
    }

    /// Notes that a list is asked for, and says whether it was before.
    pub(super) fn note(&self, key: &ListKey) -> Familiarity {
        let hash = self.hasher.hash_one(key);
        let now = Instant::now();
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.young.lists >= CAPACITY || now.duration_since(state.turned) >= WINDOW {
            std::mem::swap(&mut state.young, &mut state.old);
            state.young.clear();
            if now.duration_since(state.turned) >= 2 * WINDOW {
                state.old.clear();
            }
            state.turned = now;
        }
        let noted = state.young.note(hash);
        if noted == Familiarity::Known { noted } else { state.old.knows(hash) }
    }
}

#[derive(Debug)]
struct Filter {
    words: Box<[u64]>,
    lists: usize,
}

impl Filter {
    fn new() -> Self {
        Self { words: vec![0; BITS / 64].into(), lists: 0 }
    }

    fn clear(&mut self) {
        self.words.fill(0);
        self.lists = 0;
    }

    /// Word and bit of each probe: double hashing over the halves of the hash (Kirsch and Mitzenmacher, 2006).
    fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let (mut at, step) = (hash, (hash >> 32) | 1);
        (0..PROBES).map(move |_| {
            at = at.wrapping_add(step);
            let bit = usize::try_from(at % BITS as u64).unwrap_or(0);
            (bit / 64, 1 << (bit % 64))
        })
    }

    fn knows(&self, hash: u64) -> Familiarity {
        let set = Self::probes(hash).all(|(word, bit)| self.words[word] & bit != 0);
        if set { Familiarity::Known } else { Familiarity::Unknown }
    }

    fn note(&mut self, hash: u64) -> Familiarity {
        let before = self.knows(hash);
        if before == Familiarity::Unknown {
            Self::probes(hash).for_each(|(word, bit)| self.words[word] |= bit);
            self.lists += 1;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{collection::CollectionId, request::TenantId, route::ShardId};

    use super::*;

    fn key(number: u64) -> ListKey {
        ListKey {
            tenant: TenantId::SHARED,
            collection: CollectionId(0),
            shards: [ShardId(0)].into_iter().collect(),
            query: number.to_le_bytes().as_slice().into(),
            variant: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_known_from_the_second_time_on_for_a_while() {
        let doorkeeper = Doorkeeper::new();
        assert_eq!(doorkeeper.note(&key(1)), Familiarity::Unknown);
        assert_eq!(doorkeeper.note(&key(1)), Familiarity::Known);
        tokio::time::advance(WINDOW).await;
        assert_eq!(doorkeeper.note(&key(2)), Familiarity::Unknown);
        assert_eq!(doorkeeper.note(&key(1)), Familiarity::Known);
        tokio::time::advance(2 * WINDOW).await;
        assert_eq!(doorkeeper.note(&key(1)), Familiarity::Unknown, "nobody asked for it for two windows");
    }

    #[test]
    fn few_of_many_lists_are_taken_for_known() {
        let doorkeeper = Doorkeeper::new();
        let known = (0..100_000).filter(|n| doorkeeper.note(&key(*n)) == Familiarity::Known).count();
        assert!(known < 4_000, "{known} of 100000");
    }
}
