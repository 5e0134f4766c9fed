//! `[policies]`, but for its hooks

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use indexmap::IndexMap;
use tidegate_types::settings::{DirectorySettings, FallBackSettings, HookSettings, PolicySettings, RecordSettings};
use toml::de::DeValue;

use crate::{
    hooks::{self, Hook},
    outline::Outline,
    report::Report,
    secret::Resolver,
    section::{Named, Reading, Section, shortened, unknown_name},
    value::{duration, float, integer, name, names, size},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
/// Copies of tables in memory, each with its own query now and then.
const MAX_DIRECTORIES: usize = 64;
/// Each unsigned or wrongly signed version is tried against all of them.
const MAX_KEYS: usize = 64;

pub(crate) fn read(
    mut section: Section<'_>,
    report: &mut Report<'_>,
    resolver: &Resolver<'_>,
    outline: &Outline<'_>,
) -> PolicySettings {
    let s = &mut section;
    let defaults = PolicySettings::default();
    let path = |value: &DeValue<'_>| name(value).map(|path| resolver.path(&path));
    let settings = PolicySettings {
        dir: s.optional(report, "dir", path),
        state: s.optional(report, "state", path),
        max_memory_bytes: s.or(report, "max_memory", defaults.max_memory_bytes, size(64 * KIB..=512 * MIB)),
        call_timeout: s.or(report, "call_timeout", defaults.call_timeout, duration(SHORTEST..=LONGEST)),
        trusted_keys: s.or(report, "trusted_keys", Vec::new(), trusted_keys),
        guard_keys: s.or(report, "guard_keys", defaults.guard_keys, integer(1..=1_000_000)),
        classify: hook(s, report, Hook::Classify),
        route: hook(s, report, Hook::Route),
        cache_policy: hook(s, report, Hook::CachePolicy),
        invalidate: hook(s, report, Hook::Invalidate),
        fall_back: fall_back(s.table(report, "fall_back"), report),
        directories: directories(s, report, outline),
        record: record(s.table(report, "record"), report, resolver),
    };
    let given = Hook::ALL.into_iter().find(|hook| s.has_table(hook.key()));
    if let Some(hook) = given.filter(|_| !s.has("dir")) {
        s.complain(report, "dir", format!("is required where [policies.{}] names a plugin", hook.key()));
    }
    if outline.classifies && !outline.has_tenants {
        let message = "needs at least one [tenants.known.NAME]: a tenant that is not known is refused with 403";
        s.complain(report, Hook::Classify.key(), message);
    }
    section.finish(report);
    settings
}

fn hook(section: &mut Section<'_>, report: &mut Report<'_>, hook: Hook) -> Option<HookSettings> {
    let table = section.table(report, hook.key());
    if table.is_given() { hooks::read(table, report, hook) } else { None }
}

fn fall_back(mut section: Section<'_>, report: &mut Report<'_>) -> FallBackSettings {
    let s = &mut section;
    let defaults = FallBackSettings::default();
    let shortest = Duration::from_micros(1);
    let settings = FallBackSettings {
        max_error_rate: s.or(report, "max_error_rate", defaults.max_error_rate, float(0.0..=1.0)),
        max_p99: s.or(report, "max_p99", defaults.max_p99, duration(shortest..=LONGEST)),
        min_calls: s.or(report, "min_calls", defaults.min_calls, integer(1..=1_000_000)),
    };
    section.finish(report);
    settings
}

fn directories(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
    outline: &Outline<'_>,
) -> IndexMap<String, DirectorySettings> {
    let entries = section.named(report, "directories");
    if entries.len() > MAX_DIRECTORIES {
        let message = format!("at most {MAX_DIRECTORIES} directories, found {}", entries.len());
        section.complain(report, "directories", message);
    }
    let mut directories = IndexMap::new();
    for Named { name, offset, section } in entries {
        if name.is_empty() || name.len() > 128 || name.contains(char::is_control) {
            let message = "a directory's name has 1 to 128 bytes, without control characters";
            report.add(offset, section.path(), message);
        }
        if let Some(directory) = directory(section, report, outline) {
            directories.insert(name, directory);
        }
    }
    directories
}

fn directory(mut section: Section<'_>, report: &mut Report<'_>, outline: &Outline<'_>) -> Option<DirectorySettings> {
    if !section.is_given() {
        return None;
    }
    let s = &mut section;
    let shard = s.required(report, "shard", |value| {
        let shard = name(value)?;
        unknown_name("shard", &shard, outline.shards()).map_or(Ok(shard), Err)
    });
    let table = s.required(report, "table", name);
    let key = s.required(report, "key", name);
    let value = s.required(report, "value", name);
    let refresh = s.or(report, "refresh", Duration::from_secs(10), duration(Duration::from_millis(100)..=HOUR));
    let max_rows = s.or(report, "max_rows", 100_000, integer(1..=10_000_000));
    section.finish(report);
    Some(DirectorySettings { shard: shard?, table: table?, key: key?, value: value?, refresh, max_rows })
}

fn record(mut section: Section<'_>, report: &mut Report<'_>, resolver: &Resolver<'_>) -> Option<RecordSettings> {
    if !section.is_given() {
        return None;
    }
    let file = section.required(report, "file", |value| name(value).map(|file| resolver.path(&file)));
    let max_bytes = section.or(report, "max_bytes", 64 * MIB, size(KIB..=MIB * MIB));
    section.finish(report);
    file.map(|file| RecordSettings { file, max_bytes })
}

fn trusted_keys(value: &DeValue<'_>) -> Reading<Vec<String>> {
    let keys = names(value)?;
    if keys.len() > MAX_KEYS {
        return Err(format!("at most {MAX_KEYS} keys, found {}", keys.len()));
    }
    let is_key = |key: &str| {
        let encoded = key.strip_prefix("ed25519:")?;
        BASE64_STANDARD.decode(encoded).ok().filter(|bytes| bytes.len() == 32)
    };
    match keys.iter().find(|key| is_key(key).is_none()) {
        Some(key) => Err(format!(
            "{:?} is no public key; a key is `ed25519:` and 44 characters of base64, as `tidegate plugin keygen` prints it",
            shortened(key)
        )),
        None => Ok(keys),
    }
}
