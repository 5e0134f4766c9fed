//! `[feed]`

use std::time::Duration;

use tidegate_types::settings::{FeedSettings, Following};
use toml::de::DeValue;

use crate::{
    report::Report,
    section::{Reading, Section},
    value::{boolean, duration, size, text},
};

const MIB: u64 = 1 << 20;
/// A slot's name has the database's oid behind it, and 63 characters in all.
const LONGEST_NAME: usize = 48;

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>) -> FeedSettings {
    let s = &mut section;
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    let settings = FeedSettings {
        following: if s.or(report, "enabled", false, boolean) { Following::On } else { Following::Off },
        slot: s.or(report, "slot", "tidegate".to_owned(), identifier),
        publication: s.or(report, "publication", "tidegate".to_owned(), identifier),
        heartbeat: s.or(report, "heartbeat", millis(100), duration(millis(10)..=seconds(10))),
        max_retained_wal: s.or(report, "max_retained_wal", 1024 * MIB, size(64 * MIB..=MIB * MIB)),
        schema_interval: s.or(report, "schema_interval", seconds(5), duration(millis(100)..=seconds(3600))),
    };
    section.finish(report);
    settings
}

/// A name that needs no quoting, as slots' names must not.
fn identifier(value: &DeValue<'_>) -> Reading<String> {
    let name = text(value)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!("must be 1 to {LONGEST_NAME} lower-case letters, digits and underscores"));
    }
    Ok(name)
}
