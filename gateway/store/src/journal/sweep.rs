//! Removes what nobody needs any more, in order, a bounded number of records at a time.

use std::{sync::Arc, time::Duration};

use tidegate_types::mutation::Sequence;
use tokio_postgres::types::Type;

use super::{
    JournalDatabase,
    error::JournalError,
    session::Param,
    state::{Next, Shared},
};
use crate::flush::to_bigint;

/// How long after a removal that failed the next one is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// An owner that was taken over from leaves this to the one that has it now.
const REMOVE: &str = "\
DELETE FROM tidegate.journal WHERE journal = $1 AND seq >= $2 AND seq <= $3 \
AND EXISTS (SELECT FROM tidegate.partitions AS p WHERE p.shard = $4 AND p.epoch = $5)";

/// Until the log has ended.
pub(super) async fn run(journal: JournalDatabase, shared: Arc<Shared>) {
    loop {
        match shared.removable() {
            Next::Now((from, to)) => match remove(&journal, &shared, from, to).await {
                Ok(()) => shared.removed(to),
                Err(error) => {
                    tracing::warn!(shard = %shared.taken.shard, %error, "records of the journal could not be removed");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Next::Wait => shared.dirt.notified().await,
            Next::Ended => return,
        }
    }
}

/// Sent again after any failure: records are removed or they are not there.
async fn remove(journal: &JournalDatabase, shared: &Shared, from: Sequence, to: Sequence) -> Result<(), JournalError> {
    let numbers = [shared.taken.journal, from.0, to.0, shared.taken.epoch].map(to_bigint);
    let [number, from, to, epoch] = &numbers;
    let params: [Param<'_>; 5] = [
        (number, Type::INT8),
        (from, Type::INT8),
        (to, Type::INT8),
        (&&*shared.taken.shard, Type::TEXT),
        (epoch, Type::INT8),
    ];
    journal.0.sweep.query(&journal.0.database, REMOVE, &params).await.map(drop)
}
