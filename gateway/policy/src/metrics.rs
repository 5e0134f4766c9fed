//! Names of what is counted.

/// How a call of a policy can fail. Bounded: used as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The guest trapped: a bug in the policy.
    Trap,
    /// The guest used up its time twice in a row.
    Deadline,
    /// The guest asked for more memory than it may have.
    Memory,
    /// The guest answered with an error.
    PolicyError,
    /// The guest answered with no shard, or with one that does not exist.
    BadAnswer,
}

impl FailureKind {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::PolicyError => "policy-error",
            Self::BadAnswer => "bad-answer",
        }
    }
}
