//! What appends, waits, the writer and the sweeper of a log share, under one short lock.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tidegate_journal::{AppendError, Ended, Landing, MAX_PAYLOAD, Record, Space, Stats, SyncTimes, Ticket};
use tidegate_types::mutation::Sequence;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Bounds, Taken};

/// What a record takes besides its payload: about what its row has.
pub(super) const RECORD_BYTES: u64 = 64;
/// Records removed at a time.
const SWEEP: u64 = 1000;

/// What is shared.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) taken: Taken,
    bounds: Bounds,
    state: Mutex<State>,
    /// The last durable record. Written under the lock, read without.
    durable: AtomicU64,
    /// There is something to write, or to end.
    pub(super) work: Notify,
    /// There is something to remove, or to end.
    pub(super) dirt: Notify,
    /// Settled when the log has ended.
    pub(super) gone: Landing,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// The record that was taken last.
    last: Sequence,
    /// What leaves with the next statement.
    pending: Group,
    /// Who waits for the statement under way, and up to which record it goes.
    in_flight: Option<(Sequence, Arc<Landing>)>,
    /// Taken and not durable, in bytes.
    queued: u64,
    kept: Kept,
    /// What the owner needs no more.
    released: Sequence,
    commits: SyncTimes,
}

/// A log's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is queued is written, nothing more is taken.
    Closing,
    Ended(Ended),
}

/// Records that leave together, by columns.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) first: Sequence,
    pub(super) partitions: Vec<i64>,
    pub(super) idempotency: Vec<Option<Uuid>>,
    pub(super) payloads: Vec<Vec<u8>>,
    bytes: u64,
    landing: Arc<Landing>,
}

impl Group {
    fn new(first: Sequence) -> Self {
        Self {
            first,
            partitions: Vec::new(),
            idempotency: Vec::new(),
            payloads: Vec::new(),
            bytes: 0,
            landing: Arc::default(),
        }
    }

    /// The last of them; there is one.
    pub(super) fn last(&self) -> Sequence {
        Sequence(self.first.0 + self.payloads.len() as u64 - 1)
    }
}

/// The sizes of what the table holds of this partition, or will when it is durable.
#[derive(Debug)]
pub(super) struct Kept {
    first: Sequence,
    sizes: VecDeque<u32>,
    bytes: u64,
}

impl Kept {
    pub(super) fn new(first: Sequence) -> Self {
        Self { first, sizes: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn add(&mut self, payload: usize) {
        let size = payload as u64 + RECORD_BYTES;
        self.bytes += size;
        self.sizes.push_back(u32::try_from(size).unwrap_or(u32::MAX));
    }

    fn forget(&mut self, up_to: Sequence) {
        while self.first <= up_to
            && let Some(size) = self.sizes.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(u64::from(size));
            self.first.0 += 1;
        }
    }
}

/// What there is to do.
pub(super) enum Next<T> {
    Now(T),
    /// Nothing, until it is told.
    Wait,
    /// Nothing any more.
    Ended,
}

impl Shared {
    pub(super) fn new(taken: Taken, bounds: Bounds, last: Sequence, kept: Kept) -> Self {
        let state = State {
            phase: Phase::Open,
            last,
            pending: Group::new(Sequence(last.0 + 1)),
            in_flight: None,
            queued: 0,
            kept,
            released: Sequence(0),
            commits: SyncTimes::default(),
        };
        Self {
            taken,
            bounds,
            state: Mutex::new(state),
            durable: AtomicU64::new(last.0),
            work: Notify::new(),
            dirt: Notify::new(),
            gone: Landing::new(),
        }
    }

