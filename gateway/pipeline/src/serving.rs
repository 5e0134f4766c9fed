//! What is served, and how it is replaced while requests are under way.
//!
//! A write raises the floors of the collections that were served when it began. After a replacement there are
//! collections it does not know of (new ones, redefined ones: [`renumber`] says which), and an entry of such a
//! collection, filled while the write has not committed, would outlive it. So they are not cached before the last
//! write of the sets that did not have them has ended. Writes hold their `Edition` until then; reads need none,
//! because what they ask for is defined by their collection alone.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_types::collection::{CollectionId, Collections, renumber};

/// What is served: replaced as a whole when configuration or catalogs change.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The collections. Those that replace others are numbered after them by [`renumber`].
    pub collections: Arc<Collections>,
}

/// One [`Serving`] and what it must wait for.
#[derive(Debug)]
pub(crate) struct Edition {
    pub(crate) collections: Arc<Collections>,
    /// Of the collections: two gateways raise the same buckets only where it is the same.
    pub(crate) digest: u64,
    /// Editions before this one that were in use when it came.
    before: Vec<Weak<Edition>>,
    /// Those of them that did not have a collection, where there are any.
    strangers: HashMap<CollectionId, Vec<Weak<Edition>>>,
}

impl Edition {
    fn first(collections: Arc<Collections>) -> Self {
        let digest = collections.digest();
        Self { collections, digest, before: Vec::new(), strangers: HashMap::new() }
    }

    fn after(now: &Arc<Self>, collections: Arc<Collections>) -> Self {
        let mut before = in_use(&now.before);
        before.push(Arc::downgrade(now));
        let strangers = collections.iter().map(|collection| {
            let known = now.collections.by_id(collection.id).is_some();
            let strangers =
                if known { now.strangers.get(&collection.id).map_or_else(Vec::new, in_use) } else { before.clone() };
            (collection.id, strangers)
        });
        let strangers = strangers.filter(|(_, strangers)| !strangers.is_empty()).collect();
        let digest = collections.digest();
        Self { collections, digest, before, strangers }
    }

    /// Whether every write under way raises what it changes of this collection. Once true, it stays so while
    /// the collection is served. To be asked before a query is sent whose result is to be kept.
    fn is_settled(&self, id: CollectionId) -> bool {
        match self.strangers.get(&id) {
            Some(strangers) => strangers.iter().all(|edition| edition.strong_count() == 0),
            None => self.collections.by_id(id).is_some(),
        }
    }
}

#[expect(clippy::ptr_arg, reason = "used as a function of a field")]
fn in_use(editions: &Vec<Weak<Edition>>) -> Vec<Weak<Edition>> {
    editions.iter().filter(|edition| edition.strong_count() > 0).cloned().collect()
}

/// The edition in use.
#[derive(Debug)]
pub(crate) struct Live {
    now: ArcSwap<Edition>,
    // One replacement at a time: each is numbered after the one before.
    turn: Mutex<()>,
}

impl Live {
    pub(crate) fn new(serving: Serving) -> Self {
        Self { now: ArcSwap::from_pointee(Edition::first(serving.collections)), turn: Mutex::new(()) }
    }

    /// The edition in use, held: what is new in later ones is not cached while it is.
    pub(crate) fn hold(&self) -> Arc<Edition> {
        self.now.load_full()
    }

    /// A look at the edition in use.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Collections) -> T) -> T {
        at(&self.now.load().collections)
    }

    pub(crate) fn is_settled(&self, id: CollectionId) -> bool {
        self.now.load().is_settled(id)
    }

    /// Serves something else. Numbers it anew if it was not numbered after what is served now.
    pub(crate) fn replace(&self, serving: Serving) -> Arc<Collections> {
        let _turn = self.turn.lock();
        let now = self.hold();
        let mut collections = serving.collections;
        if !collections.follows(&now.collections) {
            let all = collections.iter().map(|collection| (**collection).clone()).collect();
            collections = Arc::new(renumber(&now.collections, all));
        }
        self.now.store(Arc::new(Edition::after(&now, collections.clone())));
        collections
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::collection::Collection;

    use super::*;
    use crate::fixture::collection;

    fn set(names: &[&str]) -> Vec<Collection> {
        names.iter().zip(0..).map(|(name, id)| collection(id, name)).collect()
    }

    fn live(names: &[&str]) -> Live {
        let all = set(names).into_iter().map(Arc::new).collect();
        Live::new(Serving { collections: Arc::new(Collections::new(all)) })
    }

    impl Live {
        fn serve(&self, names: &[&str]) -> Arc<Collections> {
            let collections = self.look(|now| renumber(now, set(names)));
            self.replace(Serving { collections: Arc::new(collections) })
        }

        fn settled(&self) -> Vec<String> {
            let names = |now: &Collections| {
                now.iter().filter(|c| self.is_settled(c.id)).map(|c| c.name.to_string()).collect::<Vec<_>>()
            };
            self.look(names)
        }
    }

    #[test]
    fn what_is_new_settles_when_the_last_write_that_does_not_know_it_has_ended() {
        let live = live(&["a"]);
        let (write, another) = (live.hold(), live.hold());
        live.serve(&["a", "b"]);
        assert_eq!(live.settled(), ["a"]);
        let newer = live.hold();
        drop(write);
        assert_eq!(live.settled(), ["a"]);
        drop(another);
        assert_eq!(live.settled(), ["a", "b"], "writes that know it may go on");
        drop(newer);
    }

    #[test]
    fn each_replacement_waits_for_what_it_does_not_share_with_those_before() {
        let live = live(&["a"]);
        let first = live.hold();
        live.serve(&["a", "b"]);
        let second = live.hold();
        live.serve(&["b", "a", "c"]);
        assert_eq!(live.settled(), ["a"]);
        drop(first);
        assert_eq!(live.settled(), ["b", "a"]);
        drop(second);
        assert_eq!(live.settled(), ["b", "a", "c"]);
    }

    #[test]
    fn a_collection_waits_for_every_write_before_it_came_not_only_for_the_last_editions() {
        let live = live(&["a", "b"]);
        let first = live.hold();
        live.serve(&["a"]);
        live.serve(&["a", "c"]);
        assert_eq!(live.settled(), ["a"], "a write of the first edition does not know c");
        drop(first);
        assert_eq!(live.settled(), ["a", "c"]);
    }

    #[test]
    fn what_is_served_no_longer_is_never_settled() {
        let live = live(&["a", "b"]);
        let gone = live.look(|now| now.get("b").expect("served").id);
        live.serve(&["a"]);
        assert!(!live.is_settled(gone));
        let again = live.serve(&["a", "b"]);
        assert_ne!(again.get("b").expect("served").id, gone);
        assert!(!live.is_settled(gone));
    }

    #[test]
    fn two_replacements_at_once_do_not_bring_a_number_back() {
        let live = live(&["a", "b"]);
        let numbered_early = live.look(|now| renumber(now, set(&["a", "b"])));
        let b = numbered_early.get("b").expect("served").id;
        live.serve(&["a"]);
        let served = live.replace(Serving { collections: Arc::new(numbered_early) });
        assert_ne!(served.get("b").expect("served").id, b, "writes did not raise it meanwhile");
    }
}
