//! A journal on a simulated disk beside a model of what it must not forget.

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use tidegate_types::mutation::Sequence;

use crate::{
    AppendError, Ended, Journal, JournalId, KeptRecord, OpenError, Record, Recovered, Settings, Ticket, Writer,
    simulated::{Fault, Operation, Power, SimulatedDisk},
    writer::Step,
};

/// The segments of a world: small, so that a few records fill one.
pub const SEGMENT_BYTES: u64 = 4096;
/// What a world's journal may take.
pub const MAX_BYTES: u64 = 8 * SEGMENT_BYTES;
const MAX_QUEUED_BYTES: u64 = 1900;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// `kill -9`: what it wrote is there, and as durable as it was.
    Kill,
    /// The machine stops: of what was not durable, anything may be there.
    Power,
}

impl Loss {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Kill, Self::Power];
}

/// Something that is done to a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A record with so large a payload is given to it.
    Append {
        /// Of the payload.
        bytes: usize,
    },
    /// The writer makes a step.
    Step,
    /// All but the newest records are released.
    Release {
        /// How many of those that are durable are not.
        keep: u64,
    },
    /// The disk will fail.
    Fail {
        /// At which kind of order.
        operation: Operation,
        /// At which of them from now.
        nth: u64,
        /// How.
        fault: Fault,
    },
    /// The process will end at the n-th order from now.
    CrashAt {
        /// From 1.
        nth: u64,
    },
    /// From now on the disk has room for what it holds and so many bytes.
    Room {
        /// Beyond what it holds.
        bytes: u64,
    },
    /// The disk does not fail any more and has all the room.
    Mend,
    /// The process ends, and another one opens the journal.
    Restart {
        /// How it ends.
        loss: Loss,
        /// Whether the one that opens it ends as well, at which of its orders to the disk.
        again: Option<u64>,
    },
}

/// What was seen while doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that were refused.
    pub refused: u64,
    /// Records that were read when a journal was opened.
    pub recovered: u64,
    /// Of those, the ones that nobody had been told of.
    pub unasked: u64,
    /// Openings.
    pub opened: u64,
    /// Openings that found a torn write.
    pub torn: u64,
    /// Faults that ended a process.
    pub crashes: u64,
    /// Steps and appends that found no space.
    pub starved: u64,
    /// Segments that were removed.
    pub removed: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.recovered += other.recovered;
        self.unasked += other.unasked;
        self.opened += other.opened;
        self.torn += other.torn;
        self.crashes += other.crashes;
        self.starved += other.starved;
        self.removed += other.removed;
    }
}

/// What one record held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    partition: u32,
    idempotency: Option<u128>,
    payload: Vec<u8>,
}

/// A process and its journal. `Err` of any method is what the journal did wrong, in words.
#[derive(Debug)]
pub struct World {
    disk: SimulatedDisk,
    process: Option<(Journal, Writer)>,
    rng: Rng,
    identity: Option<JournalId>,
    epoch: u64,
    /// What was taken and not lost, by sequence.
    taken: BTreeMap<u64, Content>,
    /// Of those, not known to be durable.
    waiting: Vec<Ticket>,
    acknowledged: u64,
    released: u64,
    /// Whether something was armed that may still come.
    faulty: bool,
    seen: Seen,
}

impl World {
    /// A journal that was just made.
    ///
    /// # Errors
    /// It could not be.
    pub fn new(seed: u64) -> Result<Self, String> {
        let mut world = Self {
            disk: SimulatedDisk::new(seed),
            process: None,
            rng: Rng::with_seed(seed ^ 0x7469_6465),
            identity: None,
            epoch: 0,
            taken: BTreeMap::new(),
            waiting: Vec::new(),
            acknowledged: 0,
            released: 0,
            faulty: false,
            seen: Seen::default(),
        };
        let opened = world.open().map_err(|error| error.to_string())?;
        world.compare(opened)?;
        Ok(world)
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Whether the process has ended and only [`Deed::Restart`] has an effect.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.process.is_none() || self.disk.power() == Power::Crashed
    }

