//! What appends, waits and the writer share, under one short lock.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tidegate_types::mutation::Sequence;

use crate::{
    Record,
    error::{AppendError, Ended},
    format::{Placed, RECORD_HEAD, RecordHead, SEGMENT_HEAD, Seed, SegmentHead, record_bytes},
    identity::Identity,
    landing::{Landing, Ticket},
    recovery::{Kept, Opened},
    settings::Settings,
};

/// What is shared.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    /// Never held while the disk is asked for anything.
    pub(crate) state: Mutex<State>,
    /// The writer sleeps on it.
    pub(crate) work: Condvar,
    /// The last durable record. Written under the lock, read without.
    durable: AtomicU64,
}

/// Under the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// The record that was taken last.
    pub(crate) last: Sequence,
    /// Where the next record goes.
    place: Place,
    /// The segment made in advance.
    pub(crate) spare: Spare,
    /// What leaves with the next write.
    pub(crate) pending: Batch,
    /// Who waits for the write under way, and up to which record it goes.
    pub(crate) in_flight: Option<(Sequence, Arc<Landing>)>,
    /// Taken and not durable, in bytes.
    pub(crate) queued: u64,
    /// Whether the write under way waits for space, which a file system that copies on write may lack in spite of what was
    /// taken in advance.
    pub(crate) starved: bool,
    /// Oldest first. The last is the one in use.
    pub(crate) segments: VecDeque<Kept>,
    /// What segments and spares take, in bytes.
    pub(crate) allocated: u64,
    /// What the caller needs no more.
    pub(crate) released: Sequence,
    pub(crate) syncs: SyncTimes,
}

/// A journal's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// What is queued is written, nothing more is taken.
    Closing,
    Ended(Ended),
}

/// Whether there is a segment to go on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spare {
    /// Made, of this many bytes.
    Ready(u64),
    /// Taken or not made yet: the writer makes one before it writes.
    Due,
    /// The journal may not become larger.
    Full,
    /// The file system is full.
    NoSpace,
}

/// A position in the segment in use.
#[derive(Debug)]
struct Place {
    seed: Seed,
    offset: u64,
    /// Of the whole segment.
    bytes: u64,
}

/// Records that leave together: the bytes as they will lie on the disk.
#[derive(Debug)]
pub(crate) struct Batch {
    /// For the segment in use.
    pub(crate) head: Vec<u8>,
    /// For the next segment, if the batch goes on there.
    pub(crate) next: Option<NextSegment>,
    /// Its first record.
    first: Sequence,
    pub(crate) landing: Arc<Landing>,
}

/// The part of a batch that begins a segment.
#[derive(Debug)]
pub(crate) struct NextSegment {
    pub(crate) first: Sequence,
    /// Its head, too.
    pub(crate) bytes: Vec<u8>,
}

impl Batch {
    fn new(first: Sequence, buffer: Vec<u8>) -> Self {
        Self { head: buffer, next: None, first, landing: Arc::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.next.is_none()
    }
}

/// How long syncs took since the journal was opened: of the disk, or of a database that waits for its standbys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncTimes {
    /// How many there were.
    pub count: u64,
    /// All together.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
}

impl SyncTimes {
    /// Counts one more.
    pub fn add(&mut self, took: Duration) {
        self.count += 1;
        self.sum += took;
        self.max = self.max.max(took);
    }
}

/// A journal in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// What records take in the segments that are kept, in bytes, those included that are released and still there.
    pub used_bytes: u64,
    /// What the segments take on the disk, in bytes.
    pub allocated_bytes: u64,
    /// What they may take, in bytes.
    pub max_bytes: u64,
    /// How many segments hold records.
    pub segments: usize,
    /// Taken and not durable, in bytes.
    pub queued_bytes: u64,
    /// The record that was taken last; 0 before the first.
    pub last: Sequence,
    /// The last durable record.
    pub durable: Sequence,
    /// The oldest record that is kept, if any is; else the next to be.
    pub first: Sequence,
    /// Whether the file system has no space for another segment.
    pub space: Space,
    /// How long syncs took.
    pub syncs: SyncTimes,
}

/// Whether there is room for another segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// There is.
    Enough,
    /// The journal has all it may have.
    Full,
    /// The file system is full.
    NoSpace,
}

impl Shared {
    pub(crate) fn new(opened: &Opened, settings: Settings) -> Self {
        let place = opened.segments.back().map_or(
            // No room: the first record begins the first segment.
            Place { seed: Seed::of(opened.identity.journal, Sequence(1)), offset: 0, bytes: 0 },
            |kept| Place { seed: Seed::of(opened.identity.journal, kept.first), offset: kept.end, bytes: kept.bytes },
        );
        let state = State {
            phase: Phase::Open,
            last: opened.last,
            place,
            spare: Spare::Due,
            pending: Batch::new(Sequence(opened.last.0 + 1), Vec::new()),
            in_flight: None,
            queued: 0,
            starved: false,
            segments: opened.segments.clone(),
            allocated: opened.segments.iter().map(|kept| kept.bytes).sum(),
            released: Sequence(0),
            syncs: SyncTimes::default(),
        };
        Self {
            identity: opened.identity,
            settings,
            state: Mutex::new(state),
            work: Condvar::new(),
            durable: AtomicU64::new(opened.last.0),
        }
    }

