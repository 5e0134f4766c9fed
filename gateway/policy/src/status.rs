//! What the admin API shows about plugins.

use std::collections::BTreeMap;

use serde::Serialize;

/// Whether the newest file seen is the one in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PluginState {
    /// The newest file seen is in use.
    Active,
    /// The newest file seen was refused; the generation shown stays in use.
    Refused {
        /// Why.
        reason: String,
        /// SHA-256 of the refused file.
        refused_digest: String,
    },
    /// Built-in routing: no plugin is configured.
    None,
}

/// A hook and what answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginStatus {
    /// The hook (`route`).
    pub hook: String,
    /// The file's name without `.wasm`, or `built-in`.
    pub name: String,
    /// The name its manifest gives.
    pub title: String,
    /// The version its manifest gives.
    pub version: String,
    /// The version of `tidegate:policy` it was built for.
    pub wit: String,
    /// SHA-256 of the file in use, in hex.
    pub digest: String,
    /// The generation in use.
    pub generation: u64,
    /// Whether the newest file seen is in use.
    #[serde(flatten)]
    pub state: PluginState,
    /// What the plugin reads of a request, in its order.
    pub inputs: Vec<String>,
    /// Calls of this generation that reached the plugin.
    pub calls: u64,
    /// Decisions of this generation answered from earlier ones.
    pub memo_hits: u64,
    /// Failures of this generation by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Median duration of a call in nanoseconds (upper bound of its histogram bucket).
    pub p50_ns: Option<u64>,
    /// 99th percentile of the same.
    pub p99_ns: Option<u64>,
    /// The most recent failure.
    pub last_error: Option<String>,
}
