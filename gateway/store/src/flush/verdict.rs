//! Whether a failure is the mutation's or the moment's: what is tried again for ever, and what is put aside.

use std::time::Duration;

use super::DeadReason;
use crate::StoreError;

/// A lock, a serialization failure, a deadlock: over in no time.
const BRIEF: Duration = Duration::from_millis(50);
/// A server that restarts, is full or is busy.
const MOMENT: Duration = Duration::from_millis(500);
/// What an operator has to mend.
const LONG: Duration = Duration::from_secs(5);

/// Why the database will never take what it was given; `None` if it may another time, or it is not known.
pub(super) fn poison(error: &StoreError) -> Option<DeadReason> {
    let StoreError::Database { report, .. } = error else { return None };
    if passes(&report.code) {
        return None;
    }
    let message = match &report.detail {
        Some(detail) => format!("{}: {detail}", report.message),
        None => report.message.clone(),
    };
    Some(DeadReason { sqlstate: report.code.clone(), message })
}

/// Whether a SQLSTATE says something of the server or of others' transactions, and nothing of the rows: connection (08),
/// transaction state such as a server that has become read-only (25), authorization of the session (28), rollback
/// (40), resources (53), objects in use (55), operators (57), system (58), configuration (F0), internal (XX).
fn passes(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "25" | "28" | "40" | "53" | "55" | "57" | "58" | "F0" | "XX"))
}

/// How long to wait before another try.
pub(super) fn pause(error: &StoreError) -> Duration {
    match error {
        StoreError::Database { report, .. } if report.code.starts_with("40") || report.code == "55P03" => BRIEF,
        StoreError::Members { .. } | StoreError::Journal { .. } | StoreError::Setup { .. } => LONG,
        _ => MOMENT,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::DatabaseReport;

    fn reported(code: &str) -> StoreError {
        let report = DatabaseReport { code: code.into(), message: "m".into(), detail: None, hint: None };
        StoreError::Database { shard: "a".into(), report: Arc::new(report) }
    }

    #[test]
    fn only_what_a_row_is_to_blame_for_is_put_aside() {
        for code in ["22001", "22003", "22P02", "23502", "23503", "23505", "23514", "42501", "42703", "0A000", "54000"]
        {
            assert_eq!(poison(&reported(code)).map(|reason| reason.sqlstate).as_deref(), Some(code));
        }
        for code in ["08006", "25006", "40001", "40P01", "53100", "53200", "55P03", "57014", "57P01", "58030", "XX000"]
        {
            assert_eq!(poison(&reported(code)), None, "{code}");
        }
        assert_eq!(poison(&StoreError::StatementTimeout { shard: "a".into() }), None);
    }
}
