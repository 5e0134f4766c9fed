//! What is served, as a whole.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::Xxh3Default;

use super::{Collection, CollectionId, WriteReach, hash_text};
use crate::track::Tracked;

/// The served collections, replaced as a whole when configuration or catalog change.
#[derive(Debug, Default)]
pub struct Collections {
    all: Vec<Arc<Collection>>,
    by_name: HashMap<Arc<str>, usize>,
    by_id: HashMap<CollectionId, usize>,
    /// Which set this is, and the one it was numbered after.
    set: u64,
    after: u64,
    numbers: Arc<Numbers>,
}

/// What was given out so far by a set and all that were numbered after it.
#[derive(Debug, Default)]
struct Numbers {
    ids: AtomicU32,
    sets: AtomicU64,
}

impl Collections {
    /// The first set, as configuration and catalog give it.
    #[must_use]
    pub fn new(all: Vec<Arc<Collection>>) -> Self {
        let next = all.iter().map(|collection| collection.id.0.saturating_add(1)).max().unwrap_or(0);
        let numbers = Numbers { ids: AtomicU32::new(next), sets: AtomicU64::new(1) };
        Self::indexed(all, 0, 0, Arc::new(numbers))
    }

    fn indexed(all: Vec<Arc<Collection>>, set: u64, after: u64, numbers: Arc<Numbers>) -> Self {
        let by_name = all.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        let by_id = all.iter().enumerate().map(|(i, c)| (c.id, i)).collect();
        Self { all, by_name, by_id, set, after, numbers }
    }

    /// The collection of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.by_name.get(name).map(|i| &self.all[*i])
    }

    /// The collection of this id.
    #[must_use]
    pub fn by_id(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.by_id.get(&id).map(|i| &self.all[*i])
    }

    /// All of them, in the order of configuration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Collection>> {
        self.all.iter()
    }

    /// The columns of a table whose values a change of it must tell: what any collection of it tracks, each once.
    #[must_use]
    pub fn tracked(&self, relation: &str) -> Vec<&Tracked> {
        let mut tracked: Vec<&Tracked> = Vec::new();
        for column in self.all.iter().filter(|c| c.relation == relation).flat_map(|c| &c.track) {
            if !tracked.contains(&column) {
                tracked.push(column);
            }
        }
        tracked
    }

    /// The hash of what is served, of what its lists are told apart by and of what writes to it reach. Two gateways raise the same buckets for the same
    /// change only where these are equal.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut sorted: Vec<_> = self.all.iter().collect();
        sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Xxh3Default::new();
        for collection in sorted {
            hash.update(&collection.definition().to_le_bytes());
            let mut reached: Vec<&str> = match &collection.reach {
                WriteReach::Own => vec![],
                WriteReach::Anything => vec!["*"],
                WriteReach::Cascades(others) => {
                    others.iter().filter_map(|id| self.by_id(*id)).map(|c| &*c.name).collect()
                }
            };
            reached.sort_unstable();
            hash.update(&(reached.len() as u64).to_le_bytes());
            for name in reached {
                hash_text(&mut hash, name);
            }
            hash.update(&(collection.track.len() as u64).to_le_bytes());
            for tracked in &collection.track {
                hash_text(&mut hash, &tracked.name);
            }
        }
        hash.digest()
    }

    /// Whether this set was numbered after `before`, so that it may take its place.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        Arc::ptr_eq(&self.numbers, &before.numbers) && self.after == before.set && self.set != before.set
    }
}

/// Numbers a set that is to take the place of `old`. A collection keeps its number if its name and definition
/// are the same and no collection of `old` reaches it that did not before, since a write that is under way
/// knows only what it reached before. Every other collection gets a number that was never used. `new` may be
/// numbered in any way, as long as its numbers differ and its reaches agree with them.
#[must_use]
pub fn renumber(old: &Collections, new: Vec<Collection>) -> Collections {
    let numbers = &old.numbers;
    let newly_reached = |before: &Collection, collection: &Collection| {
        new.iter()
            .filter(|writer| writer.reach.includes(collection.id))
            .any(|writer| old.get(&writer.name).is_some_and(|known| !known.reach.includes(before.id)))
    };
    let number = |collection: &Collection| match old.get(&collection.name) {
        Some(before) if before.is_defined_as(collection) && !newly_reached(before, collection) => before.id,
        _ => CollectionId(numbers.ids.fetch_add(1, Ordering::Relaxed)),
    };
    let given: HashMap<CollectionId, CollectionId> = new.iter().map(|c| (c.id, number(c))).collect();
    let all = new.into_iter().map(|mut collection| {
        collection.id = given[&collection.id];
        if let WriteReach::Cascades(others) = &mut collection.reach {
            for other in &mut *others {
                *other = given.get(other).copied().unwrap_or(*other);
            }
            others.sort_unstable();
        }
        Arc::new(collection)
    });
    let set = numbers.sets.fetch_add(1, Ordering::Relaxed);
    Collections::indexed(all.collect(), set, old.set, numbers.clone())
}
