//! Why a call failed or a version was refused.

use std::{sync::Arc, time::Duration};

use tidegate_types::problem::{Problem, ProblemKind, codes};

use crate::{hook::Hook, metrics::FailureKind};

/// An error of the policy host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A policy was called, failed, and there is no safe answer without it.
    #[error("the {} policy {plugin} (generation {generation}) failed ({}): {detail}", hook.as_str(), kind.as_str())]
    Call {
        /// What it was asked.
        hook: Hook,
        /// The plugin's file name without `.wasm`.
        plugin: Arc<str>,
        /// Its generation.
        generation: u64,
        /// The class of failure.
        kind: FailureKind,
        /// What happened.
        detail: String,
    },
    /// A version cannot be used.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The request is classified as a tenant's that does not exist.
    #[error("the request was classified as that of an unknown tenant")]
    UnknownTenant,
    /// A hook is configured without `[policies] dir`.
    #[error("[policies.{}] names the plugin {plugin}, but [policies] has no `dir` to find {plugin}.wasm in", hook.as_str())]
    NoDirectory {
        /// The hook.
        hook: Hook,
        /// The configured plugin.
        plugin: String,
    },
    /// What is on disk about plugins cannot be used.
    #[error("{0}")]
    State(String),
    /// A directory that a plugin was granted cannot be loaded.
    #[error("[policies.directories.{name}] cannot be loaded: {reason}")]
    Directory {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
}

impl PolicyError {
    /// The answer to a client: 403 for a tenant there is not, else 503, because the request itself is
    /// not at fault. What the plugin said stays in the log.
    #[must_use]
    pub fn into_problem(&self) -> Problem {
        if let Self::UnknownTenant = self {
            let message = "This request belongs to no tenant that may be served here";
            return Problem::new(ProblemKind::Forbidden, codes::TENANT, message)
                .hint("Check the host name, header or credential that names the tenant.");
        }
        let message = match self {
            Self::Call { hook: Hook::Classify, .. } => {
                "The classification policy failed: whose request this is, is unknown"
            }
            _ => "The routing policy failed and this request is not safe to answer without it",
        };
        let problem = Problem::new(ProblemKind::PolicyUnavailable, codes::POLICY_UNAVAILABLE, message);
        let problem = match self {
            Self::Call { plugin, kind, .. } => problem.details(format!("{plugin}: {}", kind.as_str())),
            _ => problem.details("no policy is loaded"),
        };
        problem.retry_after(Duration::from_secs(1))
    }
}

/// A version that was not taken into use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin} (sha256 {digest}) is refused: {detail}. {}", reason.advice())]
pub struct Refusal {
    /// The file, or where else it came from.
    pub origin: String,
    /// SHA-256 of its bytes in hex; `-` if they could not be read.
    pub digest: String,
    /// The class of refusal.
    pub reason: RefusalReason,
    /// What is wrong.
    pub detail: String,
}

/// Classes of refusals. Bounded: used as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The file cannot be read or is too large.
    Unreadable,
    /// The bytes are not WebAssembly, or not valid.
    Invalid,
    /// It imports WASI.
    Wasi,
    /// It imports what no policy may have.
    Import,
    /// It imports what this one was not granted.
    Grant,
    /// It was built for another version of the interface.
    WitVersion,
    /// It lacks the exports of the hook it is configured for, or has them with other types.
    World,
    /// Its manifest cannot be served.
    Manifest,
    /// The operator's configuration does not satisfy the plugin's schema, or the plugin refuses it.
    Config,
    /// It failed while being described, configured or self-tested.
    Lifecycle,
    /// It is not signed by a trusted key.
    Signature,
    /// It is older than what was in use before.
    Downgrade,
    /// It would look for existing rows on other shards.
    Placement,
    /// The gateway cannot run policies on this machine.
    Engine,
}

impl RefusalReason {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
            Self::Wasi => "wasi",
            Self::Import => "import",
            Self::Grant => "grant",
            Self::WitVersion => "wit-version",
            Self::World => "world",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Lifecycle => "lifecycle",
            Self::Signature => "signature",
            Self::Downgrade => "downgrade",
            Self::Placement => "placement",
            Self::Engine => "engine",
        }
    }

    /// What to change.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unreadable => "Put a readable file of at most 64 MiB there",
            Self::Invalid => "Rebuild it for wasm32-unknown-unknown, and write it elsewhere first, then rename it here",
            Self::Wasi => {
                "A policy has no clock, randomness or I/O: build Rust for wasm32-unknown-unknown (not wasip1), \
                 and strip or stub WASI in other languages"
            }
            Self::Import => {
                "Import only interfaces of tidegate:policy@0.1.0: host-log, host-metrics, host-topology, host-directory"
            }
            Self::Grant => "Name the grant in [policies.HOOK] grants, or build the plugin without the import",
            Self::WitVersion => "Rebuild it with the SDK of this gateway's version (tidegate:policy@0.1.0)",
            Self::World => {
                "Build it against a world of tidegate:policy@0.1.0 that exports lifecycle and the hook, for example with an SDK"
            }
            Self::Manifest => "Correct what `describe` returns",
            Self::Config => "Correct [policies.HOOK] config (or the config given with the upload)",
            Self::Lifecycle => {
                "Correct the plugin, or if it is short of memory or time, raise [policies] max_memory or call_timeout; \
                 `tidegate plugin test` shows the same without a gateway"
            }
            Self::Signature => "Sign it by `tidegate plugin sign` with a key of [policies] trusted_keys",
            Self::Downgrade => "Raise the version in its manifest, or force the older one if it is meant",
            Self::Placement => {
                "Make it place existing keys as before, or move the rows first and allow moves: by allow_moves with a \
                 reason when it is promoted, or [policies.route] allow_moves = true; a canary never may"
            }
            Self::Engine => "Run the gateway on a platform that wasmtime supports",
        }
    }
}
