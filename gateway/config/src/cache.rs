//! `[cache]`

use tidegate_types::settings::CacheSettings;

use crate::{
    report::Report,
    section::Section,
    value::{float, integer, size},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>) -> CacheSettings {
    section.later(report, &["l2"]);
    let s = &mut section;
    let settings = CacheSettings {
        l1_bytes: s.or(report, "l1_bytes", 256 * MIB, size(MIB..=MIB * MIB)),
        buckets: s.or(report, "buckets", 65_536, integer(64..=1 << 24)),
        max_entry_bytes: s.or(report, "max_entry_bytes", 256 << 10, size(KIB..=256 * MIB)),
        ttl_jitter: s.or(report, "ttl_jitter", 0.1, float(0.0..=0.9)),
    };
    if !settings.buckets.is_power_of_two() {
        let near = settings.buckets.next_power_of_two();
        section.complain(report, "buckets", format!("must be a power of two, such as {near}"));
    }
    if settings.max_entry_bytes as u64 > settings.l1_bytes {
        let key = if section.has("max_entry_bytes") { "max_entry_bytes" } else { "l1_bytes" };
        section.complain(report, key, "`max_entry_bytes` must not be more than `l1_bytes`");
    }
    section.finish(report);
    settings
}
