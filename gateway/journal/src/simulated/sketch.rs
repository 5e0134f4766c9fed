//! A log from arbitrary bytes: records with right checksums and wrong contents, wrong checksums, holes and noise. For the fuzz
//! target and the property test, which say of each only what holds for all.

use std::sync::Arc;

use tidegate_types::mutation::Sequence;

use super::SimulatedDisk;
use crate::{
    Journal, OpenError, Record, Settings,
    format::{ALIGNMENT, Placed, RECORD_HEAD, RecordHead, Seed, SegmentHead, put, segment_name},
    identity::{Identity, JournalId},
};

const JOURNAL: JournalId = JournalId(7);
const SEGMENT_BYTES: u64 = 4096;
/// Bytes of the input that make one record.
const STROKE: usize = 6;

/// Opens a journal whose files are made of these bytes, twice, and says how many records it had.
///
/// # Errors
/// The journal does not open.
///
/// # Panics
/// If opening does what it never may: read records that do not follow one another, or read others
/// when asked again.
pub fn recover(data: &[u8]) -> Result<usize, OpenError> {
    let disk = SimulatedDisk::new(1);
    let mut identity = Identity { journal: JOURNAL, epoch: 4, reached: Sequence(0) }.encode().to_vec();
    identity.resize(8192, 0);
    disk.put("identity", &identity);
    let middle = data.len() / 2;
    let next = draw(&disk, Sequence(1), &data[..middle]);
    if data.first().is_some_and(|byte| byte % 4 == 0) {
        draw(&disk, next, &data[middle..]);
    }
    let first = read(&disk)?;
    let second = read(&disk).unwrap_or_else(|error| panic!("a log that was read is refused: {error}"));
    assert_eq!(first, second, "what was read once is read again");
    Ok(first.len())
}

fn read(disk: &SimulatedDisk) -> Result<Vec<(u64, Vec<u8>)>, OpenError> {
    let settings = Settings {
        segment_bytes: SEGMENT_BYTES,
        max_bytes: 8 * SEGMENT_BYTES,
        max_queued_bytes: 1900,
        ..Settings::default()
    };
    let (_journal, _writer, recovered) = Journal::open_by_hand(Arc::new(disk.clone()), settings)?;
    let sequences = recovered.oldest().0..;
    let mut kept = Vec::new();
    for (next, record) in sequences.zip(recovered) {
        let record = record?;
        assert_eq!(record.sequence.0, next, "records follow one another");
        assert!(record.payload.len() as u64 <= SEGMENT_BYTES);
        kept.push((next, record.payload.to_vec()));
    }
    Ok(kept)
}

/// A segment, and which sequence should follow it.
fn draw(disk: &SimulatedDisk, first: Sequence, data: &[u8]) -> Sequence {
    let seed = Seed::of(JOURNAL, first);
    let mut bytes = SegmentHead { journal: JOURNAL, first, bytes: SEGMENT_BYTES }.encode().to_vec();
    let (mut sequence, mut batch) = (first.0, first.0);
    for stroke in data.chunks_exact(STROKE) {
        let [what, length, value, forward, epoch, noise] = *stroke else { continue };
        let payload = vec![value; usize::from(length)];
        if what & 1 != 0 {
            batch = sequence;
        }
        // Every kind of lie, one stroke in sixteen each.
        let lie = if what >> 4 == 1 { u64::from(forward) } else { 0 };
        let place = Placed {
            sequence: Sequence(sequence.wrapping_add(lie)),
            batch: Sequence(if what >> 4 == 2 { batch.wrapping_add(u64::from(forward)) } else { batch }),
            epoch: if what >> 4 == 3 { u64::from(epoch) } else { 4 },
        };
        let record = Record { partition: u32::from(value), idempotency: None, payload: &payload };
        let mut head = RecordHead::new(seed, place, &record);
        if what >> 4 == 4 {
            head.payload_bytes = u32::from_le_bytes([length, forward, epoch, noise]);
        }
        let mut encoded = head.encode(seed).to_vec();
        encoded.extend_from_slice(&payload);
        encoded.resize(encoded.len().next_multiple_of(ALIGNMENT), 0);
        match what >> 4 {
            5 => encoded[usize::from(noise) % RECORD_HEAD] ^= forward,
            6 => encoded.fill(0),
            _ => {}
        }
        bytes.extend_from_slice(&encoded);
        sequence += 1;
    }
    let mut file = vec![0; usize::try_from(SEGMENT_BYTES).unwrap_or_default()];
    let taken = bytes.len().min(file.len());
    put(&mut file, 0, &bytes[..taken]);
    disk.put(&segment_name(first), &file);
    Sequence(sequence)
}
