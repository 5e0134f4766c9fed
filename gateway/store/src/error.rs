//! What can go wrong in the store. One type; what a client sees of it is chosen in `sqlstate`.

use std::sync::Arc;

use tidegate_types::problem::Problem;

/// A database's own report, detached from the connection it came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseReport {
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// `DETAIL`
    pub detail: Option<String>,
    /// `HINT`
    pub hint: Option<String>,
}

/// A failure of the store. Cheap to clone: a failed batch tells every waiter.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection to the shard, or it was lost. Nothing was committed.
    #[error("shard {shard} cannot be reached: {reason}")]
    Unavailable {
        /// The shard.
        shard: Arc<str>,
        /// For logs and operators; never sent to clients.
        reason: Arc<str>,
    },
    /// Every pooled connection stayed busy.
    #[error("no {class} connection to shard {shard} came free in time")]
    PoolTimeout {
        /// The shard.
        shard: Arc<str>,
        /// The pool's class.
        class: &'static str,
    },
    /// Too many reads wait for this shard already.
    #[error("too many reads wait for shard {shard}")]
    Overloaded {
        /// The shard.
        shard: Arc<str>,
    },
    /// The connection was silent for longer than its statement may take.
    #[error("shard {shard} did not answer in time")]
    StatementTimeout {
        /// The shard.
        shard: Arc<str>,
    },
    /// COMMIT was sent and its outcome was not learned: the write may have happened.
    #[error("the connection to shard {shard} was lost after COMMIT was sent: {reason}")]
    OutcomeUnknown {
        /// The shard.
        shard: Arc<str>,
        /// For logs and operators; never sent to clients.
        reason: Arc<str>,
    },
    /// PostgreSQL refused the statement.
    #[error("shard {shard}: {}: {}", report.code, report.message)]
    Database {
        /// The shard.
        shard: Arc<str>,
        /// What it said.
        report: Arc<DatabaseReport>,
    },
    /// The table of the gateways cannot be used, so nobody knows who must hear of a write. Nothing was committed.
    #[error("shard {shard}: {reason}")]
    Members {
        /// The shard.
        shard: Arc<str>,
        /// What is wrong and how to mend it, for operators.
        reason: Arc<str>,
    },
    /// The tables of write-behind cannot be used. Nothing was committed.
    #[error("shard {shard}: {reason}")]
    Journal {
        /// The shard.
        shard: Arc<str>,
        /// What is wrong and how to mend it, for operators.
        reason: Arc<str>,
    },
    /// Somebody else owns the journal that the write's rows wait in, so it is for that one to do. Nothing was committed.
    #[error("another gateway has taken over the journal of shard {shard}")]
    TakenOver {
        /// The shard.
        shard: Arc<str>,
    },
    /// The request cannot be done, found without or besides the database.
    #[error("{0}")]
    Refused(Arc<Problem>),
    /// The configuration of a shard cannot be used.
    #[error("shard {shard}: {reason}")]
    Setup {
        /// The shard.
        shard: Arc<str>,
        /// What is wrong and how to mend it.
        reason: Arc<str>,
    },
    /// An answer that PostgreSQL should not have given.
    #[error("shard {shard} gave an unexpected answer: {reason}")]
    Protocol {
        /// The shard.
        shard: Arc<str>,
        /// What was expected.
        reason: Arc<str>,
    },
}

impl StoreError {
    /// What the client is told.
    #[must_use]
    pub fn into_problem(&self) -> Problem {
        crate::sqlstate::problem(self)
    }

    /// Whether the shard, not the request, is at fault, so that another connection may do better.
    #[must_use]
    pub const fn is_connection(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Arc::new(problem))
    }
}
