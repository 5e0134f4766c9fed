//! What happened in a run: always as a hash, in words only when a seed is replayed.

use std::fmt::Write as _;

/// The record of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: u64,
    words: Option<String>,
}

impl Trace {
    /// Keeps the words too.
    #[must_use]
    pub fn in_words() -> Self {
        Self { hash: 0, words: Some(String::new()) }
    }

    /// Adds an event.
    pub fn add(&mut self, now: u64, what: &'static str, values: [u64; 3]) {
        for value in [now, u64::from(what.as_bytes()[0]) ^ ((what.len() as u64) << 8)].into_iter().chain(values) {
            // The mixing step of splitmix64: every event moves every bit.
            self.hash = (self.hash ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.hash = (self.hash ^ (self.hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            self.hash ^= self.hash >> 27;
        }
        if let Some(words) = self.words.as_mut().filter(|_| what != "step") {
            let [a, b, c] = values;
            // Writing to a string cannot fail.
            let _ = writeln!(
                words,
                "{:>12.6} ms  {what} {a} {b} {c}",
                std::time::Duration::from_nanos(now).as_secs_f64() * 1e3
            );
        }
    }

    /// Equal for equal runs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The events, if they were kept.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        self.words.as_deref()
    }
}
