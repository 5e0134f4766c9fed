//! The store's methods for write-behind.

use tidegate_types::{mutation::Sequence, route::ShardId};

use super::{
    DeadLetter, FlushBatch, FlushError, ParkedKey, PreparedFlush, Requeue, applied, ask, begin, give_up, letters,
    prepared, tables,
};
use crate::{
    Store, StoreError,
    pool::{Class, Lease},
    write::question::Question,
};

impl Store {
    /// Takes a journal in this epoch, and says up to where it is applied on the shard: 0 for one that is new. Waits for
    /// transactions under way of whoever had it, also for writes that hold a [`JournalGuard`](crate::JournalGuard). Creates the tables where there are none.
    ///
    /// # Errors
    /// [`FlushError::Fenced`] if somebody has it in a higher epoch; [`FlushError::Retry`] with
    /// [`StoreError::Journal`] says what the role may not do, and the SQL that mends it.
    pub async fn claim_journal(&self, shard: ShardId, journal: u64, epoch: u64) -> Result<Sequence, FlushError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        let claimed = match applied::claim(&lease, journal, epoch).await? {
            Some(claimed) => Ok(claimed.sequence),
            None => {
                Err(FlushError::Fenced { shard: lease.shard().clone(), found: applied::hold(&lease, journal).await? })
            }
        };
        lease.release();
        claimed
    }

    /// Up to where a journal is applied on a shard: 0 for one that it has never heard of. Waits for a transaction under
    /// way, so that it is true also when the outcome of one is unknown.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn applied(&self, shard: ShardId, journal: u64) -> Result<Sequence, StoreError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        let found = applied::hold(&lease, journal).await?;
        lease.release();
        Ok(found.map(|found| found.sequence).unwrap_or_default())
    }

    /// Does a flush up to, not including, its COMMIT.
    ///
    /// # Errors
    /// See [`FlushError`]. Nothing was committed.
    ///
    /// # Panics
    /// If two of the mutations are of one key.
    pub async fn begin_flush(&self, shard: ShardId, batch: &FlushBatch) -> Result<PreparedFlush, FlushError> {
        begin(self.shard(shard)?, batch, self.gateways).await
    }

    /// Takes all dead letters of a key out, and applies what they come to, up to, not including, COMMIT.
    ///
    /// # Errors
    /// [`FlushError::StillDead`] if it cannot be applied this time either, [`FlushError::NoLetter`] if there is no such
    /// letter of this collection. Nothing was committed.
    pub async fn begin_requeue(&self, shard: ShardId, order: &Requeue) -> Result<PreparedFlush, FlushError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        let work = async {
            let question = Question::of(&lease, self.gateways).await?;
            let applied = letters::requeue(&lease, order).await?;
            Ok((applied, ask(&lease, &question).await?))
        };
        match work.await {
            Ok((applied, asked)) => Ok(prepared(lease, &[applied], Vec::new(), asked)),
            Err(error) => Err(give_up(lease, error).await),
        }
    }

    /// Dead letters of a journal after one, in order, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn dead_letters(
        &self,
        shard: ShardId,
        journal: u64,
        limit: u32,
        after: Sequence,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        let found = letters::list(&lease, journal, after, limit).await;
        done(lease, found)
    }

    /// Every key of a journal that has dead letters, by its first one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn parked_keys(&self, shard: ShardId, journal: u64) -> Result<Vec<ParkedKey>, StoreError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        let found = letters::parked(&lease, journal).await;
        done(lease, found)
    }

    /// Forgets a dead letter and all others of its key; gives them, in order. Empty if there is no such letter.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn discard(
        &self,
        shard: ShardId,
        journal: u64,
        sequence: Sequence,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        let taken = letters::take(&lease, journal, sequence).await;
        done(lease, taken)
    }

    /// Does what write-behind does with its tables on a shard, and undoes it. Creates them where there are none.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Journal`] says what the role may not do, and the SQL that mends it.
    pub async fn check_journal_tables(&self, shard: ShardId) -> Result<(), StoreError> {
        let lease = self.shard(shard)?.lease(Class::Batch).await?;
        tables::check(&lease).await?;
        lease.release();
        Ok(())
    }
}

/// A statement outside a transaction that PostgreSQL refused has ended as cleanly as one that succeeded.
fn done<T>(lease: Lease, result: Result<T, StoreError>) -> Result<T, StoreError> {
    if result.is_ok() {
        lease.release();
    }
    result
}
