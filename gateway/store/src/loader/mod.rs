//! Keyed reads, batched. While the batches that may be in flight for a collection are, the next misses
//! collect; when one returns they leave together. There is no timer: a lone miss leaves at once.
//!
//! # Layout
//! - [`Loader`]: who waits for what, and the tasks that fetch
//! - `batch`: one statement for many keys, one row back
//!
//! A batch is fetched by its own task, so a reader that goes away never delays the others.

pub(crate) mod batch;

use std::{
    collections::{HashMap, VecDeque},
    hash::{Hash, Hasher},
    sync::Arc,
};

use parking_lot::Mutex;
use tidegate_types::{collection::Collection, key::RowKey, query::Projection};
use tokio::sync::oneshot;

use self::batch::Batch;
use crate::{error::StoreError, pool::ClassPool, shard::Link, sql, store::LoadedRow};

/// Batches in flight per shard, collection and projection. Two keep the shard busy while the gateway
/// parses and delivers; more would only make batches smaller.
const MAX_IN_FLIGHT: usize = 2;
/// Keys per batch.
pub(crate) const MAX_BATCH: usize = 256;
/// Readers waiting per shard, collection and projection.
const MAX_WAITING: usize = 16_384;

/// What can share a batch: the same collection, by identity, in the same representation.
#[derive(Debug, Clone)]
struct LoadKey {
    collection: Arc<Collection>,
    projection: Projection,
}

impl PartialEq for LoadKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.collection, &other.collection) && self.projection == other.projection
    }
}

impl Eq for LoadKey {}

impl Hash for LoadKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.collection.id.hash(state);
        self.projection.hash(state);
    }
}

#[derive(Debug)]
struct Waiter {
    key: RowKey,
    answer: oneshot::Sender<Result<LoadedRow, StoreError>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    in_flight: usize,
}

/// The batched reader of one shard.
#[derive(Debug)]
pub(crate) struct Loader {
    link: Arc<Link>,
    pool: Arc<ClassPool>,
    /// Only what is asked for at the moment: a queue leaves with its last batch.
    queues: Mutex<HashMap<LoadKey, Queue>>,
}

impl Loader {
    pub(crate) fn new(link: Arc<Link>, pool: Arc<ClassPool>) -> Self {
        Self { link, pool, queues: Mutex::default() }
    }

    /// Reads one row.
    pub(crate) async fn load(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        projection: &Projection,
        key: &RowKey,
    ) -> Result<LoadedRow, StoreError> {
        sql::check_projection(collection, projection)?;
        if key.0.len() != collection.key.len() {
            return Err(self.protocol("a key of the collection's length"));
        }
        let load_key = LoadKey { collection: collection.clone(), projection: projection.clone() };
        let (answer, answered) = oneshot::channel();
        if self.enqueue(&load_key, Waiter { key: key.clone(), answer })? {
            tokio::spawn(Flight { loader: self.clone(), load_key, stage: Stage::Flying }.run());
        }
        answered.await.unwrap_or_else(|_| Err(self.protocol("a batch to end with an answer")))
    }

    /// Queues a reader. Whether a new flight has to take off is decided under the same lock.
    fn enqueue(&self, load_key: &LoadKey, waiter: Waiter) -> Result<bool, StoreError> {
        let mut queues = self.queues.lock();
        if !queues.contains_key(load_key) {
            queues.insert(load_key.clone(), Queue::default());
        }
        let Some(queue) = queues.get_mut(load_key) else { return Ok(false) };
        if queue.waiting.len() >= MAX_WAITING {
            self.link.metrics.queue_refused.inc();
            return Err(StoreError::Overloaded { shard: self.link.name.clone() });
        }
        queue.waiting.push_back(waiter);
        let take_off = queue.in_flight < MAX_IN_FLIGHT;
        queue.in_flight += usize::from(take_off);
        Ok(take_off)
    }

    fn protocol(&self, expected: &str) -> StoreError {
        StoreError::Protocol { shard: self.link.name.clone(), reason: expected.into() }
    }

    /// One try, and another on a new connection if the first one's was lost: reads may be repeated.
    async fn fetch(&self, batch: &Batch<'_>) -> Result<batch::Rows, StoreError> {
        match self.try_fetch(batch).await {
            Err(error) if error.is_connection() => self.try_fetch(batch).await,
            other => other,
        }
    }

    async fn try_fetch(&self, batch: &Batch<'_>) -> Result<batch::Rows, StoreError> {
        let lease = self.pool.lease().await?;
        let result = batch.run(&lease).await;
        // A statement that PostgreSQL refused has ended as cleanly as one that succeeded.
        if matches!(result, Ok(_) | Err(StoreError::Database { .. })) {
            lease.release();
        }
        if let Ok(rows) = &result {
            self.link.identity.saw(rows.epoch, rows.snapshot.xmax);
        }
        result
    }
}

/// A task that fetches batches until nobody waits.
struct Flight {
    loader: Arc<Loader>,
    load_key: LoadKey,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Flying,
    Landed,
}

impl Flight {
    async fn run(mut self) {
        while let Some(waiters) = self.next_batch() {
            let batch =
                Batch::new(&self.load_key.collection, &self.load_key.projection, waiters.iter().map(|w| &w.key));
            self.loader.link.metrics.batch_keys.observe(u32::try_from(batch.len()).unwrap_or(u32::MAX).into());
            let result = self.loader.fetch(&batch).await;
            drop(batch);
            for waiter in waiters {
                let answer = match &result {
                    Ok(rows) => Ok(rows.row(&waiter.key)),
                    Err(error) => Err(error.clone()),
                };
                // A reader that went away needs no answer.
                let _ = waiter.answer.send(answer);
            }
        }
    }

    /// The next readers; lands if there are none. Both under one lock: a reader that came in between
    /// would count on a flight that has stopped looking.
    fn next_batch(&mut self) -> Option<Vec<Waiter>> {
        let mut queues = self.loader.queues.lock();
        let queue = queues.get_mut(&self.load_key)?;
        let take = queue.waiting.len().min(MAX_BATCH);
        if take > 0 {
            return Some(queue.waiting.drain(..take).collect());
        }
        self.stage = Stage::Landed;
        queue.in_flight -= 1;
        if queue.in_flight == 0 {
            queues.remove(&self.load_key);
        }
        None
    }
}

impl Drop for Flight {
    /// After a panic: readers that nobody would fetch for any more are told by their channel closing.
    fn drop(&mut self) {
        if self.stage == Stage::Flying {
            let mut queues = self.loader.queues.lock();
            if let Some(queue) = queues.get_mut(&self.load_key) {
                queue.in_flight -= 1;
                if queue.in_flight == 0 {
                    queues.remove(&self.load_key);
                }
            }
        }
    }
}
