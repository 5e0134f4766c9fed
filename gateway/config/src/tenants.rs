//! `[tenants]`

use indexmap::IndexMap;
use tidegate_types::settings::{TenantSettings, TenantsSettings};
use toml::de::DeValue;

use crate::{
    hooks::Hook,
    outline::Outline,
    report::Report,
    section::{Named, Reading, Section, unknown_name},
    value::{name, names},
};

/// Tenants have a number and a place in memory each.
const MAX_TENANTS: usize = 100_000;
/// Classes stand in metrics.
const MAX_CLASSES: usize = 64;

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>, outline: &Outline<'_>) -> TenantsSettings {
    if section.is_given() && !outline.classifies {
        let message = format!(
            "nothing says whose a request is, so no tenant would be told from another; add [policies.{}] with a \
             plugin, or remove this table",
            Hook::Classify.key()
        );
        section.complain_of_all(report, message);
    }
    let classes = classes(&mut section, report);
    let entries = section.named(report, "known");
    if entries.len() > MAX_TENANTS {
        section.complain(report, "known", format!("at most {MAX_TENANTS} tenants, found {}", entries.len()));
    }
    let mut known = IndexMap::new();
    for Named { name, offset, section } in entries {
        if name.is_empty() || name.len() > 256 || name.contains(char::is_control) {
            report.add(offset, section.path(), "a tenant's name has 1 to 256 bytes, without control characters");
        }
        if let Some(tenant) = tenant(section, report, outline, &classes) {
            known.insert(name, tenant);
        }
    }
    section.finish(report);
    TenantsSettings { classes, known }
}

fn classes(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<String> {
    let entries = section.named(report, "classes");
    if entries.len() > MAX_CLASSES {
        section.complain(report, "classes", format!("at most {MAX_CLASSES} classes, found {}", entries.len()));
    }
    let mut classes = Vec::new();
    for Named { name, offset, section } in entries {
        if !is_class_name(&name) {
            let message = "a class's name has 1 to 63 ASCII letters, digits, `_` or `-`";
            report.add(offset, section.path(), message);
        }
        section.finish(report);
        classes.push(name);
    }
    classes
}

fn tenant(
    mut section: Section<'_>,
    report: &mut Report<'_>,
    outline: &Outline<'_>,
    classes: &[String],
) -> Option<TenantSettings> {
    if !section.is_given() {
        return None;
    }
    let s = &mut section;
    let class = s.required(report, "class", |value| {
        let class = name(value)?;
        unknown_name("class", &class, classes.iter().map(String::as_str)).map_or(Ok(class), Err)
    });
    let shards = s.or(report, "shards", Vec::new(), |value| all_known(value, "shard", || outline.shards()));
    let residency =
        s.or(report, "residency", Vec::new(), |value| all_known(value, "shard with the region", || outline.regions()));
    if !shards.is_empty() && !residency.is_empty() {
        let at_home =
            |shard: &&String| outline.region_of(shard).is_some_and(|region| residency.iter().any(|r| r == region));
        if !shards.iter().any(|shard| at_home(&shard)) {
            let message = format!("none of its `shards` is in {}", residency.join(", "));
            s.complain(report, "residency", message);
        }
    }
    section.finish(report);
    Some(TenantSettings { class: class?, shards, residency })
}

/// Names, each of which something else has.
fn all_known<'c, I>(value: &DeValue<'_>, what: &str, known: impl Fn() -> I) -> Reading<Vec<String>>
where
    I: Iterator<Item = &'c str>,
{
    let names = names(value)?;
    match names.iter().find_map(|name| unknown_name(what, name, known())) {
        Some(message) => Err(message),
        None => Ok(names),
    }
}

/// Names stand in metrics, logs and cache status.
fn is_class_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