    pub(super) fn durable(&self) -> Sequence {
        Sequence(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn last(&self) -> Sequence {
        self.state.lock().last
    }

    pub(super) fn append(&self, record: &Record<'_>) -> Result<Ticket, AppendError> {
        let bytes = record.payload.len() as u64 + RECORD_BYTES;
        let most = self.bounds.max_queued_bytes.min(MAX_PAYLOAD as u64 + RECORD_BYTES);
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, max: most });
        }
        let mut state = self.state.lock();
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return Err(Ended::Closed.into()),
            Phase::Ended(ended) => return Err(ended.into()),
        }
        if state.queued + bytes > self.bounds.max_queued_bytes {
            return Err(AppendError::Behind { bytes: state.queued, max: self.bounds.max_queued_bytes });
        }
        if state.kept.bytes + bytes > self.bounds.max_bytes {
            return Err(AppendError::Full { bytes: state.kept.bytes, max: self.bounds.max_bytes });
        }
        let sequence = Sequence(state.last.0 + 1);
        state.last = sequence;
        state.queued += bytes;
        state.kept.add(record.payload.len());
        let group = &mut state.pending;
        group.partitions.push(i64::from(record.partition));
        group.idempotency.push(record.idempotency.map(Uuid::from_u128));
        group.payloads.push(record.payload.to_vec());
        group.bytes += bytes;
        let ticket = Ticket::new(sequence, group.landing.clone());
        drop(state);
        self.work.notify_one();
        Ok(ticket)
    }

    /// The landing of a record, for whoever has no ticket; `None` if it is durable. What was not taken yet counts as
    /// the last that was.
    pub(super) fn landing_of(&self, sequence: Sequence) -> Result<Option<Arc<Landing>>, Ended> {
        if sequence <= self.durable() {
            return Ok(None);
        }
        let state = self.state.lock();
        let sequence = sequence.min(state.last);
        if sequence <= self.durable() {
            return Ok(None);
        }
        if let Phase::Ended(ended) = state.phase {
            return Err(ended);
        }
        match &state.in_flight {
            Some((last, landing)) if sequence <= *last => Ok(Some(landing.clone())),
            _ => Ok(Some(state.pending.landing.clone())),
        }
    }

    /// What is to be written now; who comes later goes into the next. A closing log ends when there is nothing.
    pub(super) fn take(&self) -> Next<Group> {
        let mut state = self.state.lock();
        match (state.phase, state.pending.payloads.is_empty()) {
            (Phase::Ended(_), _) => Next::Ended,
            (Phase::Open, true) => Next::Wait,
            (Phase::Closing, true) => {
                drop(state);
                self.end(Ended::Closed);
                Next::Ended
            }
            (Phase::Open | Phase::Closing, false) => {
                let next = Group::new(Sequence(state.last.0 + 1));
                let group = std::mem::replace(&mut state.pending, next);
                state.in_flight = Some((state.last, group.landing.clone()));
                Next::Now(group)
            }
        }
    }

    /// A group is durable.
    pub(super) fn landed(&self, group: &Group, took: std::time::Duration) {
        let mut state = self.state.lock();
        self.durable.store(group.last().0, Ordering::Release);
        state.in_flight = None;
        state.queued -= group.bytes;
        state.commits.add(took);
        drop(state);
        group.landing.land();
    }

    pub(super) fn release(&self, up_to: Sequence) {
        let mut state = self.state.lock();
        state.released = state.released.max(up_to.min(self.durable()));
        drop(state);
        self.dirt.notify_one();
    }

    /// The next records to be removed, from and to.
    pub(super) fn removable(&self) -> Next<(Sequence, Sequence)> {
        let state = self.state.lock();
        let first = state.kept.first;
        match state.phase {
            Phase::Ended(_) => Next::Ended,
            _ if state.released < first => Next::Wait,
            _ => Next::Now((first, Sequence(state.released.0.min(first.0 + SWEEP - 1)))),
        }
    }

    pub(super) fn removed(&self, up_to: Sequence) {
        self.state.lock().kept.forget(up_to);
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.work.notify_one();
    }

    /// Nothing is taken or acknowledged any more. The first reason stays.
    pub(super) fn end(&self, how: Ended) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return;
        }
        state.phase = Phase::Ended(how);
        if let Some((_, landing)) = state.in_flight.take() {
            landing.end(how);
        }
        state.pending.landing.end(how);
        drop(state);
        self.gone.end(how);
        self.dirt.notify_one();
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.state.lock();
        let full = state.kept.bytes + RECORD_BYTES > self.bounds.max_bytes;
        Stats {
            used_bytes: state.kept.bytes,
            allocated_bytes: state.kept.bytes,
            max_bytes: self.bounds.max_bytes,
            segments: 0,
            queued_bytes: state.queued,
            last: state.last,
            durable: self.durable(),
            first: state.kept.first,
            space: if full { Space::Full } else { Space::Enough },
            syncs: state.commits,
        }
    }
}
