//! Reads the records of one segment, in bounded memory, and judges what follows them.

use bytes::Bytes;
use tidegate_types::mutation::Sequence;

use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    error::{Damage, OpenError},
    format::{
        ALIGNMENT, MAX_PAYLOAD, RECORD_HEAD, RecordHead, RecordStart, SEGMENT_HEAD, Seed, SegmentHead, SegmentStart,
        record_bytes, segment_name,
    },
    identity::{Identity, JournalId},
};

/// Read at a time.
const CHUNK: usize = 1 << 20;

/// A record as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its place in the order.
    pub sequence: Sequence,
    /// The opening of the journal that wrote it.
    pub epoch: u64,
    /// As given.
    pub partition: u32,
    /// As given.
    pub idempotency: Option<u128>,
    /// As given.
    pub payload: Bytes,
}

/// A segment that is there, and begins as it should.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) first: Sequence,
    /// Of the whole file.
    pub(crate) bytes: u64,
    pub(crate) file: Box<dyn DiskFile>,
}

/// Opens a segment and compares its head with its name and its journal.
pub(crate) fn open_segment(disk: &dyn Disk, journal: JournalId, first: Sequence) -> Result<Found, OpenError> {
    let name = segment_name(first);
    let file = disk.open(&name).map_err(DiskError::of("open", &name))?;
    let mut head = [0; SEGMENT_HEAD];
    read_full(&*file, 0, &mut head).map_err(DiskError::of("read", &name))?;
    let head = match SegmentHead::decode(&head) {
        SegmentStart::Head(head) => head,
        SegmentStart::Version(version) => return Err(OpenError::damaged(&name, 0, Damage::Version(version))),
        SegmentStart::Unreadable => return Err(OpenError::damaged(&name, 0, Damage::SegmentHead)),
    };
    if head.journal != journal {
        return Err(OpenError::damaged(&name, 0, Damage::Foreign(head.journal)));
    }
    if head.first != first {
        return Err(OpenError::damaged(&name, 0, Damage::SegmentHead));
    }
    let length = file.length().map_err(DiskError::of("measure", &name))?;
    if length < head.bytes {
        return Err(OpenError::damaged(&name, length, Damage::Short(head.bytes)));
    }
    Ok(Found { name, first, bytes: head.bytes, file })
}

/// What the next bytes of a segment are.
#[derive(Debug)]
pub(crate) enum Next {
    /// The record that should follow.
    Record(KeptRecord),
    /// Zeros, or no room for a record.
    End,
    /// Something else.
    Bad(Damage),
}

/// A place in a segment.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    segment: Found,
    seed: Seed,
    /// Where to stop.
    end: u64,
    /// The largest epoch there has been.
    newest_epoch: u64,
    buffer: Vec<u8>,
    /// Of the buffer, what is behind us.
    taken: usize,
    /// Where in the file the buffer begins.
    base: u64,
    /// What must come next.
    expected: Sequence,
    /// Of the record before.
    epoch: u64,
    /// The write of the record before, and where it began.
    batch: (Sequence, u64),
}

impl SegmentReader {
    /// At a segment's first record. `epoch`: of the record before it.
    pub(crate) fn new(segment: Found, identity: &Identity, epoch: u64, end: u64) -> Self {
        Self {
            seed: Seed::of(identity.journal, segment.first),
            end,
            newest_epoch: identity.epoch,
            buffer: Vec::new(),
            taken: 0,
            base: SEGMENT_HEAD as u64,
            expected: segment.first,
            epoch,
            batch: (segment.first, SEGMENT_HEAD as u64),
            segment,
        }
    }

    pub(crate) fn segment(&self) -> &Found {
        &self.segment
    }

    pub(crate) fn into_segment(self) -> Found {
        self.segment
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.taken as u64
    }

    /// Its sequence.
    pub(crate) fn expected(&self) -> Sequence {
        self.expected
    }

    /// The epoch of the record before.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the write began in which the record before left.
    pub(crate) fn batch_offset(&self) -> u64 {
        self.batch.1
    }

