//! The one who writes: whatever came while the disk was busy leaves together in one write and one sync.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_types::mutation::Sequence;

use crate::{
    disk::{Disk, DiskError, DiskFile, write_all},
    error::{Ended, Fatal},
    format::{SEGMENT_HEAD, segment_name},
    reader::Found,
    recovery::Kept,
    state::{Batch, NextSegment, Phase, Shared, Spare},
};

/// How long the writer waits before it asks a full file system again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Writes what a journal takes. [`Journal::open`](crate::Journal::open) runs it on a thread; by
/// [`Journal::open_by_hand`](crate::Journal::open_by_hand) a test runs it step by step.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    /// The segment in use.
    current: Option<Current>,
    /// Made in advance, oldest first: one, and while a batch goes on in it another.
    spares: VecDeque<SpareFile>,
    /// How many were made, for their names.
    made: u64,
    /// A batch that found no space, to be written again.
    unwritten: Option<(Batch, Sequence)>,
    /// For the next batch.
    buffer: Vec<u8>,
    /// Not before then is a full file system asked again.
    ask_at: Option<Instant>,
    patience: Duration,
}

#[derive(Debug)]
struct Current {
    name: String,
    file: Box<dyn DiskFile>,
    offset: u64,
}

#[derive(Debug)]
struct SpareFile {
    name: String,
    file: Box<dyn DiskFile>,
}

/// What a step of the writer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more.
    Worked,
    /// There is nothing to do.
    Idle,
    /// Something waits for space on the file system.
    NoSpace,
    /// The journal is closed, or has failed.
    Ended,
}

/// Why a step could not be finished.
enum Halt {
    NoSpace,
    Fatal(DiskError),
}

impl Halt {
    /// Lack of space can be waited for: what was written so far is written again, whole.
    fn of(error: DiskError) -> Self {
        if error.is_lack_of_space() { Self::NoSpace } else { Self::Fatal(error) }
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, current: Option<Found>) -> Self {
        let end = shared.state.lock().segments.back().map_or(0, |kept| kept.end);
        Self {
            shared,
            disk,
            current: current.map(|found| Current { name: found.name, file: found.file, offset: end }),
            spares: VecDeque::new(),
            made: 0,
            unwritten: None,
            buffer: Vec::new(),
            ask_at: None,
            patience: Duration::ZERO,
        }
    }

    /// One round: takes what is queued, writes and syncs it, tells who waits; removes one segment that nobody needs.
    pub fn step(&mut self) -> Step {
        match self.round() {
            Ok(step) => step,
            Err(Halt::NoSpace) => Step::NoSpace,
            Err(Halt::Fatal(error)) => {
                // Nobody is told that anything is durable, even if the process does not end here.
                (self.shared.settings.fatal)(&Fatal(error));
                self.shared.state.lock().end(Ended::Failed);
                Step::Ended
            }
        }
    }

    /// Steps until the journal is closed.
    pub(crate) fn run(mut self) {
        self.patience = ASK_AGAIN;
        loop {
            match self.step() {
                Step::Worked => {}
                Step::Idle => self.sleep(None),
                Step::NoSpace => self.sleep(Some(ASK_AGAIN)),
                Step::Ended => return,
            }
        }
    }

    fn sleep(&self, at_most: Option<Duration>) {
        let mut state = self.shared.state.lock();
        if let Some(at_most) = at_most {
            // Whatever there is to do waits for space, too.
            if state.phase == Phase::Open {
                self.shared.work.wait_for(&mut state, at_most);
            }
            return;
        }
        while state.phase == Phase::Open && state.pending.is_empty() && state.removable().is_none() {
            self.shared.work.wait(&mut state);
        }
    }

    fn round(&mut self) -> Result<Step, Halt> {
        let (phase, taken) = {
            let mut state = self.shared.state.lock();
            let taken = match self.unwritten.take() {
                Some(unwritten) => Some(unwritten),
                None => state.take(mem::take(&mut self.buffer)),
            };
            (state.phase, taken)
        };
        if let Phase::Ended(_) = phase {
            return Ok(Step::Ended);
        }
        let removed = self.remove_one()?;
        self.prepare()?;
        let Some((batch, last)) = taken else { return Ok(self.without_work(phase, removed)) };
        match self.write(&batch) {
            Ok(()) => {
                self.publish(batch, last);
                Ok(Step::Worked)
            }
            Err(Halt::NoSpace) if phase == Phase::Closing => {
                self.shared.state.lock().end(Ended::Closed);
                Ok(Step::Ended)
            }
            Err(halt) => {
                self.unwritten = Some((batch, last));
                self.shared.state.lock().starved = true;
                Err(halt)
            }
        }
    }

    fn without_work(&self, phase: Phase, removed: Removed) -> Step {
        let mut state = self.shared.state.lock();
        if phase == Phase::Closing && state.pending.is_empty() {
            state.end(Ended::Closed);
            return Step::Ended;
        }
        match (removed, state.spare) {
            (Removed::One, _) => Step::Worked,
            (Removed::Later, _) | (Removed::None, Spare::NoSpace) => Step::NoSpace,
            (Removed::None, _) => Step::Idle,
        }
    }