    pub(crate) fn durable(&self) -> Sequence {
        Sequence(self.durable.load(Ordering::Acquire))
    }

    /// The caller holds the lock.
    pub(crate) fn set_durable(&self, last: Sequence) {
        self.durable.store(last.0, Ordering::Release);
    }

    pub(crate) fn append(&self, record: &Record<'_>) -> Result<Ticket, AppendError> {
        let (bytes, most) = (record_bytes(record.payload.len()) as u64, self.settings.max_record());
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, max: most });
        }
        let mut state = self.state.lock();
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return Err(Ended::Closed.into()),
            Phase::Ended(ended) => return Err(ended.into()),
        }
        if state.starved {
            return Err(AppendError::NoSpace);
        }
        let behind = AppendError::Behind { bytes: state.queued, max: self.settings.max_queued_bytes };
        if state.queued + bytes > self.settings.max_queued_bytes {
            return Err(behind);
        }
        // Before a segment is begun in it: the writer sleeps while there is nothing.
        let was_empty = state.pending.is_empty();
        if state.place.offset + bytes > state.place.bytes {
            match state.spare {
                Spare::Ready(bytes) => self.go_on(&mut state, bytes),
                Spare::Full => {
                    return Err(AppendError::Full { bytes: state.allocated, max: self.settings.max_bytes });
                }
                Spare::NoSpace => return Err(AppendError::NoSpace),
                // Not while a queue fits into half a segment: the writer makes one before it writes the first half.
                Spare::Due => return Err(behind),
            }
        }
        let ticket = state.put(self.identity.epoch, record, bytes);
        drop(state);
        if was_empty {
            self.work.notify_one();
        }
        Ok(ticket)
    }

    /// The next record begins the segment that was made in advance.
    fn go_on(&self, state: &mut State, bytes: u64) {
        let first = Sequence(state.last.0 + 1);
        let journal = self.identity.journal;
        state.place = Place { seed: Seed::of(journal, first), offset: SEGMENT_HEAD as u64, bytes };
        state.spare = Spare::Due;
        let head = SegmentHead { journal, first, bytes }.encode();
        // A batch goes on once at most: no second spare is there before the writer has taken the batch.
        state.pending.next = Some(NextSegment { first, bytes: head.to_vec() });
    }

    /// The landing of a record, for whoever has no ticket; `None` if it is durable. What was not taken yet counts as
    /// the last that was.
    pub(crate) fn landing_of(&self, sequence: Sequence) -> Result<Option<Arc<Landing>>, Ended> {
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

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.lock();
        let used = |kept: &Kept| kept.end - SEGMENT_HEAD as u64;
        Stats {
            used_bytes: state.segments.iter().map(used).sum(),
            allocated_bytes: state.allocated,
            max_bytes: self.settings.max_bytes,
            segments: state.segments.len(),
            queued_bytes: state.queued,
            last: state.last,
            durable: self.durable(),
            first: state.segments.front().map_or(Sequence(state.last.0 + 1), |kept| kept.first),
            space: match state.spare {
                _ if state.starved => Space::NoSpace,
                Spare::Ready(_) | Spare::Due => Space::Enough,
                Spare::Full => Space::Full,
                Spare::NoSpace => Space::NoSpace,
            },
            syncs: state.syncs,
        }
    }
}

impl State {
    /// The record takes the next sequence and its place in the bytes of the next write.
    fn put(&mut self, epoch: u64, record: &Record<'_>, bytes: u64) -> Ticket {
        let sequence = Sequence(self.last.0 + 1);
        self.last = sequence;
        let placed = Placed { sequence, batch: self.pending.first, epoch };
        let head = RecordHead::new(self.place.seed, placed, record).encode(self.place.seed);
        let out = match &mut self.pending.next {
            Some(next) => &mut next.bytes,
            None => &mut self.pending.head,
        };
        let padding = record_bytes(record.payload.len()) - RECORD_HEAD - record.payload.len();
        out.extend_from_slice(&head);
        out.extend_from_slice(record.payload);
        out.extend_from_slice(&[0; crate::format::ALIGNMENT][..padding]);
        self.place.offset += bytes;
        self.queued += bytes;
        Ticket::new(sequence, self.pending.landing.clone())
    }

    /// What is to be written now, if anything; who comes later goes into the next. `buffer`: where to collect that.
    pub(crate) fn take(&mut self, buffer: Vec<u8>) -> Option<(Batch, Sequence)> {
        if self.pending.is_empty() {
            return None;
        }
        let next = Batch::new(Sequence(self.last.0 + 1), buffer);
        let batch = std::mem::replace(&mut self.pending, next);
        self.in_flight = Some((self.last, batch.landing.clone()));
        Some((batch, self.last))
    }

    /// The oldest segment, if it is closed and nobody needs it.
    pub(crate) fn removable(&self) -> Option<Kept> {
        let next = self.segments.get(1)?;
        (next.first.0 <= self.released.0 + 1).then(|| self.segments[0].clone())
    }

    /// Nothing is taken or acknowledged any more.
    pub(crate) fn end(&mut self, how: Ended) {
        self.phase = Phase::Ended(how);
        if let Some((_, landing)) = self.in_flight.take() {
            landing.end(how);
        }
        self.pending.landing.end(how);
    }
}
