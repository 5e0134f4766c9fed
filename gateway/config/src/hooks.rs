//! `[policies.HOOK]`

use tidegate_types::settings::{Grant, HookSettings, Isolation, Moves, RouteFallback};
use toml::de::DeValue;

use crate::{
    report::Report,
    section::{Reading, Section, found},
    value::{boolean, choice, json, name},
};

const FALLBACKS: &[(&str, RouteFallback)] =
    &[("hash", RouteFallback::Hash), ("all-shards", RouteFallback::AllShards), ("refuse", RouteFallback::Refuse)];
const GRANTS: &[(&str, Grant)] = &[
    (Grant::Log.as_str(), Grant::Log),
    (Grant::Metrics.as_str(), Grant::Metrics),
    (Grant::Topology.as_str(), Grant::Topology),
    (Grant::Directory.as_str(), Grant::Directory),
];
const ISOLATIONS: &[(&str, Isolation)] = &[
    (Isolation::Shared.as_str(), Isolation::Shared),
    (Isolation::PerTenant.as_str(), Isolation::PerTenant),
    (Isolation::Fresh.as_str(), Isolation::Fresh),
];

/// A hook, as far as its table differs from the others'.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Classify,
    Route,
    CachePolicy,
    Invalidate,
}

impl Hook {
    pub(crate) const ALL: [Self; 4] = [Self::Classify, Self::Route, Self::CachePolicy, Self::Invalidate];

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Route => "route",
            Self::CachePolicy => "cache-policy",
            Self::Invalidate => "invalidate",
        }
    }

    /// What happens where it fails, for those who look for a `fallback`.
    const fn failing(self) -> &'static str {
        match self {
            Self::Classify => "where `classify` fails, requests are refused with 503",
            Self::Route => "where `route` fails, reads go by its `fallback`",
            Self::CachePolicy => "where `cache-policy` fails, the cache is bypassed",
            Self::Invalidate => "where `invalidate` fails, everything it might have meant is purged",
        }
    }
}

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>, hook: Hook) -> Option<HookSettings> {
    let s = &mut section;
    let plugin = s.required(report, "plugin", plugin_name);
    let config = s.or(report, "config", serde_json::Value::Object(serde_json::Map::new()), |value| {
        if value.is_table() { json(value) } else { Err("expected an inline table such as { salt = \"x\" }".to_owned()) }
    });
    let grants = s.or(report, "grants", Grant::USUAL.to_vec(), grants);
    let isolation = s.optional(report, "isolation", choice(ISOLATIONS, &[]));
    if hook == Hook::Classify && isolation == Some(Isolation::PerTenant) {
        let message = "must be `fresh` or `shared`: the tenant is what `classify` is asked for";
        s.complain(report, "isolation", message);
    }
    let (mut fallback, mut moves) = (RouteFallback::Hash, Moves::Refused);
    if hook == Hook::Route {
        fallback = s.or(report, "fallback", fallback, choice(FALLBACKS, &[]));
        if s.or(report, "allow_moves", false, boolean) {
            moves = Moves::Allowed;
        }
    } else {
        let message = format!("only [policies.route] has a fallback; {}", hook.failing());
        s.elsewhere(report, "fallback", &message);
        s.elsewhere(report, "allow_moves", "only [policies.route] has it: no other hook places rows");
    }
    section.finish(report);
    plugin.map(|plugin| HookSettings { plugin, config, fallback, moves, grants, isolation })
}

/// The name becomes `DIR/NAME.wasm`: it must not lead out of the folder.
fn plugin_name(value: &DeValue<'_>) -> Reading<String> {
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

/// What a plugin may import; an empty array is nothing.
fn grants(value: &DeValue<'_>) -> Reading<Vec<Grant>> {
    let Some(items) = value.as_array() else {
        return Err(format!("expected an array such as [\"log\", \"directory\"], found {}", found(value)));
    };
    let mut grants = Vec::new();
    for item in items {
        let grant = choice(GRANTS, &[])(item.get_ref())?;
        if grants.contains(&grant) {
            return Err(format!("names `{}` twice", grant.as_str()));
        }
        grants.push(grant);
    }
    Ok(grants)
}
