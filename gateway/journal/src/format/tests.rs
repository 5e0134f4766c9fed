//! The format as version 1 has it, on disk, for ever.

use std::sync::Arc;

use super::*;
use crate::{Journal, Record, Settings, identity::Identity, simulated::SimulatedDisk};

const JOURNAL: JournalId = JournalId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn golden_identity() -> Vec<u8> {
    let mut file = vec![0; 8192];
    let slot = Identity { journal: JOURNAL, epoch: 3, reached: Sequence(40) };
    put(&mut file, 4096, &slot.encode());
    file
}

/// Two writes: a record alone, then two together.
fn golden_segment() -> Vec<u8> {
    let first = Sequence(41);
    let seed = Seed::of(JOURNAL, first);
    let mut out = SegmentHead { journal: JOURNAL, first, bytes: 4096 }.encode().to_vec();
    let records = [
        (41, 41, Record { partition: 0, idempotency: None, payload: b"" }),
        (42, 42, Record { partition: 7, idempotency: Some(1 << 100 | 5), payload: b"eleven byte" }),
        (43, 42, Record { partition: u32::MAX, idempotency: Some(0), payload: &[0xff; 16] }),
    ];
    for (sequence, batch, record) in records {
        let place = Placed { sequence: Sequence(sequence), batch: Sequence(batch), epoch: 3 };
        out.extend_from_slice(&RecordHead::new(seed, place, &record).encode(seed));
        out.extend_from_slice(record.payload);
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    }
    out
}

#[test]
fn what_is_written_is_what_version_1_wrote() {
    assert!(golden_segment() == include_bytes!("../../golden/segment"), "the format changed: give it a new version");
    assert!(golden_identity() == include_bytes!("../../golden/identity"), "the format changed: give it a new version");
}

#[test]
fn what_version_1_wrote_can_be_read() {
    let disk = SimulatedDisk::new(1);
    disk.put("identity", include_bytes!("../../golden/identity"));
    let mut segment = include_bytes!("../../golden/segment").to_vec();
    segment.resize(4096, 0);
    disk.put("00000000000000000041.log", &segment);
    let settings = Settings { segment_bytes: 4096, max_queued_bytes: 1900, ..Settings::default() };
    let (journal, _writer, recovered) = Journal::open_by_hand(Arc::new(disk), settings).unwrap();
    assert_eq!((journal.id(), journal.epoch(), journal.durable()), (JOURNAL, 4, Sequence(43)));
    let kept = recovered.collect::<Result<Vec<_>, _>>().unwrap();
    let shown = kept.iter().map(|kept| {
        (kept.sequence.0, kept.epoch, kept.partition, kept.idempotency, String::from_utf8_lossy(&kept.payload))
    });
    let expected = [
        (41, 3, 0, None, "".into()),
        (42, 3, 7, Some(1 << 100 | 5), "eleven byte".into()),
        (43, 3, u32::MAX, Some(0), "\u{fffd}".repeat(16).into()),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn a_segment_of_an_empty_file_has_no_record_in_it() {
    for first in [1, 2, u64::MAX] {
        let seed = Seed::of(JOURNAL, Sequence(first));
        assert_eq!(RecordHead::decode(seed, &[0; RECORD_HEAD]), RecordStart::Empty);
    }
}

#[test]
fn names_sort_as_their_segments_do() {
    let names = [1, 9, 10, 4_000_000_000, u64::MAX].map(|first| segment_name(Sequence(first)));
    assert!(names.is_sorted());
    assert_eq!(FileName::parse(&names[4]), FileName::Segment(Sequence(u64::MAX)));
    assert_eq!(FileName::parse("spare-7"), FileName::Scratch);
    assert_eq!(FileName::parse("identity.new"), FileName::Scratch);
    for other in ["lock", "identity", "1.log", "0000000000000000000x.log", "99999999999999999999.log", ".log"] {
        assert_eq!(FileName::parse(other), FileName::Other, "{other}");
    }
}