    /// Reads the next record, or says what is there instead, and stays.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Next, DiskError> {
        if self.offset() + RECORD_HEAD as u64 > self.end {
            return Ok(Next::End);
        }
        let seed = self.seed;
        let Some(head) = self.peek(RECORD_HEAD)? else { return Ok(Next::Bad(Damage::Length)) };
        let head = match RecordHead::decode(seed, &head_of(head)) {
            RecordStart::Head(head) => head,
            RecordStart::Empty => return Ok(Next::End),
            RecordStart::Unreadable => return Ok(Next::Bad(Damage::RecordHead)),
        };
        if let Some(damage) = self.judge(&head) {
            return Ok(Next::Bad(damage));
        }
        let payload_bytes = head.payload_bytes as usize;
        let bytes = record_bytes(payload_bytes);
        let Some(record) = self.peek(bytes)? else { return Ok(Next::Bad(Damage::Length)) };
        let payload = &record[RECORD_HEAD..RECORD_HEAD + payload_bytes];
        if !head.fits(seed, payload) {
            return Ok(Next::Bad(Damage::Payload));
        }
        let payload = Bytes::copy_from_slice(payload);
        if head.batch != self.batch.0 {
            self.batch = (head.batch, self.offset());
        }
        self.taken += bytes;
        self.expected = Sequence(head.sequence.0 + 1);
        self.epoch = head.epoch;
        let RecordHead { sequence, epoch, partition, idempotency, .. } = head;
        Ok(Next::Record(KeptRecord { sequence, epoch, partition, idempotency, payload }))
    }

    /// What is wrong with a head that has its checksum.
    fn judge(&self, head: &RecordHead) -> Option<Damage> {
        if head.sequence != self.expected {
            return Some(Damage::Gap { expected: self.expected, found: head.sequence });
        }
        if head.epoch < self.epoch || head.epoch > self.newest_epoch {
            return Some(Damage::Epoch(head.epoch));
        }
        let payload_bytes = head.payload_bytes as usize;
        let room = self.end - self.offset();
        if payload_bytes > MAX_PAYLOAD || record_bytes(payload_bytes) as u64 > room {
            return Some(Damage::Length);
        }
        None
    }

    /// The next bytes, without taking them; `None` where the file ends before.
    fn peek(&mut self, bytes: usize) -> Result<Option<&[u8]>, DiskError> {
        if self.buffer.len() - self.taken < bytes {
            self.buffer.drain(..self.taken);
            self.base += self.taken as u64;
            self.taken = 0;
            let kept = self.buffer.len();
            let room = usize::try_from(self.end - self.base).unwrap_or(usize::MAX);
            self.buffer.resize(bytes.max(CHUNK).min(room), 0);
            let from = self.base + kept as u64;
            let read = read_full(&*self.segment.file, from, &mut self.buffer[kept..])
                .map_err(DiskError::of("read", &self.segment.name))?;
            self.buffer.truncate(kept + read);
        }
        Ok(self.buffer.get(self.taken..self.taken + bytes))
    }
}

/// What lies behind the last record of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remainder {
    /// Zeros.
    Clean,
    /// What was written last and never durable: nothing that is not zero lies at or after `until`.
    Torn {
        /// An offset in the file.
        until: u64,
    },
    /// A record that was written when the missing one was durable.
    Proof {
        /// Where, in bytes.
        offset: u64,
    },
}

/// Judges what follows `from`, where the record `missing` should be.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn judge_remainder(
    segment: &Found,
    seed: Seed,
    from: u64,
    missing: Sequence,
) -> Result<Remainder, DiskError> {
    let mut until = None;
    let mut at = from;
    let mut chunk = vec![0; CHUNK];
    while at < segment.bytes {
        let room = usize::try_from(segment.bytes - at).unwrap_or(usize::MAX).min(CHUNK);
        let read = read_full(&*segment.file, at, &mut chunk[..room]).map_err(DiskError::of("read", &segment.name))?;
        let bytes = &chunk[..read];
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            until = Some(at + last as u64 + 1);
            if let Some(offset) = proof(bytes, seed, missing) {
                return Ok(Remainder::Proof { offset: at + offset as u64 });
            }
        }
        if read < room || read <= RECORD_HEAD {
            break;
        }
        // A head may lie across the end of a chunk: the next one begins before it.
        let next = at + (read - RECORD_HEAD) as u64;
        at = if at + read as u64 >= segment.bytes { segment.bytes } else { next };
    }
    Ok(until.map_or(Remainder::Clean, |until| Remainder::Torn { until }))
}

/// Where in these bytes there is the head of a record that was written when `missing` was durable.
fn proof(bytes: &[u8], seed: Seed, missing: Sequence) -> Option<usize> {
    let heads = bytes.windows(RECORD_HEAD).step_by(ALIGNMENT);
    heads.enumerate().find_map(|(index, head)| match RecordHead::decode(seed, &head_of(head)) {
        RecordStart::Head(head) if head.batch > missing => Some(index * ALIGNMENT),
        _ => None,
    })
}

fn head_of(bytes: &[u8]) -> [u8; RECORD_HEAD] {
    let mut head = [0; RECORD_HEAD];
    head.copy_from_slice(&bytes[..RECORD_HEAD]);
    head
}
