//! What waits for one shard, in order, and how far the shard has come.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tidegate_types::{
    mutation::{Mutation, Sequence},
    route::ShardId,
};
use tokio::sync::{Notify, watch};

use super::{
    batch::{self, Batch, Joining, Limits, Waiting},
    dirty::{Dirty, DirtyRows, RowName},
};

/// How long a shard may take nothing before it counts as not answering.
const STALL: Duration = Duration::from_secs(2);

/// How a shard's flusher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneState {
    /// It is not known yet what of the journal the shard has: nothing is read or written.
    Claiming = 0,
    /// Batches succeed.
    Flowing = 1,
    /// The last batch did not, and is tried again.
    Failing = 2,
    /// Somebody else owns the journal on this shard: nothing is read or written.
    Lost = 3,
}

impl LaneState {
    /// The name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Flowing => "flowing",
            Self::Failing => "failing",
            Self::Lost => "lost",
        }
    }
}

/// What waits for one shard.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shard: ShardId,
    pub(super) name: Arc<str>,
    pub(super) dirty: DirtyRows,
    /// Everything up to it is on the shard, or among its dead letters.
    pub(super) applied: watch::Sender<Sequence>,
    /// Rows whose writes wait for an operator.
    parked: Mutex<HashSet<RowName>>,
    // Held while a record is appended to the journal, so that the queue has the journal's order.
    queue: Mutex<Queue>,
    state: AtomicU8,
    bytes: AtomicU64,
    last_error: Mutex<Option<Arc<str>>>,
    /// When the shard last took a batch, or said what it has.
    took: Mutex<Instant>,
    /// Something waits that did not before.
    woken: Notify,
    /// Somebody waits for a flush.
    hurried: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The last of each collection.
    last: HashMap<Arc<str>, Sequence>,
}

/// A lane at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneReport {
    pub(crate) shard: Arc<str>,
    pub(crate) state: LaneState,
    pub(crate) depth: usize,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<Duration>,
    pub(crate) applied: Sequence,
    pub(crate) dirty_rows: usize,
    pub(crate) parked_rows: usize,
    pub(crate) last_error: Option<Arc<str>>,
}

