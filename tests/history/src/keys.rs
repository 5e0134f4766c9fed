//! One history per key.

use std::{collections::BTreeMap, fmt};

use crate::{Contradiction, History, Operation, Span, Value};

/// What happened to many keys.
#[derive(Debug, Clone)]
pub struct Histories<K> {
    initial: Value,
    keys: BTreeMap<K, History>,
}

impl<K: Ord + Clone + fmt::Display> Histories<K> {
    /// Every key holds `value` from the beginning.
    #[must_use]
    pub fn starting_with(value: impl Into<Value>) -> Self {
        Self { initial: value.into(), keys: BTreeMap::new() }
    }

    /// Says what a key holds from the beginning. Call before its first operation.
    pub fn start(&mut self, key: K, value: Value) {
        self.keys.insert(key, History::starting_with(value));
    }

    /// Adds an operation.
    pub fn add(&mut self, key: K, operation: Operation, span: Span) {
        let initial = self.initial;
        self.keys.entry(key).or_insert_with(|| History::starting_with(initial)).add(operation, span);
    }

    /// Operations on all keys.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.keys.values().map(History::len).sum()
    }

    /// Keys with their histories, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &History)> {
        self.keys.iter()
    }

    /// Every key whose history has no explanation.
    #[must_use]
    pub fn violations(&self) -> Vec<(K, Contradiction)> {
        self.keys.iter().filter_map(|(key, history)| history.check().err().map(|why| (key.clone(), why))).collect()
    }

    /// Checks every key.
    ///
    /// # Errors
    /// The first contradiction, with its key, in words.
    pub fn check(&self) -> Result<(), String> {
        match self.keys.iter().find_map(|(key, history)| history.check().err().map(|why| (key, why))) {
            Some((key, why)) => Err(format!("key {key}: {why}")),
            None => Ok(()),
        }
    }
}