    /// Makes a segment in advance if there is none, while there may be one and there is space.
    fn prepare(&mut self) -> Result<(), Halt> {
        let bytes = self.shared.settings.segment_bytes;
        {
            let mut state = self.shared.state.lock();
            match state.spare {
                Spare::Ready(_) => return Ok(()),
                Spare::NoSpace if self.ask_at.is_some_and(|at| Instant::now() < at) => return Ok(()),
                Spare::Due | Spare::Full | Spare::NoSpace => {}
            }
            if state.allocated + bytes > self.shared.settings.max_bytes {
                state.spare = Spare::Full;
                return Ok(());
            }
        }
        self.made += 1;
        let name = format!("spare-{}", self.made);
        let created = self.disk.create(&name, bytes).map_err(DiskError::of("create", &name));
        match created.map_err(Halt::of) {
            Ok(file) => {
                self.spares.push_back(SpareFile { name, file });
                self.ask_at = None;
                let mut state = self.shared.state.lock();
                state.spare = Spare::Ready(bytes);
                state.allocated += bytes;
                Ok(())
            }
            Err(Halt::NoSpace) => {
                // What was taken before space ran out. If it cannot be given back, the next opening does.
                let _ = self.disk.remove(&name);
                self.ask_at = Some(Instant::now() + self.patience);
                self.shared.state.lock().spare = Spare::NoSpace;
                Ok(())
            }
            Err(halt) => Err(halt),
        }
    }

    /// Makes the first segment in advance, before any record comes. A full file system does not keep a journal from opening:
    /// what is in it can be read, applied and removed.
    pub(crate) fn prepare_first(&mut self) -> Result<(), DiskError> {
        match self.prepare() {
            Ok(()) | Err(Halt::NoSpace) => Ok(()),
            Err(Halt::Fatal(error)) => Err(error),
        }
    }

    /// Returns when all of it is durable, under its name.
    fn write(&mut self, batch: &Batch) -> Result<(), Halt> {
        if !batch.head.is_empty()
            && let Some(current) = &self.current
        {
            let written = write_all(&*current.file, current.offset, &batch.head);
            written.map_err(DiskError::of("write to", &current.name)).map_err(Halt::of)?;
            self.sync(&*current.file, &current.name)?;
        }
        if let (Some(next), Some(spare)) = (&batch.next, self.spares.front()) {
            let written = write_all(&*spare.file, 0, &next.bytes);
            written.map_err(DiskError::of("write to", &spare.name)).map_err(Halt::of)?;
            self.sync(&*spare.file, &spare.name)?;
            // Only now, with its first records durable and all before them: a name says both.
            let name = segment_name(next.first);
            let named = self.disk.rename(&spare.name, &name);
            named.map_err(DiskError::of("name", &name)).map_err(Halt::of)?;
            let synced = self.disk.sync_directory();
            synced.map_err(DiskError::of("sync the directory of", &name)).map_err(Halt::Fatal)?;
        }
        Ok(())
    }

    /// A sync that fails is the end, lack of space or not: which pages were written is unknown, and they count as clean.
    fn sync(&self, file: &dyn DiskFile, name: &str) -> Result<(), Halt> {
        let begun = Instant::now();
        file.sync_data().map_err(DiskError::of("sync", name)).map_err(Halt::Fatal)?;
        self.shared.state.lock().syncs.add(begun.elapsed());
        Ok(())
    }

    /// The batch is durable.
    fn publish(&mut self, mut batch: Batch, last: Sequence) {
        let mut state = self.shared.state.lock();
        if let Some(current) = &mut self.current {
            current.offset += batch.head.len() as u64;
            state.queued -= batch.head.len() as u64;
            if let Some(kept) = state.segments.back_mut() {
                kept.end = current.offset;
            }
        }
        if let Some(next) = &batch.next
            && let Some(spare) = self.spares.pop_front()
        {
            let (current, kept) = begun(next, spare, self.shared.settings.segment_bytes);
            state.queued -= current.offset - SEGMENT_HEAD as u64;
            state.segments.push_back(kept);
            self.current = Some(current);
        }
        self.shared.set_durable(last);
        state.in_flight = None;
        state.starved = false;
        drop(state);
        batch.landing.land();
        batch.head.clear();
        self.buffer = batch.head;
    }

    /// Removes the oldest segment, if nobody needs it. One at a time, each durably: a crash brings back the last one removed
    /// at most, which is next to what is kept, so there is never a gap.
    fn remove_one(&self) -> Result<Removed, Halt> {
        let Some(oldest) = self.shared.state.lock().removable() else { return Ok(Removed::None) };
        let removed = self.disk.remove(&oldest.name).map_err(DiskError::of("remove", &oldest.name));
        match removed.map_err(Halt::of) {
            Ok(()) => {}
            // A file system may need space to remove.
            Err(Halt::NoSpace) => return Ok(Removed::Later),
            Err(halt) => return Err(halt),
        }
        let synced = self.disk.sync_directory();
        synced.map_err(DiskError::of("sync the directory of", &oldest.name)).map_err(Halt::Fatal)?;
        let mut state = self.shared.state.lock();
        state.segments.pop_front();
        state.allocated -= oldest.bytes;
        Ok(Removed::One)
    }
}

/// The segment that a batch began.
fn begun(next: &NextSegment, spare: SpareFile, bytes: u64) -> (Current, Kept) {
    let (name, end) = (segment_name(next.first), next.bytes.len() as u64);
    let kept = Kept { name: name.clone(), first: next.first, bytes, end };
    (Current { name, file: spare.file, offset: end }, kept)
}

/// Whether a segment was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    One,
    None,
    Later,
}

impl Drop for Writer {
    /// Whoever waits must not wait for ever, also where the writer panicked.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if !matches!(state.phase, Phase::Ended(_)) {
            state.end(Ended::Failed);
        }
    }
}
