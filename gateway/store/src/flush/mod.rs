//! Write-behind on the shard's side: mutations that were acknowledged are applied, exactly once and in one
//! transaction with the note of how far their journal has come (ADR 0015).
//!
//! # Layout
//! - [`FlushBatch`], [`PreparedFlush`], [`FlushError`]: what is asked, and what comes of it
//! - `tables`: what must exist on every primary
//! - `applied`: how far a journal has come, and who may go on
//! - `statement`: many mutations as few statements
//! - `apply`: all of them, or all but those that cannot be
//! - `verdict`: whether a failure is the mutation's or the moment's
//! - `letters`: what could not be applied: kept, listed, requeued, discarded
//! - `handle`: the store's methods
//!
//! # What makes it right
//! - The note advances in the transaction of the mutations, from the number it had: a batch sent twice finds
//!   another one.
//! - Whoever takes over a journal raises its epoch first, and waits for the row's lock doing so: a transaction of the
//!   former owner, a flush or a write that holds the note, ends before, or finds the epoch above its own.
//! - A mutation counts as one that cannot be applied only after it failed alone, with everything before it applied,
//!   for a reason that will not pass.

mod applied;
mod apply;
mod handle;
mod letters;
mod statement;
mod tables;
mod verdict;

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidegate_types::{
    collection::Collection,
    key::RowKey,
    mutation::{Mutation, Sequence},
};

pub use applied::Applied;
pub use letters::{DeadLetter, LetterState, ParkedKey, Requeue};
pub use tables::{GRANTS, TABLES};
pub(crate) use tables::{from_bigint, to_bigint, wrong};

use crate::{
    StoreError,
    pool::{Class, Lease},
    shard::Shard,
    store::Gateways,
    write::{self, Asked, PreparedWrite, question::Question},
};

/// A mutation and where it stands.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// The collection that its name means now.
    pub collection: Arc<Collection>,
    /// What is to be applied.
    pub mutation: Mutation,
}

/// What one transaction applies.
#[derive(Debug, Clone)]
pub struct FlushBatch {
    /// The journal.
    pub journal: u64,
    /// The epoch in which this process owns it.
    pub epoch: u64,
    /// How far it is applied.
    pub old: Sequence,
    /// How far it will be.
    pub new: Sequence,
    /// At most one for each key, in order.
    pub mutations: Vec<Pending>,
    /// Later mutations of keys whose earlier ones could not be applied: they follow those.
    pub parked: Vec<Pending>,
}

/// Why a mutation cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadReason {
    /// SQLSTATE.
    pub sqlstate: String,
    /// The database's message, with its detail.
    pub message: String,
}

/// The rows of a collection that a flush touches.
#[derive(Debug, Clone)]
pub struct Touched {
    /// The collection.
    pub collection: Arc<Collection>,
    /// Their keys.
    pub keys: Vec<RowKey>,
}

/// A flush that is done but for its COMMIT. Dropping it discards its connection, and with it the transaction.
#[derive(Debug)]
pub struct PreparedFlush {
    /// The transaction, as every write has it: its id, epoch, lineage and who must hear of it. It has no rows: see
    /// [`PreparedFlush::touched`].
    pub transaction: PreparedWrite,
    /// What it changes, once for each collection.
    pub touched: Vec<Touched>,
    /// What it puts among the dead letters instead of applying it, in order.
    pub dead: Vec<(Sequence, DeadReason)>,
}

impl PreparedFlush {
    /// Commits.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] if the connection was lost after COMMIT was sent: [`crate::Store::applied`] says
    /// what became of it. Any other error is definite: nothing was committed.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await
    }

    /// Rolls back and gives the connection back to its pool.
    pub async fn rollback(self) {
        self.transaction.rollback().await;
    }
}

/// Why nothing was flushed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FlushError {
    /// The shard's note about the journal is not the one that the batch goes on from: somebody else owns the journal
    /// (a higher epoch), or the batch was applied already (its number).
    #[error("shard {shard}: the journal is applied up to {found:?}, which this batch does not go on from")]
    Fenced {
        /// The shard.
        shard: Arc<str>,
        /// The note; `None` if there is none.
        found: Option<Applied>,
    },
    /// The shard cannot do it now. It may be tried again, for ever.
    #[error("{error}")]
    Retry {
        /// Not before this long.
        after: Duration,
        /// Why.
        error: StoreError,
    },
    /// Requeued mutations cannot be applied this time either.
    #[error("shard {shard}: {}: {}", reason.sqlstate, reason.message)]
    StillDead {
        /// The shard.
        shard: Arc<str>,
        /// Why.
        reason: DeadReason,
    },
    /// There is no such dead letter.
    #[error("shard {shard}: there is no such dead letter of this collection")]
    NoLetter {
        /// The shard.
        shard: Arc<str>,
    },
}

