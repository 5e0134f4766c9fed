//! A write that is done but for its COMMIT.

use std::time::Duration;

use tidegate_types::{answer::WrittenRow, epoch::Epoch, snapshot::Xid};
use tokio_postgres::error::Severity;

use super::images::Images;
use crate::{
    connection::{describe, statement_error, unavailable},
    error::StoreError,
    pool::Lease,
};

/// How long COMMIT may take before its outcome counts as unknown. It waits for synchronous standbys.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A write that is done but for its COMMIT. Dropping it discards its connection, and with it the transaction.
#[derive(Debug)]
pub struct PreparedWrite {
    /// The rows touched, in the order the database returned them.
    pub rows: Vec<WrittenRow>,
    /// What they held before and after.
    pub images: Images,
    /// The transaction's id; `None` if nothing was changed.
    pub xid: Option<Xid>,
    /// The shard's epoch when the connection was verified.
    pub epoch: Epoch,
    /// `None` for a write that needed no statement.
    lease: Option<Lease>,
}

impl PreparedWrite {
    pub(super) fn new(lease: Lease, rows: Vec<WrittenRow>, images: Images, xid: Option<Xid>) -> Self {
        Self { rows, images, xid, epoch: lease.connection().epoch, lease: Some(lease) }
    }

    /// A write of no rows.
    pub(super) fn nothing(epoch: Epoch) -> Self {
        Self { rows: Vec::new(), images: Images::NotAsked, xid: None, epoch, lease: None }
    }

    /// Commits.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] if the connection was lost after COMMIT was sent;
    /// any other error is definite: nothing was committed.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Some(lease) = self.lease else { return Ok(()) };
        let shard = lease.shard().clone();
        let client = &lease.connection().client;
        if client.is_closed() {
            // COMMIT never left, so the transaction ended with its connection.
            return Err(unavailable(&shard, "the connection was lost before COMMIT"));
        }
        let unknown = |reason: &str| StoreError::OutcomeUnknown { shard: shard.clone(), reason: reason.into() };
        match tokio::time::timeout(COMMIT_TIMEOUT, client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                lease.release();
                Ok(())
            }
            Ok(Err(error)) if is_definite(&error) => {
                lease.release();
                Err(statement_error(&shard, &error))
            }
            Ok(Err(error)) => Err(unknown(&describe(&error))),
            Err(_) => Err(unknown("no answer to COMMIT in time")),
        }
    }

    /// Rolls back and gives the connection back to its pool.
    pub async fn rollback(self) {
        if let Some(lease) = self.lease {
            roll_back(lease).await;
        }
    }
}

/// Ends the transaction; a connection that cannot even do that is closed.
pub(super) async fn roll_back(lease: Lease) {
    if lease.run(lease.connection().client.batch_execute("ROLLBACK")).await.is_ok() {
        lease.release();
    }
}

/// Whether the server itself said, on a connection that lives on, that COMMIT failed (a deferred constraint,
/// a serialization failure). A fatal error may have hit after the commit record was written.
fn is_definite(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|report| {
        let code = report.code().code();
        report.parsed_severity() == Some(Severity::Error) && !code.starts_with("08") && code != "40003"
    })
}
