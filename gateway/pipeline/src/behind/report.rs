//! What operators see of write-behind, and what they order.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use tidegate_store::flush::{DeadLetter, FlushError, LetterState, Requeue};
use tidegate_types::{
    collection::Collection,
    mutation::{Image, Sequence},
};
use tokio::sync::oneshot;

use super::{
    Behind, Inner, claim, commit,
    dirty::RowName,
    lane::{Lane, LaneReport},
};
use crate::{Gateway, gateway::Shared};

/// Dead letters shown of each shard.
const LETTERS: u32 = 100;

/// The journal at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct JournalReport {
    /// What an acknowledgement survives.
    pub class: &'static str,
    /// Which journal it is, as shards know it.
    pub journal: u64,
    /// The number of this opening.
    pub epoch: u64,
    /// The record that was taken last.
    pub last: u64,
    /// The last durable record.
    pub durable: u64,
    /// Acknowledged writes that are not on their shard yet.
    pub depth: usize,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Bytes they may have.
    pub max_bytes: u64,
    /// Memory of rows that are not on their shard yet, in bytes.
    pub dirty_bytes: u64,
    /// How much of that there may be.
    pub max_dirty_bytes: u64,
    /// `Idempotency-Key`s that are remembered.
    pub idempotency_keys: usize,
    /// Each shard.
    pub shards: Vec<ShardReport>,
}

/// What waits for a shard.
#[derive(Debug, Clone, Serialize)]
pub struct ShardReport {
    /// Its name.
    pub shard: String,
    /// `claiming`, `flowing`, `failing` or `lost`.
    pub state: &'static str,
    /// Acknowledged writes that it does not have yet.
    pub depth: usize,
    /// Rows among them.
    pub rows: usize,
    /// Memory they take, in bytes.
    pub bytes: u64,
    /// Age of the oldest, in milliseconds; `null` if nothing waits.
    pub oldest_ms: Option<u128>,
    /// How many records it is behind the last one.
    pub lag: u64,
    /// It has every record of its own up to this one, or they are among its dead letters.
    pub applied: u64,
    /// Rows whose writes wait for an operator.
    pub parked_rows: usize,
    /// Why a batch could not be brought there, the last time one could not.
    pub last_error: Option<String>,
    /// The first dead letters; `null` if the shard could not be asked.
    pub dead_letters: Option<Vec<LetterReport>>,
}

/// A write that was acknowledged and is not on its shard.
#[derive(Debug, Clone, Serialize)]
pub struct LetterReport {
    /// Its place in the journal: what requeue and discard name.
    pub sequence: u64,
    /// The collection.
    pub collection: String,
    /// The row's key as it stands in a path.
    pub key: String,
    /// `dead`: the database refuses it; `parked`: one of the same row before it.
    pub state: &'static str,
    /// SQLSTATE, where it is dead.
    pub code: Option<String>,
    /// What the database said, where it is dead.
    pub reason: Option<String>,
    /// What the row should have become; `null`: gone.
    pub row: Option<serde_json::Value>,
    /// When it became one: milliseconds since 1970, by the shard's clock.
    pub at_ms: i64,
}

/// Why an order about dead letters changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No collection is write-behind.
    #[error("there is no journal: no collection is write-behind")]
    NoJournal,
    /// No such shard.
    #[error("there is no shard {0}")]
    UnknownShard(String),
    /// No such letter.
    #[error("there is no dead letter {0}")]
    NoLetter(u64),
    /// The database refuses it again.
    #[error("the database refuses it again: {code}: {reason}")]
    StillDead {
        /// SQLSTATE.
        code: String,
        /// What it said.
        reason: String,
    },
    /// The shard does not answer, or the gateway ends.
    #[error("{0}")]
    Unavailable(String),
}

/// What to do with a dead letter and all others of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Apply them again.
    Requeue,
    /// Forget them.
    Discard,
}

/// An order to a shard's flusher, which carries it out between two batches: a write of the row that waits comes before
/// or after it.
#[derive(Debug)]
pub(super) struct Order {
    decision: Decision,
    sequence: Sequence,
    answer: oneshot::Sender<Result<Vec<Sequence>, OrderError>>,
}

impl Gateway {
    /// The journal, with dead letters as the shards have them; `None` without one.
    pub async fn journal(&self) -> Option<JournalReport> {
        let shared = &self.0;
        let Behind(inner) = shared.behind.get()?;
        let stats = inner.journal.stats();
        let lanes: Vec<LaneReport> = inner.lanes.iter().map(|lane| lane.report()).collect();
        let (depth, dirty_bytes) =
            (lanes.iter().map(|lane| lane.depth).sum(), lanes.iter().map(|lane| lane.bytes).sum());
        let asked = inner.lanes.iter().map(|lane| letters(shared, inner, lane));
        let letters = futures_util::future::join_all(asked).await;
        let shards = lanes.into_iter().zip(letters).map(|(lane, letters)| shown(lane, letters, stats.last)).collect();
        Some(JournalReport {
            class: inner.settings.class.as_str(),
            journal: inner.number,
            epoch: inner.journal.epoch(),
            last: stats.last.0,
            durable: stats.durable.0,
            depth,
            bytes: stats.allocated_bytes,
            max_bytes: stats.max_bytes,
            dirty_bytes,
            max_dirty_bytes: inner.settings.max_dirty_bytes,
            idempotency_keys: inner.repeats.len(),
            shards,
        })
    }