impl From<StoreError> for FlushError {
    fn from(error: StoreError) -> Self {
        Self::Retry { after: verdict::pause(&error), error }
    }
}

/// Does a flush up to its COMMIT. Nothing is committed, so a lost connection may be replaced once.
async fn begin(shard: &Shard, batch: &FlushBatch, gateways: Gateways) -> Result<PreparedFlush, FlushError> {
    assert_one_per_key(batch);
    match attempt(shard, batch, gateways).await {
        Err(FlushError::Retry { error, .. }) if error.is_connection() => attempt(shard, batch, gateways).await,
        other => other,
    }
}

/// Two mutations of a key in one statement would be refused by the database (21000), and in two be applied out of order.
fn assert_one_per_key(batch: &FlushBatch) {
    let mut seen = HashSet::with_capacity(batch.mutations.len());
    for pending in &batch.mutations {
        let key = (&*pending.collection.relation, &pending.mutation.key);
        assert!(seen.insert(key), "two mutations of {} {} in one batch", key.0, key.1);
    }
}

async fn attempt(shard: &Shard, batch: &FlushBatch, gateways: Gateways) -> Result<PreparedFlush, FlushError> {
    let lease = shard.lease(Class::Batch).await?;
    match execute(&lease, batch, gateways).await {
        Ok((dead, asked)) => Ok(prepared(lease, &batch.mutations, dead, asked)),
        Err(error) => Err(give_up(lease, error).await),
    }
}

/// Everything between BEGIN and COMMIT.
async fn execute(
    lease: &Lease,
    batch: &FlushBatch,
    gateways: Gateways,
) -> Result<(Vec<apply::Dead>, Asked), FlushError> {
    let question = Question::of(lease, gateways).await?;
    applied::advance(lease, batch).await?;
    let dead = apply::apply(lease, &batch.mutations).await?;
    for apply::Dead { position, reason } in &dead {
        letters::keep_dead(lease, batch.journal, &batch.mutations[*position], reason).await?;
    }
    for pending in &batch.parked {
        letters::keep_parked(lease, batch.journal, pending).await?;
    }
    Ok((dead, ask(lease, &question).await?))
}

/// By a later statement than the one that gave the transaction its id.
async fn ask(lease: &Lease, question: &Question) -> Result<Asked, StoreError> {
    let client = &lease.connection().client;
    let asked = lease.run(async { question.judge(question.ask(client, true).await) }).await?;
    question.answer(lease.shard(), asked)
}

fn prepared(lease: Lease, mutations: &[Pending], dead: Vec<apply::Dead>, asked: Asked) -> PreparedFlush {
    let mut touched: Vec<Touched> = Vec::new();
    for (position, Pending { collection, mutation, .. }) in mutations.iter().enumerate() {
        if dead.iter().any(|dead| dead.position == position) {
            continue;
        }
        match touched.iter_mut().find(|touched| Arc::ptr_eq(&touched.collection, collection)) {
            Some(touched) => touched.keys.push(mutation.key.clone()),
            None => touched.push(Touched { collection: collection.clone(), keys: vec![mutation.key.clone()] }),
        }
    }
    let dead = dead.into_iter().map(|dead| (mutations[dead.position].sequence, dead.reason)).collect();
    PreparedFlush { transaction: PreparedWrite::of(lease, asked), touched, dead }
}

/// After a refusal the connection is fine; after anything else dropping the lease closes it.
async fn give_up(lease: Lease, error: FlushError) -> FlushError {
    let refused = match &error {
        FlushError::Fenced { .. } | FlushError::StillDead { .. } | FlushError::NoLetter { .. } => true,
        FlushError::Retry { error, .. } => {
            matches!(error, StoreError::Database { .. } | StoreError::Members { .. } | StoreError::Journal { .. })
        }
    };
    if refused {
        write::roll_back(lease).await;
    }
    error
}
