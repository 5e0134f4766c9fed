//! `[collections.NAME]`

use std::time::Duration;

use indexmap::IndexMap;
use tidegate_types::{
    collection::{Mode, Visibility},
    settings::CollectionSettings,
};

use crate::{
    report::Report,
    section::{Named, Section},
    value::{choice, duration, integer, name, names},
};

const MODES: &[(&str, Mode)] = &[("cache-aside", Mode::CacheAside), ("bypass", Mode::Bypass)];
const MODES_LATER: &[&str] = &["write-through", "write-behind"];
const CONSISTENCIES: &[(&str, ())] = &[("strict", ())];
const VISIBILITIES: &[(&str, Visibility)] = &[("private", Visibility::Private), ("public", Visibility::Public)];
const LATER: &[&str] = &["max_staleness", "tenant_column", "track"];

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

pub(crate) fn read(root: &mut Section<'_>, report: &mut Report<'_>) -> IndexMap<String, CollectionSettings> {
    let entries = root.named(report, "collections");
    if entries.is_empty() {
        root.complain(report, "collections", "at least one [collections.NAME] with its `table` is required");
    }
    let mut collections = IndexMap::new();
    for Named { name, offset, section } in entries {
        if !is_path_segment(&name) {
            let message =
                "a collection's name is one path segment: 1 to 128 characters without `/` and control characters";
            report.add(offset, format!("collections.{name:?}"), message);
        }
        if let Some(collection) = collection(section, report) {
            collections.insert(name, collection);
        }
    }
    collections
}

fn collection(mut section: Section<'_>, report: &mut Report<'_>) -> Option<CollectionSettings> {
    if !section.is_given() {
        return None;
    }
    section.later(report, LATER);
    let s = &mut section;
    let table = s.required(report, "table", name);
    let key = s.or(report, "key", Vec::new(), names);
    let shard_key = s.or(report, "shard_key", Vec::new(), names);
    let columns = s.or(report, "columns", Vec::new(), names);
    let mode = s.or(report, "mode", Mode::CacheAside, choice(MODES, MODES_LATER));
    let ttl = s.or(report, "ttl", Duration::from_secs(60), duration(SHORTEST..=LONGEST));
    let negative_ttl = s.or(report, "negative_ttl", Duration::from_secs(5), duration(Duration::ZERO..=LONGEST));
    s.or(report, "consistency", (), choice(CONSISTENCIES, &["bounded"]));
    let visibility = s.or(report, "cache_control", Visibility::Private, choice(VISIBILITIES, &[]));
    let max_rows = s.or(report, "max_rows", 1_000, integer(1..=1_000_000));
    check_names(&section, report, &key, &shard_key, &columns);
    section.finish(report);
    Some(CollectionSettings { table: table?, key, shard_key, columns, mode, ttl, negative_ttl, visibility, max_rows })
}

/// What can be said without the catalog: the shard key is part of the key, and both are exposed.
fn check_names(
    section: &Section<'_>,
    report: &mut Report<'_>,
    key: &[String],
    shard_key: &[String],
    columns: &[String],
) {
    if !key.is_empty() {
        for column in shard_key.iter().filter(|column| !key.contains(column)) {
            let message = format!("`{column}` is not in `key`; the shard key must be part of the primary key");
            section.complain(report, "shard_key", message);
        }
    }
    if !columns.is_empty() {
        for column in key.iter().chain(shard_key.iter().filter(|c| !key.contains(c))) {
            if !columns.contains(column) {
                section.complain(report, "columns", format!("lacks the key column `{column}`"));
            }
        }
    }
}

fn is_path_segment(name: &str) -> bool {
    (1..=128).contains(&name.chars().count())
        && !name.contains(|c: char| c == '/' || c.is_control())
        && !matches!(name, "." | "..")
}
