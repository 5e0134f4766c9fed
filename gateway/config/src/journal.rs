//! `[journal]`

use std::time::Duration;

use tidegate_types::settings::{DurabilityClass, JournalSettings};
use toml::de::DeValue;

use crate::{
    report::Report,
    secret::Resolver,
    section::Section,
    value::{choice, duration, integer, name, size},
};

const CLASSES: &[(&str, DurabilityClass)] = &[("local", DurabilityClass::Local)];
const CLASSES_LATER: &[&str] = &["replicated"];
const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

/// `None` without the table: no collection is write-behind.
pub(crate) fn read(
    mut section: Section<'_>,
    report: &mut Report<'_>,
    resolver: &Resolver<'_>,
) -> Option<JournalSettings> {
    if !section.is_given() {
        return None;
    }
    let s = &mut section;
    let seconds = Duration::from_secs;
    let path = |value: &DeValue<'_>| name(value).map(|path| resolver.path(&path));
    let class = s.or(report, "class", DurabilityClass::Local, choice(CLASSES, CLASSES_LATER));
    let dir = s.required(report, "dir", path);
    let max_bytes = s.or(report, "max_bytes", 4096 * MIB, size(MIB..=MIB * MIB));
    let max_dirty_bytes = s.or(report, "max_dirty_bytes", 256 * MIB, size(64 << 10..=1 << 40));
    let max_age = s.or(report, "max_age", seconds(60), duration(seconds(1)..=DAY));
    let idempotency_window = s.or(report, "idempotency_window", seconds(600), duration(seconds(1)..=7 * DAY));
    let max_idempotency_keys = s.or(report, "max_idempotency_keys", 1_000_000, integer(1..=100_000_000));
    section.finish(report);
    Some(JournalSettings {
        class,
        dir: dir?,
        max_bytes,
        max_dirty_bytes,
        max_age,
        idempotency_window,
        max_idempotency_keys,
    })
}
