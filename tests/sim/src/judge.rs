//! Decides whether what clients saw was allowed, twice: by the rule itself while the run goes on, and by the
//! history checker afterwards.

use std::{collections::BTreeMap, time::Duration};

use tidegate_history::{Histories, Operation, Span, Value};

use crate::postgres::{Server, Version, Written};

/// What is known of the keys of all shards.
#[derive(Debug)]
pub struct Judge {
    histories: Histories<u32>,
    /// The newest version acknowledged or returned, by its place in commit order.
    known: BTreeMap<u32, usize>,
    /// What was found first.
    violation: Option<String>,
    operations: u64,
    /// Writes that have begun and not ended.
    open: BTreeMap<u64, (u32, Written, Duration)>,
}

/// The version that a read must not be older than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeast(usize);

/// The place of a version in commit order; before the first one a row is not there.
fn place(versions: &[Version], is: impl Fn(&Written) -> bool) -> Option<usize> {
    versions.iter().rposition(|version| is(&version.written)).map(|at| at + 1)
}

impl Judge {
    /// Nothing is known, and no row is there.
    #[must_use]
    pub fn new() -> Self {
        Self {
            histories: Histories::starting_with(None),
            known: BTreeMap::new(),
            violation: None,
            operations: 0,
            open: BTreeMap::new(),
        }
    }

    /// A read begins.
    #[must_use]
    pub fn read_begins(&self, key: u32) -> AtLeast {
        AtLeast(self.known.get(&key).copied().unwrap_or(0))
    }

    /// A read ends.
    pub fn read_ends(&mut self, server: &Server, key: u32, value: Value, at_least: AtLeast, span: Span) {
        self.operations += 1;
        self.histories.add(key, Operation::Read(value), span);
        let versions = server.history.get(&key).map_or(&[][..], Vec::as_slice);
        // Deletes look alike: the newest is assumed. The history checker tells them apart.
        let newest = place(versions, |written| written.value == value);
        let Some(version) = newest.or(value.is_none().then_some(0)) else {
            return self.found(format!("key {key}: {value:?} was returned and never committed"));
        };
        if version < at_least.0 {
            let known = versions.get(at_least.0 - 1).map(|version| version.written);
            return self.found(format!("key {key}: {value:?} was returned after {known:?} was known"));
        }
        if value.is_some() {
            self.is_known(key, version);
        }
    }

    /// A read of a row that changes without gateways ends. Nothing is known of it but what was purged: in between,
    /// one gateway may have the new row and another the old.
    pub fn purged_read_ends(&mut self, server: &Server, key: u32, value: Value, at_least: AtLeast) {
        self.operations += 1;
        let versions = server.history.get(&key).map_or(&[][..], Vec::as_slice);
        let version = place(versions, |written| written.value == value).or(value.is_none().then_some(0));
        if version.is_none_or(|version| version < at_least.0) {
            self.found(format!("key {key}: {value:?} was returned after something newer was purged"));
        }
    }

    /// A purge was answered.
    pub fn purged(&mut self, server: &Server, key: u32, written: Written) {
        self.operations += 1;
        let versions = server.history.get(&key).map_or(&[][..], Vec::as_slice);
        if let Some(version) = place(versions, |version| version.tag == written.tag) {
            self.is_known(key, version);
        }
    }

    /// A write begins.
    pub fn write_begins(&mut self, key: u32, written: Written, start: Duration) {
        self.open.insert(written.tag, (key, written, start));
    }

    /// A write ends, and certainly did not happen.
    pub fn write_refused(&mut self, written: Written) {
        self.open.remove(&written.tag);
    }

    /// A write ends. Without an end, nobody knows whether it happened.
    pub fn write_ends(&mut self, server: &Server, written: Written, end: Option<Duration>) {
        let Some((key, written, start)) = self.open.remove(&written.tag) else { return };
        self.operations += 1;
        self.histories.add(key, Operation::Write(written.value), Span { start, end });
        if end.is_none() {
            return;
        }
        let versions = server.history.get(&key).map_or(&[][..], Vec::as_slice);
        match place(versions, |version| version.tag == written.tag) {
            Some(version) => self.is_known(key, version),
            None => self.found(format!("key {key}: {written:?} was acknowledged and is not committed")),
        }
    }

    fn is_known(&mut self, key: u32, version: usize) {
        let known = self.known.entry(key).or_insert(0);
        *known = version.max(*known);
    }

    fn found(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Operations judged so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// What was found while the run went on.
    #[must_use]
    pub fn seen(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// The verdict of both.
    ///
    /// # Errors
    /// What was found, in words.
    pub fn verdict(&self) -> Result<(), String> {
        let mut histories = self.histories.clone();
        for (key, written, start) in self.open.values() {
            histories.add(*key, Operation::Write(written.value), Span { start: *start, end: None });
        }
        let by_history = histories.check();
        match (&self.violation, by_history) {
            (None, Ok(())) => Ok(()),
            (Some(rule), Ok(())) => Err(format!("by the rule: {rule}")),
            (None, Err(history)) => Err(format!("by the history: {history}")),
            (Some(rule), Err(history)) => Err(format!("by the rule: {rule}; by the history: {history}")),
        }
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}