    /// Does something, and compares.
    ///
    /// # Errors
    /// What the journal did wrong.
    pub fn act(&mut self, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::Append { bytes } => self.append(bytes),
            Deed::Step => self.step(),
            Deed::Release { keep } => {
                self.release(keep);
                Ok(())
            }
            Deed::Fail { operation, nth, fault } => {
                self.faulty = true;
                self.disk.fail(operation, nth, fault);
                Ok(())
            }
            Deed::CrashAt { nth } => {
                self.faulty = true;
                self.disk.crash_at(nth);
                Ok(())
            }
            Deed::Room { bytes } => {
                self.faulty = true;
                self.disk.set_capacity(self.disk.used() + bytes);
                Ok(())
            }
            Deed::Mend => {
                self.mend();
                Ok(())
            }
            Deed::Restart { loss, again } => self.restart(loss, again),
        }
    }

    fn mend(&mut self) {
        self.faulty = false;
        self.disk.disarm();
        self.disk.set_capacity(u64::MAX);
    }

    fn append(&mut self, bytes: usize) -> Result<(), String> {
        let Some((journal, _)) = &self.process else { return Ok(()) };
        let content = Content {
            partition: self.rng.u32(..),
            idempotency: self.rng.bool().then(|| self.rng.u128(..)),
            payload: (0..bytes).map(|_| self.rng.u8(..)).collect(),
        };
        let record =
            Record { partition: content.partition, idempotency: content.idempotency, payload: &content.payload };
        match journal.append(&record) {
            Ok(ticket) => {
                let Sequence(sequence) = ticket.sequence();
                let expected = self.taken.last_key_value().map_or(self.acknowledged, |(last, _)| *last) + 1;
                if sequence != expected {
                    return Err(format!("record {sequence} was given, {expected} is next"));
                }
                self.taken.insert(sequence, content);
                self.waiting.push(ticket);
            }
            Err(error) => {
                self.seen.refused += 1;
                self.seen.starved += u64::from(error == AppendError::NoSpace);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let Some((journal, writer)) = &mut self.process else { return Ok(()) };
        let before = journal.stats().segments;
        let step = writer.step();
        let stats = journal.stats();
        self.seen.removed += before.saturating_sub(stats.segments) as u64;
        self.seen.starved += u64::from(step == Step::NoSpace);
        self.seen.crashes += u64::from(step == Step::Ended);
        let durable = stats.durable.0;
        for ticket in std::mem::take(&mut self.waiting) {
            match ticket.outcome() {
                Some(Ok(())) => {
                    let Sequence(sequence) = ticket.sequence();
                    self.acknowledged = self.acknowledged.max(sequence);
                    self.seen.acknowledged += 1;
                    if sequence > durable {
                        return Err(format!("record {sequence} was acknowledged, {durable} is the last durable one"));
                    }
                }
                Some(Err(Ended::Closed | Ended::Failed)) => {}
                None => self.waiting.push(ticket),
            }
        }
        if durable > self.acknowledged {
            return Err(format!("{durable} counts as durable, {} was acknowledged", self.acknowledged));
        }
        let in_order = self.waiting.is_empty() && matches!(step, Step::Worked | Step::Idle);
        // What is made for later and cannot be is left alone, also where the process ended at it: the next order tells.
        let ended = self.disk.power() == Power::Crashed;
        if !(self.faulty || in_order || ended) {
            return Err(format!("the disk works, a step came to {step:?}, and {} records wait", self.waiting.len()));
        }
        if step == Step::Ended {
            self.process = None;
        }
        Ok(())
    }

    fn release(&mut self, keep: u64) {
        if let Some((journal, _)) = &self.process {
            self.released = self.released.max(self.acknowledged.saturating_sub(keep));
            journal.release(Sequence(self.released));
        }
    }

    fn restart(&mut self, loss: Loss, again: Option<u64>) -> Result<(), String> {
        self.end(loss);
        if let Some(nth) = again {
            self.disk.crash_at(nth);
            match self.open() {
                Ok(opened) if self.disk.power() == Power::On => drop(opened),
                Ok(_) => {}
                Err(_) if self.disk.power() == Power::Crashed => self.seen.crashes += 1,
                Err(error) => return Err(format!("the journal does not open: {error}")),
            }
            let loss = if self.rng.bool() { Loss::Kill } else { Loss::Power };
            self.end(loss);
        }
        match self.open() {
            Ok(opened) => self.compare(opened),
            Err(error) => Err(format!("the journal does not open: {error}")),
        }
    }

    /// The process ends, and the disk is what is left of it.
    fn end(&mut self, loss: Loss) {
        self.process = None;
        self.waiting.clear();
        self.disk = match loss {
            Loss::Kill => self.disk.after_kill(),
            Loss::Power => self.disk.after_power_loss(),
        };
    }

    fn open(&mut self) -> Result<(Journal, Writer, Recovered), OpenError> {
        self.seen.opened += 1;
        let settings = Settings {
            segment_bytes: SEGMENT_BYTES,
            max_bytes: MAX_BYTES,
            max_queued_bytes: MAX_QUEUED_BYTES,
            fatal: Arc::new(|_| {}),
        };
        Journal::open_by_hand(Arc::new(self.disk.clone()), settings)
    }

    /// What was acknowledged is there, once and in order; so may be what was taken; nothing else is.
    fn compare(&mut self, opened: (Journal, Writer, Recovered)) -> Result<(), String> {
        let (journal, writer, mut recovered) = opened;
        self.seen.torn += u64::from(recovered.torn().is_some());
        if self.identity.is_some_and(|identity| identity != journal.id()) {
            return Err("the journal has another identity".to_owned());
        }
        if journal.epoch() <= self.epoch {
            return Err(format!("epoch {} after {}", journal.epoch(), self.epoch));
        }
        self.identity = Some(journal.id());
        self.epoch = journal.epoch();
        let first = recovered.oldest().0;
        if first > self.released + 1 {
            return Err(format!("{first} is the first record, and only {} is released", self.released));
        }
        let mut next = first;
        for record in recovered.by_ref() {
            let record = record.map_err(|error| error.to_string())?;
            self.compare_record(&record, next)?;
            next += 1;
        }
        let last = next - 1;
        if last < self.acknowledged {
            return Err(format!("{} was acknowledged, {last} is the last record", self.acknowledged));
        }
        if recovered.newest().0 != last || journal.durable().0 != last || journal.last().0 != last {
            return Err(format!("{last} is the last record, and the journal says {:?}", recovered.newest()));
        }
        self.seen.unasked += last - self.acknowledged;
        self.acknowledged = last;
        // What was lost had not been acknowledged: its sequence is free again.
        self.taken.split_off(&next);
        self.process = Some((journal, writer));
        Ok(())
    }

    fn compare_record(&mut self, record: &KeptRecord, next: u64) -> Result<(), String> {
        self.seen.recovered += 1;
        if record.sequence.0 != next {
            return Err(format!("record {} follows, {next} is next", record.sequence.0));
        }
        let content =
            Content { partition: record.partition, idempotency: record.idempotency, payload: record.payload.to_vec() };
        match self.taken.get(&next) {
            Some(taken) if *taken == content => Ok(()),
            Some(_) => Err(format!("record {next} is not what was written")),
            None => Err(format!("record {next} was never taken")),
        }
    }
}
