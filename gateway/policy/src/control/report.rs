//! What operators see of a plugin.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Control,
    book::{Book, Loaded, Plugin},
};
use crate::{
    bindings::WIT_VERSION,
    hook::Hook,
    inputs::Declared,
    metrics::Metrics,
    shadow::Comparison,
    vault::{Event, Stage, State},
    version::Version,
};
use tidegate_types::route::RouteSource;

/// Whether the newest version seen is the one in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PluginState {
    /// The newest version seen is in use, or staged.
    Active,
    /// The newest version seen was refused; the one in use stays.
    Refused {
        /// Why.
        reason: String,
        /// SHA-256 of the refused file.
        refused_digest: String,
    },
    /// Built in: no plugin is configured.
    None,
}

/// A plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginReport {
    /// Its name in the configuration, or `built-in`.
    pub name: String,
    /// The generation since which the version in use is in use.
    pub generation: u64,
    /// Whether the newest version seen is the one in use.
    #[serde(flatten)]
    pub state: PluginState,
    /// The version in use.
    #[serde(flatten)]
    pub active: VersionReport,
    /// The version before it, still warm.
    pub previous: Option<VersionReport>,
    /// The version on its way into use.
    pub candidate: Option<CandidateReport>,
    /// What happened, the newest last.
    pub history: Vec<Event>,
}

/// A version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionReport {
    /// The name its manifest gives.
    pub title: String,
    /// The version its manifest gives.
    pub version: String,
    /// The version of `tidegate:policy` it was built for.
    pub wit: String,
    /// SHA-256 of its bytes, in hex; empty for what is built in.
    pub digest: String,
    /// What it answers.
    pub hooks: Vec<HookReport>,
}

/// A version's answers to one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookReport {
    /// The hook.
    pub hook: Hook,
    /// What it reads of a request, in its order.
    pub inputs: Vec<String>,
    /// What its instances are used for.
    pub isolation: &'static str,
    /// Calls that reached the plugin.
    pub calls: u64,
    /// Decisions answered from earlier ones.
    pub memo_hits: u64,
    /// Failures by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Repeated questions that were answered differently.
    pub unstable_answers: u64,
    /// Median duration of a call in nanoseconds (upper bound of its histogram bucket).
    pub p50_ns: Option<u64>,
    /// 99th percentile of the same.
    pub p99_ns: Option<u64>,
    /// The most recent failure.
    pub last_error: Option<String>,
}

/// A version on its way into use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CandidateReport {
    /// The version.
    #[serde(flatten)]
    pub version: VersionReport,
    /// `staged`, `shadow` or `canary`.
    pub stage: &'static str,
    /// As a canary: its share of the tenants.
    pub percent: Option<u8>,
    /// In shadow: how it compares, by hook.
    pub comparison: BTreeMap<&'static str, Comparison>,
}

impl Control {
    /// Every plugin, and what is built in where a hook has none.
    pub fn reports(&self) -> Vec<PluginReport> {
        let book = self.book.lock();
        let state = self.state.lock();
        let mut reports: Vec<_> =
            book.plugins.values().map(|plugin| plugin_report(plugin, &self.metrics, &state)).collect();
        if !book.plugins.values().any(|plugin| plugin.version(Hook::Route).is_some()) {
            reports.push(built_in());
        }
        reports
    }

    /// One plugin.
    pub fn report(&self, book: &Book, name: &str) -> Option<PluginReport> {
        Some(plugin_report(book.plugins.get(name)?, &self.metrics, &self.state.lock()))
    }
}

fn plugin_report(plugin: &Plugin, metrics: &Metrics, state: &State) -> PluginReport {
    let state_of = match &plugin.refused {
        None => PluginState::Active,
        Some((reason, digest)) => PluginState::Refused { reason: reason.clone(), refused_digest: digest.clone() },
    };
    let candidate = plugin.candidate.as_ref().map(|candidate| {
        let (stage, percent) = match candidate.stage {
            Stage::Staged => ("staged", None),
            Stage::Shadow => ("shadow", None),
            Stage::Canary { percent } => ("canary", Some(percent)),
        };
        let compared =
            |shadow: &std::sync::Arc<crate::shadow::Shadow>| (shadow.version.hook.as_str(), shadow.comparison());
        CandidateReport {
            version: version_report(&candidate.loaded, None),
            stage,
            percent,
            comparison: candidate.shadows.iter().map(compared).collect(),
        }
    });
    PluginReport {
        name: plugin.name.to_string(),
        generation: plugin.since,
        state: state_of,
        active: version_report(&plugin.active, Some(metrics)),
        previous: plugin.previous.as_ref().map(|loaded| version_report(loaded, None)),
        candidate,
        history: state.plugins.get(&*plugin.name).map_or_else(Vec::new, |record| record.history.clone()),
    }
}

fn version_report(loaded: &Loaded, metrics: Option<&Metrics>) -> VersionReport {
    let record = &loaded.record;
    VersionReport {
        title: record.name.clone(),
        version: record.version.clone(),
        wit: WIT_VERSION.into(),
        digest: record.digest.clone(),
        hooks: loaded.versions.iter().map(|version| hook_report(version, metrics)).collect(),
    }
}

fn hook_report(version: &Version, metrics: Option<&Metrics>) -> HookReport {
    let stats = &version.stats;
    let memo_hits = metrics.map_or(0, |metrics| metrics.decisions(version.hook, RouteSource::Memo).get());
    HookReport {
        hook: version.hook,
        inputs: version.inputs.iter().map(Declared::describe).collect(),
        isolation: version.isolation().as_str(),
        calls: stats.calls(),
        memo_hits: memo_hits.saturating_sub(stats.memo_hits_before.load(std::sync::atomic::Ordering::Relaxed)),
        errors: stats.failures(),
        unstable_answers: stats.unstable_answers(),
        p50_ns: stats.quantile_ns(0.5),
        p99_ns: stats.quantile_ns(0.99),
        last_error: stats.last_error(),
    }
}

fn built_in() -> PluginReport {
    PluginReport {
        name: "built-in".into(),
        generation: 0,
        state: PluginState::None,
        active: VersionReport {
            title: "built-in hash routing".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            wit: WIT_VERSION.into(),
            digest: String::new(),
            hooks: vec![HookReport {
                hook: Hook::Route,
                inputs: vec![Declared::ShardKey.describe()],
                isolation: "shared",
                calls: 0,
                memo_hits: 0,
                errors: BTreeMap::new(),
                unstable_answers: 0,
                p50_ns: None,
                p99_ns: None,
                last_error: None,
            }],
        },
        previous: None,
        candidate: None,
        history: Vec::new(),
    }
}
