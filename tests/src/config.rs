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
        self.set("policies", "dir", &format!("'{}'", dir.display())).set(
            "policies.route",
            "plugin",
            &format!("\"{plugin}\""),
        )
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
