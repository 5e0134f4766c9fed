//! What a journal does about files that are not as it left them: what was torn is cleared, what is damaged is refused, with the
//! file and the place.

use crate::support::{RECORD, SEGMENT, append, change, log_of, open, read_all, segments};
use tidegate_journal::{Damage, OpenError, disk::Disk, simulated::SimulatedDisk};
use tidegate_types::mutation::Sequence;

/// Where a record of the first segment begins, the first being 0. A segment takes 24.
fn at(record: usize) -> usize {
    64 + record * RECORD
}

fn refusal(disk: &SimulatedDisk) -> (String, u64, Damage, String) {
    let error = read_all(disk).expect_err("the journal must not open");
    let text = error.to_string();
    match error {
        OpenError::Damaged { file, offset, damage } => (file, offset, damage, text),
        other => panic!("{other}"),
    }
}

#[test]
fn a_damaged_record_before_acknowledged_ones_is_refused_with_file_and_offset() {
    let disk = log_of(4);
    let [segment] = &segments(&disk)[..] else { panic!() };
    change(&disk, segment, |bytes| bytes[at(4) + 70] ^= 1);
    let (file, offset, damage, text) = refusal(&disk);
    assert_eq!((file.as_str(), offset, damage), (segment.as_str(), at(4) as u64, Damage::Payload));
    assert!(text.contains(&format!("{segment}, byte {}", at(4))) && text.contains("from a copy"), "{text}");
    assert_eq!(disk.bytes_of(segment).unwrap()[at(4) + 70], 3, "nothing may be changed");
}

#[test]
fn a_damaged_head_before_acknowledged_ones_is_refused() {
    let disk = log_of(4);
    let name = &segments(&disk)[0];
    change(&disk, name, |bytes| bytes[at(5)..at(6)].fill(0));
    assert_eq!(refusal(&disk).1, at(5) as u64);
}

#[test]
fn what_was_torn_out_of_the_last_write_is_cleared_though_records_of_that_write_follow() {
    let disk = log_of(4);
    let name = segments(&disk)[0].clone();
    // The last write is records 10 to 12; 11 did not reach the disk.
    change(&disk, &name, |bytes| bytes[at(10)..at(11)].fill(0));
    let (journal, mut writer, recovered) = open(&disk).unwrap();
    let torn = recovered.torn().unwrap().clone();
    assert_eq!((torn.file.as_str(), torn.offset), (name.as_str(), at(10) as u64));
    assert_eq!(torn.cleared, (at(12) - at(10) - 4) as u64, "up to the last byte that is not zero");
    assert_eq!(recovered.newest(), Sequence(10));
    // A record as long as the one that is missing: the old record 12 would follow it.
    assert_eq!(append(&journal, &[9; 100]).sequence(), Sequence(11));
    writer.step();
    let kept = read_all(&disk.after_power_loss()).unwrap();
    assert_eq!(kept.len(), 11);
    assert_eq!(kept[10].payload[..], [9; 100]);
}

#[test]
fn damage_in_an_older_segment_is_refused_when_it_is_read() {
    let disk = log_of(20);
    let names = segments(&disk);
    assert!(names.len() > 2);
    change(&disk, &names[1], |bytes| bytes[at(2)] ^= 0x80);
    let (file, offset, damage, _) = refusal(&disk);
    assert_eq!((file, offset, damage), (names[1].clone(), at(2) as u64, Damage::RecordHead));
}

#[test]
fn a_segment_that_is_missing_is_a_gap() {
    let disk = log_of(20);
    let names = segments(&disk);
    disk.remove(&names[1]).unwrap();
    let (file, _, damage, text) = refusal(&disk);
    assert_eq!(file, names[0]);
    assert!(matches!(damage, Damage::Gap { expected: Sequence(25), found: Sequence(49) }), "{text}");
}

#[test]
fn a_log_that_is_shorter_than_at_its_last_opening_is_refused() {
    let disk = log_of(20);
    read_all(&disk).unwrap();
    for name in segments(&disk).iter().skip(1) {
        disk.remove(name).unwrap();
    }
    assert!(matches!(refusal(&disk).2, Damage::Cut { reached: Sequence(60), last: Sequence(24) }));
    disk.remove(&segments(&disk)[0]).unwrap();
    assert!(matches!(refusal(&disk).2, Damage::Cut { reached: Sequence(60), last: Sequence(0) }));
}

