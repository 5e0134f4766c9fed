//! `[policies]`

use std::time::Duration;

use tidegate_types::settings::{HookSettings, Moves, PolicySettings, RouteFallback};

use crate::{
    report::Report,
    secret::Resolver,
    section::{Reading, Section},
    value::{boolean, choice, duration, json, name, size},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10);

const FALLBACKS: &[(&str, RouteFallback)] =
    &[("hash", RouteFallback::Hash), ("all-shards", RouteFallback::AllShards), ("refuse", RouteFallback::Refuse)];

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>, resolver: &Resolver<'_>) -> PolicySettings {
    section.later(report, &["classify", "cache-policy", "invalidate"]);
    let dir = section.optional(report, "dir", |value| name(value).map(|dir| resolver.path(&dir)));
    let max_memory_bytes = section.or(report, "max_memory", 16 << 20, size(64 * KIB..=512 * MIB));
    let call_timeout = section.or(report, "call_timeout", Duration::from_millis(10), duration(SHORTEST..=LONGEST));
    let hook = section.table(report, "route");
    let given = hook.is_given();
    let route = if given { route(hook, report) } else { None };
    if given && !section.has("dir") {
        section.complain(report, "dir", "is required where [policies.route] names a plugin");
    }
    section.finish(report);
    PolicySettings { dir, route, max_memory_bytes, call_timeout, ..PolicySettings::default() }
}

fn route(mut section: Section<'_>, report: &mut Report<'_>) -> Option<HookSettings> {
    let plugin = section.required(report, "plugin", plugin_name);
    let config = section.or(report, "config", serde_json::Value::Object(serde_json::Map::new()), |value| {
        if value.is_table() { json(value) } else { Err("expected an inline table such as { salt = \"x\" }".to_owned()) }
    });
    let fallback = section.or(report, "fallback", RouteFallback::Hash, choice(FALLBACKS, &[]));
    let allow_moves = section.or(report, "allow_moves", false, boolean);
    section.finish(report);
    let moves = if allow_moves { Moves::Allowed } else { Moves::Refused };
    plugin.map(|plugin| HookSettings {
        plugin,
        config,
        fallback,
        moves,
        grants: tidegate_types::settings::Grant::USUAL.to_vec(),
        isolation: None,
    })
}

/// The name becomes `DIR/NAME.wasm`: it must not lead out of the folder.
fn plugin_name(value: &toml::de::DeValue<'_>) -> Reading<String> {
    let plugin = name(value)?;
    if let Some(stem) = plugin.strip_suffix(".wasm") {
        return Err(format!("is the file's name without .wasm: \"{stem}\""));
    }
    let plain = plugin.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if !plain || plugin.starts_with('.') {
        return Err("is a file's name in `policies.dir` without .wasm, not a path".to_owned());
    }
    Ok(plugin)
}
