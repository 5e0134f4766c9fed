//! Configuration: TOML in, validated [`Settings`] out. Nothing is guessed and nothing is ignored:
//! an unknown key is an error, and every error of a file is reported in one go with its line,
//! its column and, where a name was probably misspelt, the name that was meant.
//!
//! # Layout
//! - [`error`]: the errors and where they are
//! - [`mod@diff`]: what another file would change, and when it would take effect
//! - `report`: collects errors while a file is read
//! - `section`: a table being read: which keys are known, which were given
//! - `value`: readers of single values (durations, sizes, addresses, choices)
//! - `secret`: `env:NAME`, `file:PATH` and `postgres://` URLs; `l2`: `redis://` URLs
//! - `listeners`, `shards`, `pools`, `cache`, `cluster`, `feed`, `journal`, `policies` and `hooks`, `tenants`,
//!   `collections`: the tables
//!   of the file
//! - `outline`: what one table must know of another
//!
//! Every key, its default and its meaning: `gateway/docs/CONFIG.md`.

pub mod diff;
pub mod error;
mod feed;

mod cache;
mod cluster;
mod collections;
mod hooks;
mod journal;
mod l2;
mod listeners;
mod outline;
mod policies;
mod pools;
mod report;
mod secret;
mod section;
mod shards;
mod tenants;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use tidegate_types::settings::Settings;
use toml::de::DeTable;

pub use crate::diff::{Difference, Effect, Setting, diff, diff_shown, shown};
pub use crate::error::{ConfigError, ConfigErrors};
use crate::{outline::Outline, report::Report, secret::Resolver, section::Section};

/// Reads and validates a file. Relative paths in it are relative to its folder.
///
/// # Errors
/// Everything that is wrong with it, at once. If the file itself cannot be read, that.
pub fn load(path: &Path) -> Result<Settings, ConfigErrors> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigErrors::unreadable(&origin, &error))?;
    // Absolute, so that the same file means the same wherever it is read from.
    let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = file.parent().unwrap_or_else(|| Path::new(""));
    read(&text, &origin, &Resolver::of_process(base))
}

/// Validates a text. `origin` stands for the file's name in messages; relative paths are
/// relative to the working directory.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, origin: &str) -> Result<Settings, ConfigErrors> {
    read(text, origin, &Resolver::of_process(Path::new("")))
}

/// What later versions will read: named, so that nobody takes the message for a spelling mistake.
const LATER: &[&str] = &["auth"];

fn read(text: &str, origin: &str, resolver: &Resolver<'_>) -> Result<Settings, ConfigErrors> {
    let mut report = Report::new(text, origin);
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        // What the parser recovered would only give errors that follow from these.
        for error in syntax {
            report.add(error.span().map_or(0, |span| span.start), "", error.message());
        }
        return Err(report.into_errors());
    }
    let outline = Outline::of(document.get_ref());
    let mut root = Section::root(document.get_ref());
    root.later(&mut report, LATER);
    let feed = feed::read(root.table(&mut report, "feed"), &mut report);
    let settings = Settings {
        http: listeners::http(root.table(&mut report, "http"), &mut report),
        admin: listeners::admin(root.table(&mut report, "admin"), &mut report, resolver),
        shards: shards::read(&mut root, &mut report, resolver),
        pools: pools::read(root.table(&mut report, "pools"), &mut report),
        cache: cache::read(root.table(&mut report, "cache"), &mut report, resolver),
        cluster: cluster::read(root.table(&mut report, "cluster"), &mut report, resolver),
        journal: journal::read(root.table(&mut report, "journal"), &mut report, resolver),
        policies: policies::read(root.table(&mut report, "policies"), &mut report, resolver, &outline),
        tenants: tenants::read(root.table(&mut report, "tenants"), &mut report, &outline),
        collections: collections::read(&mut root, &mut report, feed.following, &outline),
        feed,
    };
    root.finish(&mut report);
    report.finish(settings)
}
