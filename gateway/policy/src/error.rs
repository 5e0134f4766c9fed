//! Why a call failed or a version was refused.

use std::{sync::Arc, time::Duration};

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
        };
        problem.retry_after(Duration::from_secs(1))
    }
}