    /// Decides about a dead letter of a shard and all others of its row. Gives their places in the journal.
    ///
    /// # Errors
    /// [`OrderError`]; nothing was changed.
    pub async fn decide(&self, shard: &str, sequence: u64, decision: Decision) -> Result<Vec<u64>, OrderError> {
        let Behind(inner) = self.0.behind.get().ok_or(OrderError::NoJournal)?;
        let at = inner.lanes.iter().position(|lane| *lane.name == *shard);
        let orders = at.and_then(|at| inner.orders.get(at));
        let orders = orders.ok_or_else(|| OrderError::UnknownShard(shard.chars().take(64).collect()))?;
        let ends = || OrderError::Unavailable("the shard's flusher has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        orders.send(Order { decision, sequence: Sequence(sequence), answer }).await.map_err(|_| ends())?;
        let decided = answered.await.map_err(|_| ends())??;
        Ok(decided.into_iter().map(|sequence| sequence.0).collect())
    }
}

async fn letters(shared: &Shared, inner: &Inner, lane: &Lane) -> Option<Vec<LetterReport>> {
    if lane.parked_rows() == 0 {
        return Some(Vec::new());
    }
    let letters = shared.store.dead_letters(lane.shard, inner.number, LETTERS, Sequence(0)).await.ok()?;
    Some(letters.into_iter().map(letter).collect())
}

fn letter(letter: DeadLetter) -> LetterReport {
    let DeadLetter { sequence, collection, key, image, state, at_ms, .. } = letter;
    let (state, code, reason) = match state {
        LetterState::Dead(reason) => ("dead", Some(reason.sqlstate), Some(reason.message)),
        LetterState::Parked => ("parked", None, None),
    };
    let row = match image {
        Image::Row { json, .. } => serde_json::from_slice(&json).ok(),
        Image::Gone => None,
    };
    LetterReport { sequence: sequence.0, collection: collection.to_string(), key, state, code, reason, row, at_ms }
}

fn shown(lane: LaneReport, dead_letters: Option<Vec<LetterReport>>, last: Sequence) -> ShardReport {
    ShardReport {
        shard: lane.shard.to_string(),
        state: lane.state.as_str(),
        depth: lane.depth,
        rows: lane.dirty_rows,
        bytes: lane.bytes,
        oldest_ms: lane.oldest.map(|oldest| oldest.as_millis()),
        lag: if lane.depth == 0 { 0 } else { last.0.saturating_sub(lane.applied.0) },
        applied: lane.applied.0,
        parked_rows: lane.parked_rows,
        last_error: lane.last_error.map(|error| error.to_string()),
        dead_letters,
    }
}

/// Carries an order out, between two batches.
pub(super) async fn carry_out(shared: &Arc<Shared>, behind: &Behind, lane: &Arc<Lane>, order: Order) {
    let Order { decision, sequence, answer } = order;
    let outcome = match decision {
        Decision::Requeue => requeue(shared, behind, lane, sequence).await,
        Decision::Discard => discard(shared, behind, lane, sequence).await,
    };
    // Whoever asked may have gone.
    let _ = answer.send(outcome);
}

async fn requeue(
    shared: &Arc<Shared>,
    behind: &Behind,
    lane: &Arc<Lane>,
    sequence: Sequence,
) -> Result<Vec<Sequence>, OrderError> {
    let failed = |error: &dyn std::fmt::Display| OrderError::Unavailable(error.to_string());
    let before = Sequence(sequence.0.saturating_sub(1));
    let found = shared.store.dead_letters(lane.shard, behind.0.number, 1, before).await.map_err(|e| failed(&e))?;
    let letter = found.into_iter().find(|letter| letter.sequence == sequence);
    let letter = letter.ok_or(OrderError::NoLetter(sequence.0))?;
    let edition = shared.live.hold();
    let collection = edition.collections.get(&letter.collection).cloned();
    let collection = collection.ok_or(OrderError::NoLetter(sequence.0))?;
    let order =
        Requeue { journal: behind.0.number, epoch: behind.0.journal.epoch(), sequence, collection: collection.clone() };
    let prepared = shared.store.begin_requeue(lane.shard, &order).await.map_err(|error| match error {
        FlushError::StillDead { reason, .. } => OrderError::StillDead { code: reason.sqlstate, reason: reason.message },
        FlushError::NoLetter { .. } => OrderError::NoLetter(sequence.0),
        FlushError::Fenced { .. } | FlushError::Retry { .. } => failed(&error),
    })?;
    let tenants = BTreeSet::from([letter.tenant]);
    if let Err(error) = commit::commit(shared, lane, prepared, &edition, &tenants).await {
        // It may have been committed: which rows are parked is what the shard says.
        if let Err(error) = claim::learn_parked(shared, behind, lane).await {
            tracing::warn!(shard = %lane.name, %error, "whether dead letters were applied is not known");
        }
        return Err(failed(&error));
    }
    unpark(lane, &collection, &letter.key);
    Ok(vec![sequence])
}

async fn discard(
    shared: &Shared,
    behind: &Behind,
    lane: &Lane,
    sequence: Sequence,
) -> Result<Vec<Sequence>, OrderError> {
    let taken = shared.store.discard(lane.shard, behind.0.number, sequence).await;
    let taken = taken.map_err(|error| OrderError::Unavailable(error.to_string()))?;
    let first = taken.first().ok_or(OrderError::NoLetter(sequence.0))?;
    if let Some(collection) = shared.live.hold().collections.get(&first.collection) {
        unpark(lane, collection, &first.key);
    }
    Ok(taken.into_iter().map(|letter| letter.sequence).collect())
}

/// The row takes writes again.
fn unpark(lane: &Lane, collection: &Collection, key: &str) {
    if let Ok(key) = collection.parse_path_key(key) {
        lane.unpark(&RowName { collection: collection.name.clone(), key });
    }
}
