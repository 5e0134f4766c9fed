//! The questions a policy can answer.

use serde::{Deserialize, Serialize};

/// A hook: an interface of the WIT package that a plugin may export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Whose request it is.
    Classify,
    /// Which shards it goes to.
    Route,
    /// How its answer is kept.
    CachePolicy,
    /// What a change makes outdated.
    Invalidate,
}

impl Hook {
    /// Every hook, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Classify, Self::Route, Self::CachePolicy, Self::Invalidate];

    /// The name of its interface, in configuration and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Route => "route",
            Self::CachePolicy => "cache-policy",
            Self::Invalidate => "invalidate",
        }
    }

    /// The hook of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.as_str() == name)
    }
}
