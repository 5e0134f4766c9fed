//! `[collections.NAME]`

use std::time::Duration;

use indexmap::IndexMap;
use tidegate_types::{
    collection::{Consistency, Mode, Staleness, Visibility},
    settings::{CollectionSettings, Following},
    track::MAX_TRACKED,
};

use crate::{
    outline::Outline,
    report::Report,
    section::{Named, Section},
    value::{choice, duration, integer, name, names, size},
};

const MODES: &[(&str, Mode)] = &[
    ("cache-aside", Mode::CacheAside),
    ("write-through", Mode::WriteThrough),
    ("write-behind", Mode::WriteBehind),
    ("bypass", Mode::Bypass),
];
const CONSISTENCIES: &[(&str, Promise)] = &[("strict", Promise::Strict), ("bounded", Promise::Bounded)];
/// What only bounded consistency has.
const OF_BOUNDED: [&str; 3] = ["max_staleness", "stale_while_revalidate", "stale_if_error"];
const VISIBILITIES: &[(&str, Visibility)] = &[("private", Visibility::Private), ("public", Visibility::Public)];
const LATER: &[&str] = &["tenant_column"];

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

pub(crate) fn read(
    root: &mut Section<'_>,
    report: &mut Report<'_>,
    following: Following,
    outline: &Outline<'_>,
) -> IndexMap<String, CollectionSettings> {
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
        if let Some(collection) = collection(section, report, following, outline) {
            collections.insert(name, collection);
        }
    }
    collections
}

fn collection(
    mut section: Section<'_>,
    report: &mut Report<'_>,
    following: Following,
    outline: &Outline<'_>,
) -> Option<CollectionSettings> {
    if !section.is_given() {
        return None;
    }
    section.later(report, LATER);
    let s = &mut section;
    let table = s.required(report, "table", name);
    let key = s.or(report, "key", Vec::new(), names);
    let shard_key = s.or(report, "shard_key", Vec::new(), names);
    let columns = s.or(report, "columns", Vec::new(), names);
    let mode = s.or(report, "mode", Mode::CacheAside, choice(MODES, &[]));
    if mode == Mode::WriteBehind {
        check_write_behind(s, report, outline);
    }
    let ttl = s.or(report, "ttl", Duration::from_secs(60), duration(SHORTEST..=LONGEST));
    let negative_ttl = s.or(report, "negative_ttl", Duration::from_secs(5), duration(Duration::ZERO..=LONGEST));
    let consistency = consistency(s, report, following);
    let visibility = s.or(report, "cache_control", Visibility::Private, choice(VISIBILITIES, &[]));
    let cdn_ttl = cdn_ttl(s, report, (visibility, mode), outline);
    let max_rows = s.or(report, "max_rows", 1_000, integer(1..=1_000_000));
    let list_bytes = s.optional(report, "list_bytes", size(0..=1 << 40));
    let track = s.or(report, "track", Vec::new(), names);
    check_names(&section, report, &key, &shard_key, &columns);
    check_track(&section, report, &track, &columns);
    section.finish(report);
    Some(CollectionSettings {
        table: table?,
        key,
        shard_key,
        columns,
        mode,
        ttl,
        negative_ttl,
        consistency,
        visibility,
        cdn_ttl,
        max_rows,
        list_bytes,
        track,
    })
}

/// What write-behind needs of the rest of the file.
fn check_write_behind(section: &Section<'_>, report: &mut Report<'_>, outline: &Outline<'_>) {
    if !outline.journals {
        section.complain(report, "mode", "`write-behind` needs a journal; add [journal] with its `dir`");
    } else if outline.clustered {
        let message = "`write-behind` with the journal's class `local` is for one gateway: other gateways would not see \
                       what this one acknowledged. Remove [cluster], or choose another mode";
        section.complain(report, "mode", message);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Strict,
    Bounded,
}

fn consistency(s: &mut Section<'_>, report: &mut Report<'_>, following: Following) -> Consistency {
    let promise = s.or(report, "consistency", Promise::Strict, choice(CONSISTENCIES, &[]));
    // Shorter than two heartbeats it would never hold.
    let max = s.or(report, "max_staleness", Duration::from_secs(1), duration(Duration::from_millis(250)..=LONGEST));
    let mut grace = |key| s.or(report, key, Duration::ZERO, duration(Duration::ZERO..=LONGEST));
    let (while_revalidate, if_error) = (grace("stale_while_revalidate"), grace("stale_if_error"));
    match promise {
        Promise::Bounded if following == Following::Off => {
            let message = "`bounded` rests on the change feed; add `[feed] enabled = true`";
            s.complain(report, "consistency", message);
            Consistency::Strict
        }
        Promise::Bounded => Consistency::Bounded(Staleness { max, while_revalidate, if_error }),
        Promise::Strict => {
            for key in OF_BOUNDED.into_iter().filter(|key| s.has(key)) {
                s.complain(report, key, "is for `consistency = \"bounded\"` only; strict reads are never stale");
            }
            Consistency::Strict
        }
    }
}

/// Whose answers a CDN may serve to everybody: those of nobody in particular.
fn cdn_ttl(
    s: &mut Section<'_>,
    report: &mut Report<'_>,
    (visibility, mode): (Visibility, Mode),
    outline: &Outline<'_>,
) -> Option<Duration> {
    let ttl = s.optional(report, "cdn_ttl", duration(Duration::from_secs(1)..=LONGEST))?;
    let why = match (visibility, mode) {
        (Visibility::Private, _) => "is for `cache_control = \"public\"` only",
        (Visibility::Public, Mode::Bypass) => "is not for mode `bypass`, whose answers nobody keeps",
        (Visibility::Public, _) if outline.classifies => {
            "has no effect with [policies.classify]: answers of a tenant are not offered to a CDN"
        }
        (Visibility::Public, _) => return Some(ttl),
    };
    s.complain(report, "cdn_ttl", why);
    None
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

/// What can be said without the catalog: tracked columns are few and exposed.
fn check_track(section: &Section<'_>, report: &mut Report<'_>, track: &[String], columns: &[String]) {
    if track.len() > MAX_TRACKED {
        section.complain(report, "track", format!("names {} columns; at most {MAX_TRACKED} are tracked", track.len()));
    }
    if !columns.is_empty() {
        for column in track.iter().filter(|column| !columns.contains(column)) {
            section.complain(report, "track", format!("`{column}` is not in `columns`; clients cannot ask for it"));
        }
    }
}

fn is_path_segment(name: &str) -> bool {
    (1..=128).contains(&name.chars().count())
        && !name.contains(|c: char| c == '/' || c.is_control())
        && !matches!(name, "." | "..")
}
