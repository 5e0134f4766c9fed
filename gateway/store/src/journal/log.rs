//! A partition's log as its owner sees it.

use std::sync::Arc;

use tidegate_journal::{AppendError, Ended, Log, Record, Stats, Ticket, Waiting};
use tidegate_types::mutation::Sequence;

use super::state::Shared;

/// The log of a partition that was taken, in the journal's database. One transaction is under way at a time; what comes
/// meanwhile leaves together in the next.
///
/// It ends for good ([`Ended::Failed`]) when an append fails, when its connection is lost, and when somebody else has taken
/// the partition: its owner takes it again and opens it anew. Dropping it closes it.
#[derive(Debug)]
pub struct PgLog(Arc<Shared>);

impl PgLog {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Returns when the log has ended, and says how.
    pub async fn ended(&self) -> Ended {
        self.0.gone.landed().await.err().unwrap_or(Ended::Closed)
    }
}

impl Drop for PgLog {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Log for PgLog {
    fn epoch(&self) -> u64 {
        self.0.taken.epoch
    }

    fn append(&self, record: &Record<'_>) -> Result<Ticket, AppendError> {
        self.0.append(record)
    }

    fn durable(&self) -> Sequence {
        self.0.durable()
    }

    fn last(&self) -> Sequence {
        self.0.last()
    }

    fn wait_durable(&self, sequence: Sequence) -> Waiting<'_, Result<(), Ended>> {
        Box::pin(async move {
            match self.0.landing_of(sequence)? {
                Some(landing) => landing.landed().await,
                None => Ok(()),
            }
        })
    }

    fn release(&self, up_to: Sequence) {
        self.0.release(up_to);
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn close(&self) -> Waiting<'_, ()> {
        self.0.close();
        Box::pin(async {
            self.ended().await;
        })
    }
}
