//! Requests that may be repeated: one effect, the same answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tidegate_types::{
    answer::RowChange,
    key::RowKey,
    mutation::{Image, Sequence},
    request::Idempotency,
    route::ShardId,
    tenant::TenantId,
};

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) sequence: Sequence,
    pub(super) shard: ShardId,
    pub(super) key: RowKey,
    pub(super) change: RowChange,
    /// The row as it was then, where it was shown; else nothing.
    pub(super) image: Image,
}

/// What is known of a request's key.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing: the request is the first, and says through this what came of it.
    First(First),
    /// It was answered.
    Answered(Box<Answered>),
    /// It is being answered.
    UnderWay,
    /// Another request had the key.
    Other,
    /// Too many keys are remembered.
    TooMany,
}

/// The keys of every tenant, and what was answered.
#[derive(Debug, Clone)]
pub(super) struct Repeats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    window: Duration,
    most: usize,
    keys: Mutex<Keys>,
}

type Name = (TenantId, Arc<str>);

#[derive(Debug, Default)]
struct Keys {
    known: HashMap<Name, (u64, State)>,
    /// Those that were answered. Two shards' writers come here in any order.
    order: BTreeMap<Sequence, (Instant, Name)>,
}

#[derive(Debug)]
enum State {
    UnderWay,
    Answered(Box<Answered>),
}

impl Repeats {
    pub(super) fn new(window: Duration, most: usize) -> Self {
        Self(Arc::new(Inner { window, most, keys: Mutex::default() }))
    }

    pub(super) fn look(&self, tenant: TenantId, idempotency: &Idempotency) -> Known {
        let mut keys = self.0.keys.lock();
        keys.forget(self.0.window);
        let name = (tenant, idempotency.key.clone());
        match keys.known.get(&name) {
            Some((fingerprint, _)) if *fingerprint != idempotency.fingerprint => Known::Other,
            Some((_, State::UnderWay)) => Known::UnderWay,
            Some((_, State::Answered(answered))) => Known::Answered(answered.clone()),
            None if keys.known.len() >= self.0.most => Known::TooMany,
            None => {
                keys.known.insert(name.clone(), (idempotency.fingerprint, State::UnderWay));
                Known::First(First { repeats: self.clone(), name, answered: false })
            }
        }
    }

    /// What was found in the journal, in its order.
    pub(super) fn restore(&self, tenant: TenantId, idempotency: &Idempotency, answered: Answered) {
        let name = (tenant, idempotency.key.clone());
        self.0.keys.lock().answered(name, idempotency.fingerprint, answered);
    }

    /// The oldest record that a repeated request must be answered from.
    pub(super) fn oldest(&self) -> Option<Sequence> {
        let mut keys = self.0.keys.lock();
        keys.forget(self.0.window);
        keys.order.first_key_value().map(|(sequence, _)| *sequence)
    }

    pub(super) fn len(&self) -> usize {
        self.0.keys.lock().known.len()
    }
}

impl Keys {
    fn answered(&mut self, name: Name, fingerprint: u64, answered: Answered) {
        self.order.insert(answered.sequence, (Instant::now(), name.clone()));
        self.known.insert(name, (fingerprint, State::Answered(Box::new(answered))));
    }

    fn forget(&mut self, window: Duration) {
        while let Some(oldest) = self.order.first_entry() {
            if oldest.get().0.elapsed() < window {
                return;
            }
            let (sequence, (_, name)) = oldest.remove_entry();
            if matches!(self.known.get(&name), Some((_, State::Answered(of))) if of.sequence == sequence) {
                self.known.remove(&name);
            }
        }
    }
}

/// The first request with a key. Dropped without an answer, the next one is the first.
#[derive(Debug)]
pub(super) struct First {
    repeats: Repeats,
    name: Name,
    answered: bool,
}

impl First {
    /// The record is in the journal: to be called under the lock under which it got its place.
    pub(super) fn answered(mut self, answered: Answered) {
        self.answered = true;
        let mut keys = self.repeats.0.keys.lock();
        let fingerprint = keys.known.get(&self.name).map_or(0, |(fingerprint, _)| *fingerprint);
        keys.answered(self.name.clone(), fingerprint, answered);
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if !self.answered {
            self.repeats.0.keys.lock().known.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::key::KeyValue;

    use super::*;

    const TENANT: TenantId = TenantId::SHARED;

    fn asked(key: &str, fingerprint: u64) -> Idempotency {
        Idempotency { key: key.into(), fingerprint }
    }

    fn answer(sequence: u64) -> Answered {
        Answered {
            sequence: Sequence(sequence),
            shard: ShardId(0),
            key: RowKey::single(KeyValue::Int(1)),
            change: RowChange::Updated,
            image: Image::Gone,
        }
    }

    fn first(repeats: &Repeats, key: &str) -> First {
        match repeats.look(TENANT, &asked(key, 1)) {
            Known::First(first) => first,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeated_request_gets_the_first_ones_answer_and_another_is_told_apart() {
        let repeats = Repeats::new(Duration::from_secs(60), 10);
        let begun = first(&repeats, "k");
        assert!(matches!(repeats.look(TENANT, &asked("k", 1)), Known::UnderWay));
        begun.answered(answer(7));
        match repeats.look(TENANT, &asked("k", 1)) {
            Known::Answered(answered) => assert_eq!(*answered, answer(7)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(repeats.look(TENANT, &asked("k", 2)), Known::Other));
        assert!(matches!(repeats.look(TenantId(9), &asked("k", 1)), Known::First(_)), "tenants have their own");
        assert_eq!(repeats.oldest(), Some(Sequence(7)));
    }

    #[test]
    fn a_request_that_failed_may_be_sent_again_and_there_is_a_bound() {
        let repeats = Repeats::new(Duration::from_secs(60), 1);
        drop(first(&repeats, "k"));
        first(&repeats, "k").answered(answer(1));
        assert!(matches!(repeats.look(TENANT, &asked("l", 1)), Known::TooMany));
        assert!(matches!(repeats.look(TENANT, &asked("k", 1)), Known::Answered(_)), "known ones are still known");
    }

    #[test]
    fn keys_are_forgotten_after_the_window() {
        let repeats = Repeats::new(Duration::ZERO, 1);
        first(&repeats, "k").answered(answer(1));
        assert!(matches!(repeats.look(TENANT, &asked("k", 1)), Known::First(_)));
        assert_eq!((repeats.oldest(), repeats.len()), (None, 0));
    }
}