impl Lane {
    pub(super) fn new(shard: ShardId, name: &str) -> Self {
        Self {
            shard,
            name: name.into(),
            dirty: DirtyRows::new(),
            applied: watch::channel(Sequence(0)).0,
            parked: Mutex::default(),
            queue: Mutex::default(),
            state: AtomicU8::new(LaneState::Claiming as u8),
            bytes: AtomicU64::new(0),
            last_error: Mutex::new(None),
            took: Mutex::new(Instant::now()),
            woken: Notify::new(),
            hurried: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> LaneState {
        match self.state.load(Ordering::Acquire) {
            0 => LaneState::Claiming,
            1 => LaneState::Flowing,
            2 => LaneState::Failing,
            _ => LaneState::Lost,
        }
    }

    pub(super) fn set_state(&self, state: LaneState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Whether the shard takes what waits: a batch that waits for a lock tells nobody that it does.
    pub(super) fn is_taking(&self) -> bool {
        self.state() == LaneState::Flowing && (self.took.lock().elapsed() < STALL || self.first().is_none())
    }

    pub(super) fn failed(&self, state: LaneState, why: &str) {
        *self.last_error.lock() = Some(why.into());
        self.set_state(state);
    }

    /// Appends by `append`, which gives the record its place; what it gives besides comes back. The image is what
    /// readers see from here on, once it is durable.
    ///
    /// Both happen under one lock: two writes of the shard wait in the order of their places. The caller holds the
    /// row's lock.
    pub(super) fn append<T, E>(
        &self,
        mutation: Mutation,
        append: impl FnOnce() -> Result<(Sequence, T), E>,
    ) -> Result<(Sequence, T), E> {
        let mut queue = self.queue.lock();
        let (sequence, ticket) = append()?;
        self.push(&mut queue, sequence, mutation);
        drop(queue);
        self.woken.notify_one();
        Ok((sequence, ticket))
    }

    /// What was found in the journal, in its order.
    pub(super) fn restore(&self, sequence: Sequence, mutation: Mutation) {
        self.push(&mut self.queue.lock(), sequence, mutation);
    }

    fn push(&self, queue: &mut Queue, sequence: Sequence, mutation: Mutation) {
        let row = RowName { collection: mutation.collection.clone(), key: mutation.key.clone() };
        let dirty = Dirty { sequence, image: mutation.image.clone() };
        queue.last.insert(mutation.collection.clone(), sequence);
        let waiting = Waiting { sequence, mutation: Arc::new(mutation), since: Instant::now() };
        self.bytes.fetch_add(waiting.bytes(), Ordering::Relaxed);
        queue.waiting.push_back(waiting);
        self.dirty.put(row, dirty);
    }

    /// The last write of a collection that waits, or did.
    pub(super) fn last_of(&self, collection: &str) -> Sequence {
        self.queue.lock().last.get(collection).copied().unwrap_or_default()
    }

    /// The first that waits.
    pub(super) fn first(&self) -> Option<Sequence> {
        self.queue.lock().waiting.front().map(|waiting| waiting.sequence)
    }

    /// The next batch of what is durable.
    pub(super) fn next_batch(
        &self,
        durable: Sequence,
        limits: Limits,
        joining: Joining,
        writable: impl Fn(&str) -> Arc<[Box<str>]>,
    ) -> Batch {
        let queue = self.queue.lock();
        let ready = queue.waiting.iter().take_while(|waiting| waiting.sequence <= durable);
        let parked = self.parked.lock();
        batch::next(ready, limits, joining, |row| parked.contains(row), writable)
    }

    /// Everything up to `sequence` is on the shard or among its dead letters. Images are let go of first: who waits
    /// for the sequence reads the shard.
    pub(super) fn applied_up_to(&self, sequence: Sequence) {
        let mut done = Vec::new();
        {
            let mut queue = self.queue.lock();
            while queue.waiting.front().is_some_and(|waiting| waiting.sequence <= sequence) {
                done.extend(queue.waiting.pop_front());
            }
        }
        for waiting in &done {
            let Mutation { collection, key, .. } = &*waiting.mutation;
            self.dirty.release(&RowName { collection: collection.clone(), key: key.clone() }, sequence);
            self.bytes.fetch_sub(waiting.bytes(), Ordering::Relaxed);
        }
        *self.took.lock() = Instant::now();
        self.applied.send_if_modified(|applied| {
            let further = *applied < sequence;
            *applied = sequence.max(*applied);
            further
        });
    }

    pub(super) fn is_parked(&self, row: &RowName) -> bool {
        self.parked.lock().contains(row)
    }

    pub(super) fn park(&self, rows: impl IntoIterator<Item = RowName>) {
        self.parked.lock().extend(rows);
    }

    pub(super) fn park_only(&self, rows: HashSet<RowName>) {
        *self.parked.lock() = rows;
    }

    pub(super) fn unpark(&self, row: &RowName) {
        self.parked.lock().remove(row);
    }

    /// Of one collection.
    pub(super) fn parked_rows_of(&self, collection: &str) -> usize {
        self.parked.lock().iter().filter(|row| *row.collection == *collection).count()
    }

    pub(super) fn parked_rows(&self) -> usize {
        self.parked.lock().len()
    }

    /// Waits until something waits.
    pub(super) async fn filled(&self) -> Sequence {
        loop {
            let woken = self.woken.notified();
            if let Some(first) = self.first() {
                return first;
            }
            woken.await;
        }
    }

    /// Ends a pause between tries.
    pub(super) fn hurry(&self) {
        self.hurried.notify_one();
    }

    pub(super) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    /// Waits until the shard has everything up to `sequence`, or it is among the dead letters.
    pub(super) async fn reaches(&self, sequence: Sequence) {
        let mut applied = self.applied.subscribe();
        if *applied.borrow_and_update() >= sequence {
            return;
        }
        self.hurry();
        // The sender lives as long as the lane.
        let _ = applied.wait_for(|applied| *applied >= sequence).await;
    }

    /// Memory that what waits takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Age of the oldest that waits.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.queue.lock().waiting.front().map(|waiting| waiting.since.elapsed())
    }

    pub(super) fn report(&self) -> LaneReport {
        let (depth, oldest) = {
            let queue = self.queue.lock();
            (queue.waiting.len(), queue.waiting.front().map(|waiting| waiting.since.elapsed()))
        };
        LaneReport {
            shard: self.name.clone(),
            state: self.state(),
            depth,
            bytes: self.bytes(),
            oldest,
            applied: *self.applied.borrow(),
            dirty_rows: self.dirty.len(),
            parked_rows: self.parked_rows(),
            last_error: self.last_error.lock().clone(),
        }
    }
}
