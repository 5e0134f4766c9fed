//! How far a journal has come on a shard: one row, advanced in the transaction of what it counts.

use tidegate_types::mutation::Sequence;
use tokio_postgres::{Row, types::Type};

use super::{
    FlushBatch, FlushError,
    tables::{self, from_bigint, to_bigint},
};
use crate::{StoreError, pool::Lease};

const ADVANCE: &str = "\
UPDATE tidegate.applied SET seq = $2, epoch = $3 WHERE journal = $1 AND seq = $4 AND epoch <= $3 RETURNING seq";

/// Waits for a transaction under way that has advanced the row.
const HOLD: &str = "SELECT seq, epoch FROM tidegate.applied WHERE journal = $1 FOR UPDATE";

/// Raises the epoch; `<=`, so that an owner may claim again. That the key is among what is set makes PostgreSQL lock the row as
/// `FOR UPDATE` does: it waits for writes that hold the note `FOR KEY SHARE`, as a flush (no key is set) does not.
const CLAIM: &str = "\
INSERT INTO tidegate.applied AS a (journal, seq, epoch) VALUES ($1, 0, $2) \
ON CONFLICT (journal) DO UPDATE SET journal = excluded.journal, epoch = excluded.epoch WHERE a.epoch <= excluded.epoch RETURNING seq, epoch";

/// The shard's note about a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Everything up to it was applied, or is among the dead letters.
    pub sequence: Sequence,
    /// The highest epoch in which somebody claimed the journal.
    pub epoch: u64,
}

/// Begins the transaction and advances the row. Constraints that can be are deferred until all is in place.
pub(super) async fn advance(lease: &Lease, batch: &FlushBatch) -> Result<(), FlushError> {
    let client = &lease.connection().client;
    lease.run(client.batch_execute("BEGIN; SET CONSTRAINTS ALL DEFERRED")).await?;
    let numbers = [batch.journal, batch.new.0, batch.epoch, batch.old.0].map(to_bigint);
    let [journal, new, epoch, old] = &numbers;
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(journal, Type::INT8), (new, Type::INT8), (epoch, Type::INT8), (old, Type::INT8)];
    let advanced = lease.run(client.query_typed(ADVANCE, &params)).await.map_err(tables::failed)?;
    if advanced.is_empty() {
        let found = hold(lease, batch.journal).await?;
        return Err(FlushError::Fenced { shard: lease.shard().clone(), found });
    }
    Ok(())
}

/// The row, locked until the transaction ends, if there is one.
pub(super) async fn hold(lease: &Lease, journal: u64) -> Result<Option<Applied>, StoreError> {
    let journal = to_bigint(journal);
    let rows = lease.run(lease.connection().client.query_typed(HOLD, &[(&journal, Type::INT8)])).await;
    rows.map_err(tables::wrong)?.first().map(|row| applied(lease, row)).transpose()
}

/// Takes the journal in this epoch. `None` if somebody has it in a higher one.
pub(super) async fn claim(lease: &Lease, journal: u64, epoch: u64) -> Result<Option<Applied>, StoreError> {
    tables::ensure(lease).await?;
    let (journal, epoch) = (to_bigint(journal), to_bigint(epoch));
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&journal, Type::INT8), (&epoch, Type::INT8)];
    let rows = lease.run(lease.connection().client.query_typed(CLAIM, &params)).await.map_err(tables::wrong)?;
    rows.first().map(|row| applied(lease, row)).transpose()
}

fn applied(lease: &Lease, row: &Row) -> Result<Applied, StoreError> {
    let number = |at| row.try_get(at).map(from_bigint);
    match (number(0), number(1)) {
        (Ok(sequence), Ok(epoch)) => Ok(Applied { sequence: Sequence(sequence), epoch }),
        _ => Err(tables::unexpected(lease.shard(), "how far a journal has come")),
    }
}
