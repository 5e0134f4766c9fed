//! The generated `tidegate.toml`.

use std::{fmt, path::Path};

use crate::Shards;

/// A configuration as text, section by section. Values are TOML.
#[derive(Debug, Clone, Default)]
pub struct Config {
    sections: Vec<(String, Vec<(String, String)>)>,
}

impl Config {
    /// Listens on free ports, drains at once, and has these shards.
    #[must_use]
    pub fn new(shards: &Shards) -> Self {
        let listeners = Self::default()
            .set("http", "listen", "\"127.0.0.1:0\"")
            .set("http", "drain_delay", "\"0s\"")
            .set("admin", "listen", "\"127.0.0.1:0\"");
        shards.urls().fold(listeners, |config, (name, url)| {
            config.set(&format!("shards.{name}"), "primary", &format!("\"{url}\""))
        })
    }

    /// Sets a key of a section (`http`, `collections.products`) to a value written as TOML.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        let index = self.sections.iter().position(|(name, _)| name == section).unwrap_or_else(|| {
            self.sections.push((section.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        let keys = &mut self.sections[index].1;
        keys.retain(|(name, _)| name != key);
        keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Routes by the plugin of this name in `dir`.
    #[must_use]
    pub fn route_by(self, dir: &Path, plugin: &str) -> Self {
        self.hook(dir, "route", plugin)
    }

    /// Has a hook answered by the plugin of this name in `dir`.
    #[must_use]
    pub fn hook(self, dir: &Path, hook: &str, plugin: &str) -> Self {
        self.set("policies", "dir", &format!("'{}'", dir.display())).set(
            &format!("policies.{hook}"),
            "plugin",
            &format!("\"{plugin}\""),
        )
    }

    /// Lets policies take as long as a busy machine needs: what a scenario does not measure must not fail it.
    #[must_use]
    pub fn patient(self) -> Self {
        self.set("policies", "call_timeout", "\"1s\"").set("policies.fall_back", "max_p99", "\"10s\"")
    }

    /// Two tenants, `acme` (class `paid`) on the shard `a` and `bolt` (class `free`) on `b`, told apart by the header
    /// field `x-tenant` with the tier classifier in `dir`.
    #[must_use]
    pub fn two_tenants(self, dir: &Path, classifier: &str) -> Self {
        let known = |config: Self, name: &str, class: &str, shard: &str| {
            let section = format!("tenants.known.{name}");
            config.set(&section, "class", &format!("\"{class}\"")).set(&section, "shards", &format!("[\"{shard}\"]"))
        };
        let config = self.hook(dir, "classify", classifier).section("tenants.classes.free");
        let config = config.section("tenants.classes.paid");
        known(known(config, "acme", "paid", "a"), "bolt", "free", "b")
    }

    /// Has a section, if only an empty one.
    #[must_use]
    pub fn section(mut self, name: &str) -> Self {
        if !self.sections.iter().any(|(known, _)| known == name) {
            self.sections.push((name.to_owned(), Vec::new()));
        }
        self
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, keys) in &self.sections {
            writeln!(f, "[{name}]")?;
            for (key, value) in keys {
                writeln!(f, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}
