//! Shards, and what decides where a row lives.

use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Index of a shard in the [`Topology`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Shards of one answer.
pub type ShardSet = SmallVec<[ShardId; 4]>;

/// The shards by name. Placement depends on the names only, never on their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    names: Vec<Arc<str>>,
    seeds: Vec<u64>,
    regions: Vec<Option<Arc<str>>>,
}

impl Topology {
    /// A topology of these shards; ids are positions.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::with_regions(names.into_iter().map(|name| (name, None)))
    }

    /// A topology of these shards and the regions they are in; ids are positions.
    #[must_use]
    pub fn with_regions(shards: impl IntoIterator<Item = (Arc<str>, Option<Arc<str>>)>) -> Self {
        let (names, regions): (Vec<Arc<str>>, Vec<_>) = shards.into_iter().unzip();
        let seeds = names.iter().map(|name| xxh3_64(name.as_bytes())).collect();
        Self { names, seeds, regions }
    }

    /// The region a shard is in, if it has one.
    #[must_use]
    pub fn region(&self, shard: ShardId) -> Option<&Arc<str>> {
        self.regions.get(usize::from(shard.0))?.as_ref()
    }

    /// The shards of a region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> ShardSet {
        self.all().into_iter().filter(|shard| self.region(*shard).is_some_and(|of| **of == *region)).collect()
    }

    /// As [`Topology::shard_for_hash`], but only these shards take part; `None` without any.
    #[must_use]
    pub fn shard_for_hash_among(&self, hash: u64, among: &[ShardId]) -> Option<ShardId> {
        let weight = |shard: &&ShardId| {
            self.seeds.get(usize::from(shard.0)).map(|seed| xxh3_64_with_seed(&hash.to_le_bytes(), *seed))
        };
        among.iter().max_by_key(weight).copied()
    }

    /// How many shards there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Every shard.
    #[must_use]
    pub fn all(&self) -> ShardSet {
        (0..self.names.len()).filter_map(|i| u16::try_from(i).ok()).map(ShardId).collect()
    }

    /// A shard's name; `?` for an id that is not of this topology.
    #[must_use]
    pub fn name(&self, shard: ShardId) -> &str {
        self.names.get(usize::from(shard.0)).map_or("?", |n| n)
    }

    /// The shard of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<ShardId> {
        self.names.iter().position(|n| &**n == name).and_then(|i| u16::try_from(i).ok()).map(ShardId)
    }

    /// Rendezvous hashing (Thaler and Ravishankar, 1998): the shard with the highest weight for
    /// this hash. Adding a shard moves only the keys it wins, 1/n of them; order does not matter.
    ///
    /// # Panics
    /// Never: an empty topology gives shard 0, and configuration refuses empty topologies.
    #[must_use]
    pub fn shard_for_hash(&self, hash: u64) -> ShardId {
        let weight = |seed: &u64| xxh3_64_with_seed(&hash.to_le_bytes(), *seed);
        let best = self.seeds.iter().enumerate().max_by_key(|(_, seed)| weight(seed)).map_or(0, |(i, _)| i);
        ShardId(u16::try_from(best).unwrap_or(0))
    }

    /// The hash of a shard key's canonical text, as the built-in routing takes it.
    #[must_use]
    pub fn hash_key(text: &str) -> u64 {
        xxh3_64(text.as_bytes())
    }
}

/// What kind of access is being routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// A read.
    Read,
    /// A write.
    Write,
}

/// Where a routing decision came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteSource {
    /// Built-in hash routing; no policy is configured.
    BuiltIn,
    /// A policy was called.
    Policy,
    /// A policy's earlier answer for the same inputs.
    Memo,
    /// The policy failed and the operator's built-in fallback answered a read.
    Fallback,
}

/// A resolved routing decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// At least one shard, all of them known.
    pub shards: ShardSet,
    /// Where it came from.
    pub source: RouteSource,
    /// The policy generation.
    pub generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(names: &[&str]) -> Topology {
        Topology::new(names.iter().map(|n| Arc::from(*n)))
    }

    #[test]
    fn order_of_shards_does_not_move_keys() {
        let (ab, ba) = (topology(&["a", "b"]), topology(&["b", "a"]));
        for key in 0..1000 {
            let hash = Topology::hash_key(&key.to_string());
            assert_eq!(ab.name(ab.shard_for_hash(hash)), ba.name(ba.shard_for_hash(hash)));
        }
    }

    #[test]
    fn a_new_shard_takes_its_share_and_moves_nothing_else() {
        let (three, four) = (topology(&["a", "b", "c"]), topology(&["a", "b", "c", "d"]));
        let mut moved = 0;
        for key in 0..10_000 {
            let hash = Topology::hash_key(&key.to_string());
            let (old, new) = (three.name(three.shard_for_hash(hash)), four.name(four.shard_for_hash(hash)));
            if old != new {
                assert_eq!(new, "d");
                moved += 1;
            }
        }
        assert!((2_200..2_800).contains(&moved), "{moved} of 10000 moved");
    }
}
