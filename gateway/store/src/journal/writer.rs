//! The one who writes: whatever came while a COMMIT was under way leaves together in the next statement.

use std::{sync::Arc, time::Instant};

use tidegate_journal::Ended;
use tokio_postgres::{
    Statement,
    types::{ToSql, Type},
};

use super::{
    error::JournalError,
    session::Session,
    state::{Group, Next, Shared},
};
use crate::flush::to_bigint;

/// A group, where the partition is still this owner's and ends where the group goes on. The row's lock orders it with a
/// taking: one of the two waits, and then looks again. Inserts nothing if it is not.
const APPEND: &str = "\
WITH held AS (\
UPDATE tidegate.partitions SET seq = $5 \
WHERE shard = $1 AND journal = $2 AND epoch = $3 AND seq = $4 AND owner IS NOT NULL RETURNING journal, epoch) \
INSERT INTO tidegate.journal (journal, seq, epoch, part, idempotency, payload) \
SELECT held.journal, $4 + new.place, held.epoch, new.part, new.idempotency, new.payload \
FROM held, unnest($6::bigint[], $7::uuid[], $8::bytea[]) WITH ORDINALITY AS new (part, idempotency, payload, place)";

const TYPES: [Type; 8] =
    [Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8, Type::INT8_ARRAY, Type::UUID_ARRAY, Type::BYTEA_ARRAY];

/// Writes what a log takes, on one connection. When that ends, the log has ended.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    session: Session,
    append: Statement,
}

impl Writer {
    pub(super) async fn new(shared: Arc<Shared>, session: Session) -> Result<Self, JournalError> {
        let append = session.run(session.client.prepare_typed(APPEND, &TYPES)).await?;
        Ok(Self { shared, session, append })
    }

    /// Until the log is closed or has failed.
    pub(super) async fn run(mut self) {
        loop {
            match self.shared.take() {
                Next::Now(group) => {
                    let begun = Instant::now();
                    if let Err(error) = self.write(&group).await {
                        return self.fail(&error);
                    }
                    self.shared.landed(&group, begun.elapsed());
                }
                Next::Wait => {
                    tokio::select! {
                        () = self.shared.work.notified() => {}
                        // Found now and not by the next append, whose client would be told that its outcome is unknown.
                        () = self.session.ended() => {
                            let reason = "the connection was lost while nothing was under way";
                            tracing::warn!(shard = %self.shared.taken.shard, "the journal ends: {reason}");
                            return self.shared.end(Ended::Failed);
                        }
                    }
                }
                Next::Ended => return,
            }
        }
    }

    /// Returns when all of it is durable. Anything else is the end: whether it was committed is not known, and to send it
    /// again would be to write it twice, or to overtake whoever took over.
    async fn write(&self, group: &Group) -> Result<(), JournalError> {
        let taken = &self.shared.taken;
        let numbers = [taken.journal, taken.epoch, group.first.0 - 1, group.last().0].map(to_bigint);
        let [journal, epoch, before, last] = &numbers;
        let client = &self.session.client;
        let shard = &*taken.shard;
        let Group { partitions, idempotency, payloads, .. } = group;
        let params: [&(dyn ToSql + Sync); 8] =
            [&shard, journal, epoch, before, last, partitions, idempotency, payloads];
        let written = client.execute(&self.append, &params);
        if self.session.run(written).await? == group.payloads.len() as u64 {
            return Ok(());
        }
        Err(JournalError::TakenOver { shard: taken.shard.clone() })
    }

    fn fail(&self, error: &JournalError) {
        tracing::error!(
            shard = %self.shared.taken.shard,
            epoch = self.shared.taken.epoch,
            %error,
            "an append to the journal failed: what it was to write may or may not be kept, and the journal is to be \
             taken again"
        );
        self.shared.end(Ended::Failed);
    }
}

impl Drop for Writer {
    /// Whoever waits must not wait for ever, also where the writer panicked or its runtime ends.
    fn drop(&mut self) {
        self.shared.end(Ended::Failed);
    }
}
