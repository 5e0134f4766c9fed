//! `[cache]`

use std::time::Duration;

use tidegate_types::settings::{CacheSettings, L2Settings};

use crate::{
    report::Report,
    secret::Resolver,
    section::Section,
    value::{duration, float, integer, size},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>, resolver: &Resolver<'_>) -> CacheSettings {
    let l2 = l2(&mut section, report, resolver);
    let s = &mut section;
    let l1_bytes = s.or(report, "l1_bytes", 256 * MIB, size(MIB..=MIB * MIB));
    let settings = CacheSettings {
        l1_bytes,
        list_bytes: s.or(report, "list_bytes", l1_bytes / 4, size(0..=MIB * MIB)),
        buckets: s.or(report, "buckets", 65_536, integer(64..=1 << 24)),
        max_entry_bytes: s.or(report, "max_entry_bytes", 256 << 10, size(KIB..=256 * MIB)),
        ttl_jitter: s.or(report, "ttl_jitter", 0.1, float(0.0..=0.9)),
        l2,
    };
    if !settings.buckets.is_power_of_two() {
        let near = settings.buckets.next_power_of_two();
        section.complain(report, "buckets", format!("must be a power of two, such as {near}"));
    }
    if settings.max_entry_bytes as u64 > settings.l1_bytes {
        let key = if section.has("max_entry_bytes") { "max_entry_bytes" } else { "l1_bytes" };
        section.complain(report, key, "`max_entry_bytes` must not be more than `l1_bytes`");
    }
    if settings.list_bytes >= settings.l1_bytes {
        let key = if section.has("list_bytes") { "list_bytes" } else { "l1_bytes" };
        section.complain(report, key, "`list_bytes` is a part of `l1_bytes` and must be less");
    }
    section.finish(report);
    settings
}

fn l2(section: &mut Section<'_>, report: &mut Report<'_>, resolver: &Resolver<'_>) -> Option<L2Settings> {
    let servers = section.optional(report, "l2", |value| resolver.l2(value));
    let times = duration(Duration::from_micros(100)..=Duration::from_secs(1));
    let timeout = section.or(report, "l2_timeout", Duration::from_millis(5), times);
    let compress_above = section.or(report, "l2_compress_above", 1 << 10, size(64..=256 * MIB));
    if !section.has("l2") {
        for key in ["l2_timeout", "l2_compress_above"] {
            if section.has(key) {
                section.complain(report, key, "has no effect without `l2`");
            }
        }
    }
    Some(L2Settings { servers: servers?, timeout, compress_above })
}