#[test]
fn a_segment_of_another_journal_is_refused() {
    let (disk, other) = (log_of(20), log_of(20));
    let names = segments(&disk);
    change(&disk, &names[1], |bytes| *bytes = other.bytes_of(&names[1]).unwrap());
    assert!(matches!(refusal(&disk), (file, 0, Damage::Foreign(_), _) if file == names[1]));
}

#[test]
fn records_of_another_journal_or_segment_are_never_read() {
    let disk = log_of(4);
    let name = segments(&disk)[0].clone();
    let before = read_all(&disk).unwrap();
    // Twelve records of this log are followed by the thirteenth of another, then of this journal in another place.
    let (other, longer) = (log_of(5), log_of(20));
    for stale in [other.bytes_of(&name).unwrap()[at(12)..at(15)].to_vec(), {
        let second = segments(&longer)[1].clone();
        longer.bytes_of(&second).unwrap()[64..64 + 3 * RECORD].to_vec()
    }] {
        change(&disk, &name, |bytes| bytes[at(12)..at(12) + stale.len()].copy_from_slice(&stale));
        let (_, _, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.torn().unwrap().offset, at(12) as u64);
        assert_eq!(recovered.collect::<Result<Vec<_>, _>>().unwrap(), before);
        assert!(disk.bytes_of(&name).unwrap()[at(12)..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn segments_without_an_identity_and_an_identity_that_cannot_be_read_are_refused() {
    let disk = log_of(2);
    disk.remove("identity").unwrap();
    assert_eq!(refusal(&disk).2, Damage::NoIdentity);

    let disk = log_of(2);
    change(&disk, "identity", |bytes| bytes.fill(7));
    assert_eq!(refusal(&disk).2, Damage::Identity);
}

#[test]
fn one_slot_of_the_identity_is_enough() {
    let disk = log_of(2);
    let id = open(&disk).unwrap().0.id();
    for slot in [0, 4096] {
        let disk = disk.after_kill();
        change(&disk, "identity", |bytes| bytes[slot + 20] ^= 1);
        let (journal, _, recovered) = open(&disk).unwrap();
        assert_eq!(journal.id(), id);
        assert_eq!(recovered.count(), 6);
    }
}

#[test]
fn every_byte_of_the_last_segment_matters_or_is_torn() {
    let disk = log_of(3);
    let name = segments(&disk)[0].clone();
    // Of a copy: an opening notes how far the log reached, and then no record of it may be missing.
    let whole = read_all(&disk.after_kill()).unwrap();
    for byte in 0..usize::try_from(SEGMENT).unwrap() {
        let disk = disk.after_kill();
        change(&disk, &name, |bytes| bytes[byte] ^= 0x55);
        match read_all(&disk) {
            // Records 1 to 6 are in writes that another one followed.
            Err(OpenError::Damaged { file, offset, .. }) => {
                assert!(file == name && byte < at(6), "{byte}");
                let place = offset..offset + RECORD as u64;
                assert!(place.contains(&(byte as u64)), "{byte} is said to be at {offset}");
            }
            Err(other) => panic!("{byte}: {other}"),
            Ok(kept) => {
                let padding = (at(0)..at(6)).contains(&byte) && (byte - at(0)) % RECORD >= 64 + 100;
                assert!(byte >= at(6) || padding, "{byte} does not matter");
                assert_eq!(kept[..], whole[..kept.len()], "{byte}");
                assert!(kept.len() >= 6, "{byte}");
            }
        }
    }
}

#[test]
fn another_version_is_named() {
    let disk = log_of(2);
    let name = segments(&disk)[0].clone();
    change(&disk, &name, |bytes| {
        bytes[16] = 2;
        let checksum = crc32c::crc32c(&bytes[4..64]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    });
    assert_eq!(refusal(&disk).2, Damage::Version(2));
}
