//! From a failure to what the client is told: the one place where SQLSTATEs get a meaning.

use std::time::Duration;

use tidegate_types::problem::{Problem, ProblemKind, codes};

use crate::{
    error::{DatabaseReport, StoreError},
    journal::JournalError,
};

/// How long a client should wait before it tries an unreachable shard again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

pub(crate) fn problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Refused(problem) => Problem::clone(problem),
        StoreError::Database { shard, report } => reported(shard, report),
        StoreError::Unavailable { shard, .. } | StoreError::Journal { shard, .. } => unavailable(shard),
        StoreError::TakenOver { shard } => taken_over(shard),
        StoreError::PoolTimeout { class, .. } => {
            let message = format!("Timed out acquiring a {class} connection from the connection pool.");
            Problem::new(ProblemKind::PoolTimeout, "PGRST003", message).retry_after(RETRY_DELAY)
        }
        StoreError::Overloaded { .. } => {
            Problem::new(ProblemKind::TooManyRequests, codes::OVERLOADED, "Too many reads are waiting for this shard")
                .retry_after(RETRY_DELAY)
        }
        StoreError::StatementTimeout { .. } => {
            Problem::new(ProblemKind::StatementTimeout, "57014", "canceling statement due to statement timeout")
        }
        StoreError::OutcomeUnknown { shard, .. } => Problem::new(
            ProblemKind::OutcomeUnknown,
            codes::OUTCOME_UNKNOWN,
            format!("The connection to shard {shard} was lost while the write was being committed"),
        )
        .details("The write may or may not have happened.")
        .hint("Read the row before trying again."),
        StoreError::Members { shard, .. } => Problem::new(
            ProblemKind::ShardUnavailable,
            codes::CLUSTER,
            format!("The gateways of shard {shard} do not know each other"),
        )
        .details("Nothing was written.")
        .retry_after(RETRY_DELAY),
        StoreError::Setup { .. } | StoreError::Protocol { .. } => {
            Problem::new(ProblemKind::Internal, "XX000", "The gateway could not use the database's answer")
        }
    }
}

/// Which of the failures it was is for operators: to a client the rows are out of reach for a while, or for longer.
pub(crate) fn journal_problem(error: &JournalError) -> Problem {
    match error {
        JournalError::TakenOver { shard } => taken_over(shard),
        JournalError::Setup { .. }
        | JournalError::Unavailable { .. }
        | JournalError::Unfit { .. }
        | JournalError::Damaged { .. }
        | JournalError::Database { .. } => Problem::new(
            ProblemKind::ShardUnavailable,
            codes::SHARD_UNAVAILABLE,
            "The journal cannot be reached at the moment",
        )
        .retry_after(RETRY_DELAY),
    }
}

fn taken_over(shard: &str) -> Problem {
    Problem::new(
        ProblemKind::ShardUnavailable,
        codes::SHARD_UNAVAILABLE,
        format!("Another gateway has taken over writes to shard {shard}"),
    )
    .details("Nothing was written.")
    .retry_after(RETRY_DELAY)
}

fn unavailable(shard: &str) -> Problem {
    Problem::new(
        ProblemKind::ShardUnavailable,
        codes::SHARD_UNAVAILABLE,
        format!("Shard {shard} cannot be reached at the moment"),
    )
    .retry_after(RETRY_DELAY)
}

fn reported(shard: &str, report: &DatabaseReport) -> Problem {
    let kind = kind(&report.code);
    let mut problem = Problem::new(kind, report.code.clone(), report.message.clone());
    problem.details.clone_from(&report.detail);
    problem.hint.clone_from(&report.hint);
    match kind {
        ProblemKind::ShardUnavailable => Problem { details: None, ..unavailable(shard) },
        // Serialization failures and deadlocks: the same request may succeed at once.
        ProblemKind::Internal if report.code.starts_with("40") => problem.retry_after(Duration::from_millis(100)),
        _ => problem,
    }
}

/// PostgREST's mapping (DIALECT 1.12), in this gateway's kinds.
pub(crate) fn kind(code: &str) -> ProblemKind {
    match code {
        "23503" | "23505" => ProblemKind::Conflict,
        "42883" | "42P01" => ProblemKind::UndefinedFunction,
        "42501" => ProblemKind::Forbidden,
        "25006" => ProblemKind::MethodNotAllowed,
        "57014" => ProblemKind::StatementTimeout,
        "57P01" | "57P02" | "57P03" => ProblemKind::ShardUnavailable,
        "53400" | "42P17" | "21000" => ProblemKind::Internal,
        "P0001" => ProblemKind::BadRequest,
        _ => match code.get(..2).unwrap_or_default() {
            "28" | "0L" | "0P" => ProblemKind::Forbidden,
            "08" | "53" => ProblemKind::ShardUnavailable,
            "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV" | "XX" | "P0" => {
                ProblemKind::Internal
            }
            _ => ProblemKind::BadRequest,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_types::problem::Retry;

    use super::*;

    #[test]
    fn codes_get_postgrests_meaning() {
        for (code, expected) in [
            ("23505", ProblemKind::Conflict),
            ("23503", ProblemKind::Conflict),
            ("23502", ProblemKind::BadRequest),
            ("22P02", ProblemKind::BadRequest),
            ("42703", ProblemKind::BadRequest),
            ("42883", ProblemKind::UndefinedFunction),
            ("42501", ProblemKind::Forbidden),
            ("57014", ProblemKind::StatementTimeout),
            ("57P01", ProblemKind::ShardUnavailable),
            ("53300", ProblemKind::ShardUnavailable),
            ("40001", ProblemKind::Internal),
            ("21000", ProblemKind::Internal),
            ("", ProblemKind::BadRequest),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }

    #[test]
    fn clients_never_see_why_a_shard_is_down() {
        let reason = "error connecting to server: 10.0.0.7: password authentication failed for user \"boss\"";
        let error = StoreError::Unavailable { shard: Arc::from("a"), reason: Arc::from(reason) };
        let problem = error.into_problem();
        assert_eq!(problem.kind, ProblemKind::ShardUnavailable);
        assert_eq!(problem.retry, Retry::After(RETRY_DELAY));
        assert!(!format!("{problem:?}").contains("boss"));
    }
}
