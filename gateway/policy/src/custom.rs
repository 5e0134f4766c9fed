//! Counters that plugins keep themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// Names of one plugin.
const MAX_NAMES: usize = 16;
/// Bytes of a name.
const MAX_NAME_BYTES: usize = 64;

/// The labels of a plugin's counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CustomLabels {
    plugin: String,
    name: String,
}

/// The counters of all plugins. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct CustomCounters {
    counters: Family<CustomLabels, Counter>,
    names: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

impl CustomCounters {
    /// What is registered.
    pub fn family(&self) -> Family<CustomLabels, Counter> {
        self.counters.clone()
    }

    /// Adds to a counter. Names that are not `[a-z0-9_]{1,64}`, and new ones beyond sixteen of the
    /// plugin, are dropped: labels are bounded.
    pub fn add(&self, plugin: &str, name: &str, amount: u64) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
            return;
        }
        {
            let mut names = self.names.lock();
            let names = names.entry(plugin.to_owned()).or_default();
            if !names.contains(name) {
                if names.len() >= MAX_NAMES {
                    return;
                }
                names.insert(name.to_owned());
            }
        }
        let labels = CustomLabels { plugin: plugin.to_owned(), name: name.to_owned() };
        self.counters.get_or_create(&labels).inc_by(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_few() {
        let counters = CustomCounters::default();
        for name in ["", "Upper", "a b", "dash-ed", &"x".repeat(65)] {
            counters.add("p", name, 1);
        }
        for i in 0..100 {
            counters.add("p", &format!("n{i}"), 2);
        }
        counters.add("p", "n3", 1);
        counters.add("q", "n99", 5);
        let value = |plugin: &str, name: &str| {
            let labels = CustomLabels { plugin: plugin.into(), name: name.into() };
            counters.counters.get(&labels).map(|counter| counter.get())
        };
        assert_eq!(counters.names.lock()["p"].len(), MAX_NAMES);
        assert_eq!((value("p", "n3"), value("p", "n16"), value("p", "Upper")), (Some(3), None, None));
        assert_eq!(value("q", "n99"), Some(5));
    }
}
