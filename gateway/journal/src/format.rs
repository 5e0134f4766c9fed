//! The bytes of the log, without I/O. All numbers are little-endian.
//!
//! A segment: [`SegmentHead`], records, zeros. A record: [`RecordHead`], payload, zeros up to a multiple of 8.
//!
//! Every checksum is CRC32C, begun with one over the journal's identity and the first sequence of the segment: a record of
//! another journal, or of what a file held before, never has it; nor can a client who does not know the identity write a
//! payload that reads as a record.

use tidegate_types::mutation::Sequence;

use crate::identity::JournalId;

/// Bytes before the first record.
pub(crate) const SEGMENT_HEAD: usize = 64;
/// Bytes before a payload.
pub(crate) const RECORD_HEAD: usize = 64;
/// The largest payload.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The version of this format. A reader refuses others.
pub(crate) const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"TIDEGSEG";
/// In [`RecordHead`]'s flags.
const HAS_IDEMPOTENCY: u32 = 1;

/// What a file of the journal is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileName {
    /// A segment, by its first sequence.
    Segment(Sequence),
    /// Made in advance, or not finished: of no meaning to another process.
    Scratch,
    /// Nothing of the log's.
    Other,
}

impl FileName {
    pub(crate) fn parse(name: &str) -> Self {
        if name.starts_with("spare-") || name == "identity.new" {
            return Self::Scratch;
        }
        match name.strip_suffix(".log").filter(|digits| digits.len() == 20).map(str::parse) {
            Some(Ok(first)) => Self::Segment(Sequence(first)),
            _ => Self::Other,
        }
    }
}

/// The name of the segment that begins with this record. Names sort as their segments do.
pub(crate) fn segment_name(first: Sequence) -> String {
    format!("{:020}.log", first.0)
}

/// What begins every checksum of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn of(journal: JournalId, first: Sequence) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&journal.0.to_le_bytes()), &first.0.to_le_bytes()))
    }

    fn over(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// How a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) journal: JournalId,
    pub(crate) first: Sequence,
    /// Of the whole file.
    pub(crate) bytes: u64,
}

/// What the first bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentStart {
    Head(SegmentHead),
    /// The checksum is right and the version another.
    Version(u32),
    Unreadable,
}

impl SegmentHead {
    /// Checksum of the rest, 4 bytes unused; magic; version, 4 bytes unused; identity; first; bytes; 8 bytes unused.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEAD] {
        let mut out = [0; SEGMENT_HEAD];
        put(&mut out, 8, &SEGMENT_MAGIC);
        put(&mut out, 16, &VERSION.to_le_bytes());
        put(&mut out, 24, &self.journal.0.to_le_bytes());
        put(&mut out, 40, &self.first.0.to_le_bytes());
        put(&mut out, 48, &self.bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&out[4..]);
        put(&mut out, 0, &checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEAD]) -> SegmentStart {
        if bytes[8..16] != SEGMENT_MAGIC || u32_at(bytes, 0) != crc32c::crc32c(&bytes[4..]) {
            return SegmentStart::Unreadable;
        }
        match u32_at(bytes, 16) {
            VERSION => SegmentStart::Head(Self {
                journal: JournalId(u128_at(bytes, 24)),
                first: Sequence(u64_at(bytes, 40)),
                bytes: u64_at(bytes, 48),
            }),
            other => SegmentStart::Version(other),
        }
    }
}

/// How a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHead {
    /// 1 and up.
    pub(crate) sequence: Sequence,
    /// The first record of the write in which this one left. When this one was written, everything before that one was
    /// durable: so a bad record below the `batch` of a later one was durable once, and is damage; one that is not may
    /// have been torn.
    pub(crate) batch: Sequence,
    /// Of the opening of the journal that wrote it.
    pub(crate) epoch: u64,
    pub(crate) partition: u32,
    pub(crate) idempotency: Option<u128>,
    pub(crate) payload_bytes: u32,
    payload_checksum: u32,
}

/// What the bytes at a place where a record may begin are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordStart {
    /// A head with its checksum.
    Head(RecordHead),
    /// Zeros: the log ends here.
    Empty,
    Unreadable,
}

/// The bytes a record with such a payload takes.
pub(crate) fn record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEAD + payload_bytes).next_multiple_of(ALIGNMENT)
}

impl RecordHead {
    /// The head of this record.
    pub(crate) fn new(seed: Seed, place: Placed, record: &crate::Record<'_>) -> Self {
        Self {
            sequence: place.sequence,
            batch: place.batch,
            epoch: place.epoch,
            partition: record.partition,
            idempotency: record.idempotency,
            // Larger payloads were refused; one that was not would be refused by whoever reads it.
            payload_bytes: u32::try_from(record.payload.len()).unwrap_or(u32::MAX),
            payload_checksum: seed.over(record.payload),
        }
    }

    /// Checksum of the rest, payload's length; sequence; batch; epoch; partition, payload's checksum; flags, 4 bytes unused;
    /// idempotency key.
    pub(crate) fn encode(&self, seed: Seed) -> [u8; RECORD_HEAD] {
        let mut out = [0; RECORD_HEAD];
        put(&mut out, 4, &self.payload_bytes.to_le_bytes());
        put(&mut out, 8, &self.sequence.0.to_le_bytes());
        put(&mut out, 16, &self.batch.0.to_le_bytes());
        put(&mut out, 24, &self.epoch.to_le_bytes());
        put(&mut out, 32, &self.partition.to_le_bytes());
        put(&mut out, 36, &self.payload_checksum.to_le_bytes());
        if let Some(key) = self.idempotency {
            put(&mut out, 40, &HAS_IDEMPOTENCY.to_le_bytes());
            put(&mut out, 48, &key.to_le_bytes());
        }
        let checksum = seed.over(&out[4..]);
        put(&mut out, 0, &checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(seed: Seed, bytes: &[u8; RECORD_HEAD]) -> RecordStart {
        if bytes.iter().all(|byte| *byte == 0) {
            return RecordStart::Empty;
        }
        if u32_at(bytes, 0) != seed.over(&bytes[4..]) {
            return RecordStart::Unreadable;
        }
        RecordStart::Head(Self {
            payload_bytes: u32_at(bytes, 4),
            sequence: Sequence(u64_at(bytes, 8)),
            batch: Sequence(u64_at(bytes, 16)),
            epoch: u64_at(bytes, 24),
            partition: u32_at(bytes, 32),
            payload_checksum: u32_at(bytes, 36),
            idempotency: (u32_at(bytes, 40) & HAS_IDEMPOTENCY != 0).then(|| u128_at(bytes, 48)),
        })
    }

    /// Whether this is the payload that was written.
    pub(crate) fn fits(&self, seed: Seed, payload: &[u8]) -> bool {
        self.payload_checksum == seed.over(payload)
    }
}

/// A record's place in the order of all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) sequence: Sequence,
    pub(crate) batch: Sequence,
    pub(crate) epoch: u64,
}

pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests;
