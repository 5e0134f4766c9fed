//! What can go wrong with the journal's database.

use std::sync::Arc;

use tidegate_types::problem::Problem;
use tokio_postgres::error::Severity;

use super::tables;
use crate::{connection::describe, error::DatabaseReport};

/// A failure of the journal's database. None of them names its password.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The settings cannot be used.
    #[error("the journal's database: {reason}")]
    Setup {
        /// What is wrong and how to mend it.
        reason: Arc<str>,
    },
    /// It cannot be reached, was lost, or did not answer in time. Whether what was asked was done is unknown.
    #[error("the journal's database {database} cannot be reached: {reason}")]
    Unavailable {
        /// Its hosts and name.
        database: Arc<str>,
        /// For logs and operators; never sent to clients.
        reason: Arc<str>,
    },
    /// What is kept in it would not survive, or it cannot be used as it is. Nothing was done; but where it has lost its last
    /// standby meanwhile, that is unknown.
    #[error("the journal's database {database}: {reason}")]
    Unfit {
        /// Its hosts and name.
        database: Arc<str>,
        /// What is wrong and how to mend it, for operators.
        reason: Arc<str>,
    },
    /// Somebody else owns the partition. Nothing was done.
    #[error("another gateway has taken over the journal of shard {shard}")]
    TakenOver {
        /// The partition.
        shard: Arc<str>,
    },
    /// Records that were acknowledged are missing.
    #[error("the journal of shard {shard} in {database} is damaged: {reason}")]
    Damaged {
        /// Its hosts and name.
        database: Arc<str>,
        /// The partition.
        shard: Arc<str>,
        /// What is missing.
        reason: Arc<str>,
    },
    /// PostgreSQL refused the statement. Nothing was done.
    #[error("the journal's database {database}: {}: {}", report.code, report.message)]
    Database {
        /// Its hosts and name.
        database: Arc<str>,
        /// What it said.
        report: Arc<DatabaseReport>,
    },
}

impl JournalError {
    /// What the client is told.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        crate::sqlstate::journal_problem(&self)
    }

    pub(super) fn unavailable(database: &Arc<str>, reason: &str) -> Self {
        Self::Unavailable { database: database.clone(), reason: reason.into() }
    }

    pub(super) fn unfit(database: &Arc<str>, reason: &str) -> Self {
        Self::Unfit { database: database.clone(), reason: reason.into() }
    }

    /// Sorts an error of a statement: the database's fault, or the statement's.
    pub(super) fn of(database: &Arc<str>, error: &tokio_postgres::Error) -> Self {
        let Some(report) = error.as_db_error() else { return Self::unavailable(database, &describe(error)) };
        let code = report.code().code();
        let fatal = matches!(report.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        if fatal || code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "25006") {
            return Self::unavailable(database, report.message());
        }
        if let Some(reason) = tables::reason(code) {
            return Self::unfit(database, &reason);
        }
        let report = DatabaseReport {
            code: code.to_owned(),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
        };
        Self::Database { database: database.clone(), report: Arc::new(report) }
    }
}
