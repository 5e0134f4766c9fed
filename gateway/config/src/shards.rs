//! `[shards.NAME]`

use indexmap::IndexMap;
use tidegate_types::settings::ShardSettings;

use crate::{
    report::Report,
    secret::Resolver,
    section::{Named, Section},
    value::name,
};

/// More shards than anybody runs; bounds what one request may fan out to.
const MAX_SHARDS: usize = 256;

pub(crate) fn read(
    root: &mut Section<'_>,
    report: &mut Report<'_>,
    resolver: &Resolver<'_>,
) -> IndexMap<String, ShardSettings> {
    let entries = root.named(report, "shards");
    if entries.is_empty() {
        root.complain(report, "shards", "at least one [shards.NAME] with its `primary` is required");
    }
    if entries.len() > MAX_SHARDS {
        root.complain(report, "shards", format!("at most {MAX_SHARDS} shards, found {}", entries.len()));
    }
    let mut shards: IndexMap<String, ShardSettings> = IndexMap::new();
    for Named { name, offset, section } in entries {
        if !is_shard_name(&name) {
            let message = "a shard's name has 1 to 63 ASCII letters, digits, `_` or `-`";
            report.add(offset, format!("shards.{name:?}"), message);
        }
        if let Some(shard) = shard(section, report, resolver, &shards) {
            shards.insert(name, shard);
        }
    }
    shards
}

fn shard(
    mut section: Section<'_>,
    report: &mut Report<'_>,
    resolver: &Resolver<'_>,
    others: &IndexMap<String, ShardSettings>,
) -> Option<ShardSettings> {
    if !section.is_given() {
        return None;
    }
    section.later(report, &["replicas"]);
    let primary = section.required(report, "primary", |value| resolver.postgres_url(value));
    if let Some(primary) = &primary {
        // The same database twice would show its rows twice in every list.
        if let Some((other, _)) = others.iter().find(|(_, shard)| &shard.primary == primary) {
            section.complain(report, "primary", format!("is the database of shard `{other}`"));
        }
    }
    let region = section.optional(report, "region", name);
    section.finish(report);
    primary.map(|primary| ShardSettings { primary, region })
}

/// Names stand in logs, metrics, cache status and on the command line.
fn is_shard_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
