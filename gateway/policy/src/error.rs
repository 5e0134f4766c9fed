//! Why a call failed or a version was refused.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tidegate_types::problem::{Problem, ProblemKind, codes};

use crate::metrics::FailureKind;

/// An error of the policy host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A policy was called, failed, and there is no safe answer without it.
    #[error("the routing policy {plugin} (generation {generation}) failed ({}): {detail}", kind.as_str())]
    Call {
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
    /// `[policies.route]` is configured without `[policies] dir`.
    #[error("[policies.route] names the plugin {plugin}, but [policies] has no `dir` to find {plugin}.wasm in")]
    NoDirectory {
        /// The configured plugin.
        plugin: String,
    },
}

impl PolicyError {
    /// The answer to a client: always 503, because the request itself is not at fault. What the
    /// plugin said stays in the log.
    #[must_use]
    pub fn into_problem(&self) -> Problem {
        let problem = Problem::new(
            ProblemKind::PolicyUnavailable,
            codes::POLICY_UNAVAILABLE,
            "The routing policy failed and this request is not safe to answer without it",
        );
        let problem = match self {
            Self::Call { plugin, kind, .. } => problem.details(format!("{plugin}: {}", kind.as_str())),
            Self::Refused(_) | Self::NoDirectory { .. } => problem.details("no routing policy is loaded"),
        };
        problem.retry_after(Duration::from_secs(1))
    }
}

/// A version that was not taken into use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} (sha256 {digest}) is refused: {detail}. {}", file.display(), reason.advice())]
pub struct Refusal {
    /// The file.
    pub file: PathBuf,
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
    /// It imports what a policy may not have.
    Import,
    /// It lacks the exports of the `router` world, or has them with other types.
    World,
    /// Its manifest cannot be served.
    Manifest,
    /// It failed while being described, configured or self-tested.
    Lifecycle,
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
            Self::World => "world",
            Self::Manifest => "manifest",
            Self::Lifecycle => "lifecycle",
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
            Self::Import => "Import only host-log and host-topology of tidegate:policy@0.1.0",
            Self::World => "Build it against the world `router` of tidegate:policy@0.1.0, for example with the SDK",
            Self::Manifest => "Correct what `describe` returns",
            Self::Lifecycle => "Correct [policies.route] config, or the plugin",
            Self::Placement => {
                "Make it place existing keys as before, or move the rows first and set [policies.route] allow_moves = true"
            }
            Self::Engine => "Run the gateway on a platform that wasmtime supports",
        }
    }
}
