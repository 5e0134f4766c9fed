//! A write that is done but for its COMMIT.

use std::time::Duration;

use futures_util::future::join;
use tidegate_types::{
    answer::WrittenRow, collection::Collection, epoch::Epoch, member::Member, query::Projection, snapshot::Xid,
};
use tokio_postgres::{Client, Row, error::Severity};

use super::{Asked, images::Images};
use crate::{
    connection::{describe, statement_error, unavailable},
    error::StoreError,
    loader::{
        MAX_BATCH,
        batch::{Batch, Rows, Statement},
    },
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
    /// A digest of the lineage that the connection showed.
    pub lineage: u64,
    /// The gateways that are not fenced, read after the transaction had its id. `None` if nobody asked: there is
    /// one gateway.
    pub members: Option<Vec<Member>>,
    /// `None` for a write that needed no statement.
    lease: Option<Lease>,
}

impl PreparedWrite {
    pub(super) fn new(lease: Lease, rows: Vec<WrittenRow>, images: Images, asked: Asked) -> Self {
        let (epoch, lineage) = (lease.connection().epoch, lease.connection().lineage);
        Self { rows, images, xid: asked.xid, epoch, lineage, members: asked.members, lease: Some(lease) }
    }

    /// A transaction whose rows are told elsewhere.
    pub(crate) fn of(lease: Lease, asked: Asked) -> Self {
        Self::new(lease, Vec::new(), Images::NotAsked, asked)
    }

    /// A write of no rows.
    pub(super) fn nothing(epoch: Epoch) -> Self {
        let images = Images::NotAsked;
        Self { rows: Vec::new(), images, xid: None, epoch, lineage: 0, members: None, lease: None }
    }

    /// Commits.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] if the connection was lost after COMMIT was sent;
    /// any other error is definite: nothing was committed.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.commit_then(None).await.map(drop)
    }

    /// Commits, and reads the rows touched in the same flight, by a statement that runs after the transaction has
    /// ended: unlike what the write returned, its rows belong to its snapshot. `None` if they could not be read,
    /// or nobody wrote.
    ///
    /// # Errors
    /// Those of [`PreparedWrite::commit`]; that the rows could not be read is none.
    pub async fn commit_and_read(self, reread: &Reread<'_>) -> Result<Option<Rows>, StoreError> {
        self.commit_then(Some(reread)).await
    }

    async fn commit_then(self, reread: Option<&Reread<'_>>) -> Result<Option<Rows>, StoreError> {
        let Some(lease) = self.lease else { return Ok(None) };
        let shard = lease.shard().clone();
        let client = &lease.connection().client;
        if client.is_closed() {
            // COMMIT never left, so the transaction ended with its connection.
            return Err(unavailable(&shard, "the connection was lost before COMMIT"));
        }
        let unknown = |reason: &str| StoreError::OutcomeUnknown { shard: shard.clone(), reason: reason.into() };
        // Polled in this order, so sent in this order.
        let work = join(client.batch_execute("COMMIT"), read(client, reread));
        let (committed, read) = match tokio::time::timeout(COMMIT_TIMEOUT, work).await {
            Ok((committed, read)) => (Ok(committed), read),
            Err(elapsed) => (Err(elapsed), Ok(None)),
        };
        match committed {
            Ok(Ok(())) => Ok(match reread {
                Some(reread) => reread.take(lease, read),
                None => {
                    lease.release();
                    None
                }
            }),
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

/// Which rows to read after COMMIT, in which representation.
#[derive(Debug)]
pub struct Reread<'a> {
    batch: Batch<'a>,
    statement: Statement,
}

impl<'a> Reread<'a> {
    /// These rows, whole. `None` where there are none, or too many for one statement.
    #[must_use]
    pub fn of(collection: &'a Collection, rows: &'a [WrittenRow]) -> Option<Self> {
        if rows.is_empty() || rows.len() > MAX_BATCH {
            return None;
        }
        let batch = Batch::new(collection, &Projection::Whole, rows.iter().map(|row| &row.key));
        let statement = batch.statement().ok()?;
        Some(Self { batch, statement })
    }

    /// What was read. The transaction has ended well, so whatever went wrong here is not the write's matter.
    fn take(&self, lease: Lease, read: Result<Option<Row>, tokio_postgres::Error>) -> Option<Rows> {
        match read {
            Ok(row) => {
                let rows = row.and_then(|row| self.batch.rows(&row, &lease).ok());
                lease.release();
                rows
            }
            Err(error) => {
                tracing::debug!(shard = %lease.shard(), error = %describe(&error), "rows written could not be read");
                if error.as_db_error().is_some() && is_definite(&error) {
                    lease.release();
                }
                None
            }
        }
    }
}

async fn read(client: &Client, reread: Option<&Reread<'_>>) -> Result<Option<Row>, tokio_postgres::Error> {
    match reread {
        Some(reread) => reread.batch.query(client, &reread.statement).await,
        None => Ok(None),
    }
}

/// Ends the transaction; a connection that cannot even do that is closed.
pub(crate) async fn roll_back(lease: Lease) {
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
