//! What the table holds of a partition, and the log behind it.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_journal::KeptRecord;
use tidegate_types::mutation::Sequence;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    JournalDatabase, PgLog, Taken,
    error::JournalError,
    partitions::unexpected,
    session::{Database, Param, Session},
    state::{Kept, Shared},
    sweep,
    writer::Writer,
};
use crate::flush::{from_bigint, to_bigint};

/// Read at a time.
const PAGE: i64 = 500;

/// One snapshot for all pages: a removal of the former owner's may still be under way.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const END: &str = "SELECT seq, epoch FROM tidegate.partitions WHERE shard = $1";

const READ: &str = "\
SELECT seq, epoch, part, idempotency, payload FROM tidegate.journal \
WHERE journal = $1 AND seq > $2 ORDER BY seq LIMIT $3";

pub(super) async fn open(journal: &JournalDatabase, taken: &Taken) -> Result<(PgLog, Vec<KeptRecord>), JournalError> {
    let database = &journal.0.database;
    let session = database.connect("log").await?;
    session.run(session.client.batch_execute(BEGIN)).await?;
    let last = last(database, &session, taken).await?;
    let kept = read(database, &session, taken, last).await?;
    session.run(session.client.batch_execute("COMMIT")).await?;

    let mut sizes = Kept::new(kept.first().map_or(Sequence(last.0 + 1), |record| record.sequence));
    kept.iter().for_each(|record| sizes.add(record.payload.len()));
    let shared = Arc::new(Shared::new(taken.clone(), journal.0.bounds, last, sizes));
    let writer = Writer::new(shared.clone(), session).await?;
    tokio::spawn(writer.run());
    tokio::spawn(sweep::run(journal.clone(), shared.clone()));
    Ok((PgLog::new(shared), kept))
}

/// The partition's last record; nothing more comes from anybody else.
async fn last(database: &Database, session: &Session, taken: &Taken) -> Result<Sequence, JournalError> {
    let params: [Param<'_>; 1] = [(&&*taken.shard, Type::TEXT)];
    let rows = session.run(session.client.query_typed(END, &params)).await?;
    let numbers = rows.first().and_then(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)));
    let (last, epoch) = numbers.ok_or_else(|| unexpected(database, "the end of a partition"))?;
    if from_bigint(epoch) != taken.epoch {
        return Err(JournalError::TakenOver { shard: taken.shard.clone() });
    }
    Ok(Sequence(from_bigint(last)))
}

/// All records, of which none is missing up to the last.
async fn read(
    database: &Database,
    session: &Session,
    taken: &Taken,
    last: Sequence,
) -> Result<Vec<KeptRecord>, JournalError> {
    let number = to_bigint(taken.journal);
    let mut kept: Vec<KeptRecord> = Vec::new();
    loop {
        let after = to_bigint(kept.last().map_or(0, |record| record.sequence.0));
        let params: [Param<'_>; 3] = [(&number, Type::INT8), (&after, Type::INT8), (&PAGE, Type::INT8)];
        let rows = session.run(session.client.query_typed(READ, &params)).await?;
        for row in &rows {
            let record = record(row).map_err(|_| unexpected(database, "a record"))?;
            if let Some(before) = kept.last()
                && record.sequence.0 != before.sequence.0 + 1
            {
                let reason = format!("records {} to {} are missing", before.sequence.0 + 1, record.sequence.0 - 1);
                return Err(damaged(database, taken, &reason));
            }
            kept.push(record);
        }
        if i64::try_from(rows.len()).is_ok_and(|rows| rows < PAGE) {
            break;
        }
    }
    match kept.last() {
        Some(record) if record.sequence != last => {
            let reason = format!("its last record is {} and should be {}", record.sequence.0, last.0);
            Err(damaged(database, taken, &reason))
        }
        _ => Ok(kept),
    }
}

fn damaged(database: &Database, taken: &Taken, reason: &str) -> JournalError {
    JournalError::Damaged { database: database.name.clone(), shard: taken.shard.clone(), reason: reason.into() }
}

fn record(row: &Row) -> Result<KeptRecord, tokio_postgres::Error> {
    Ok(KeptRecord {
        sequence: Sequence(from_bigint(row.try_get(0)?)),
        epoch: from_bigint(row.try_get(1)?),
        partition: u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or(u32::MAX),
        idempotency: row.try_get::<_, Option<Uuid>>(3)?.map(|id| id.as_u128()),
        payload: Bytes::copy_from_slice(row.try_get(4)?),
    })
}
