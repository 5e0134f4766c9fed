//! What a caller sees: order, acknowledgement, bounds, failure.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use crate::support::{append, open, read_all, record, segments, settings};
use tidegate_journal::{
    AppendError, Ended, Journal, OpenError, Settings, Space,
    simulated::{Fault, Operation, SimulatedDisk},
    writer::Step,
};
use tidegate_types::mutation::Sequence;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn records_have_their_sequences_at_once_and_are_durable_after_one_sync() {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    let tickets = [append(&journal, b"a"), append(&journal, b"b")];
    assert_eq!(tickets.each_ref().map(|ticket| ticket.sequence().0), [1, 2]);
    assert_eq!((journal.last(), journal.durable()), (Sequence(2), Sequence(0)));
    assert!(tickets.iter().all(|ticket| ticket.outcome().is_none()));
    let syncs = disk.count(Operation::Sync);
    assert_eq!(writer.step(), Step::Worked);
    assert_eq!(disk.count(Operation::Sync), syncs + 1, "one sync for both");
    assert!(tickets.iter().all(|ticket| ticket.outcome() == Some(Ok(()))));
    assert_eq!(journal.durable(), Sequence(2));
    assert_eq!(writer.step(), Step::Idle);
}

#[test]
fn who_comes_after_a_write_has_left_waits_for_the_next_one() {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    let earlier = append(&journal, b"a");
    writer.step();
    let later = append(&journal, b"b");
    assert_eq!((earlier.outcome(), later.outcome()), (Some(Ok(())), None));
    assert_eq!(writer.step(), Step::Worked);
    assert_eq!(later.outcome(), Some(Ok(())));
}

#[test]
fn nobody_waits_for_a_writer_that_is_gone() {
    let (journal, writer, _) = open(&SimulatedDisk::new(1)).unwrap();
    let ticket = append(&journal, b"a");
    drop(writer);
    assert_eq!(ticket.outcome(), Some(Err(Ended::Failed)));
    assert_eq!(journal.append(&record(b"b")).unwrap_err(), AppendError::Ended(Ended::Failed));
}

#[test]
fn records_come_back_with_everything_they_were_given() {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    let given = tidegate_journal::Record { partition: 9, idempotency: Some(u128::MAX - 1), payload: b"row" };
    drop(journal.append(&given).unwrap());
    drop(append(&journal, b""));
    writer.step();
    let kept = read_all(&disk.after_power_loss()).unwrap();
    assert_eq!((kept[0].partition, kept[0].idempotency, &kept[0].payload[..]), (9, Some(u128::MAX - 1), &b"row"[..]));
    assert_eq!((kept[1].partition, kept[1].idempotency, &kept[1].payload[..]), (1, None, &b""[..]));
    assert_eq!((kept[0].epoch, kept[1].sequence), (1, Sequence(2)));
}

#[test]
fn what_may_wait_for_the_disk_is_bounded() {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    assert!(matches!(journal.append(&record(&[0; 1837])), Err(AppendError::TooLarge { bytes: 1904, max: 1900 })));
    drop(append(&journal, &[0; 1800]));
    assert_eq!(journal.append(&record(b"b")).unwrap_err(), AppendError::Behind { bytes: 1864, max: 1900 });
    assert_eq!(journal.stats().queued_bytes, 1864);
    writer.step();
    assert_eq!(append(&journal, b"b").sequence(), Sequence(2), "what was refused has no sequence");
}

#[test]
fn a_full_journal_refuses_until_something_is_released() {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    let refused = loop {
        assert!(journal.stats().allocated_bytes <= 8 * 4096, "it is larger than it may be");
        match journal.append(&record(&[1; 1000])) {
            Ok(_) => writer.step(),
            Err(refused) => break refused,
        };
    };
    assert_eq!(refused, AppendError::Full { bytes: 8 * 4096, max: 8 * 4096 });
    assert_eq!((journal.stats().space, journal.stats().segments), (Space::Full, 8));
    let last = journal.last();
    // Not even a release of everything removes the segment in use.
    journal.release(last);
    while writer.step() != Step::Idle {}
    assert_eq!(journal.stats().segments, 1);
    assert_eq!(segments(&disk).len(), 1);
    drop(append(&journal, &[1; 1000]));
    writer.step();
    assert_eq!(journal.durable(), Sequence(last.0 + 1));
}

#[test]
fn only_segments_that_nobody_needs_are_removed() {
    let disk = crate::support::log_of(20);
    let (journal, mut writer, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.count(), 60);
    let second: u64 = segments(&disk)[1].trim_end_matches(".log").parse().unwrap();
    journal.release(Sequence(second - 2));
    assert_eq!(writer.step(), Step::Idle);
    assert_eq!(segments(&disk).len(), 3);
    journal.release(Sequence(second - 1));
    assert_eq!(writer.step(), Step::Worked);
    assert_eq!(segments(&disk).len(), 2);
    assert_eq!(journal.stats().first, Sequence(second));
    assert_eq!(read_all(&disk.after_power_loss()).unwrap()[0].sequence, Sequence(second));
}

#[test]
fn a_full_file_system_refuses_what_has_no_room_and_loses_nothing_that_has() {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    drop(append(&journal, b"begins the first segment"));
    disk.set_capacity(disk.used());
    writer.step();
    let mut taken = Vec::new();
    let refused = loop {
        match journal.append(&record(&[1; 500])) {
            Ok(ticket) => taken.push(ticket),
            Err(refused) => break refused,
        }
        writer.step();
    };
    assert_eq!((refused, journal.stats().space), (AppendError::NoSpace, Space::NoSpace));
    assert!(taken.len() > 3 && taken.iter().all(|ticket| ticket.outcome() == Some(Ok(()))));
    // It opens on a full disk, too: to read, to apply and to remove is how it becomes less full.
    drop((journal, writer));
    let disk = disk.after_power_loss();
    let (journal, mut writer, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.count(), taken.len() + 1);
    assert_eq!(journal.append(&record(&[1; 500])).unwrap_err(), AppendError::NoSpace);
    disk.set_capacity(u64::MAX);
    writer.step();
    assert_eq!(append(&journal, &[1; 500]).sequence().0, taken.len() as u64 + 2);
}

#[test]
fn a_write_that_finds_no_space_is_neither_acknowledged_nor_lost() {
    for operation in [Operation::Write, Operation::Rename] {
        let disk = SimulatedDisk::new(1);
        let (journal, mut writer, _) = open(&disk).unwrap();
        let ticket = append(&journal, &[1; 700]);
        disk.fail(operation, 1, Fault::NoSpace);
        assert_eq!(writer.step(), Step::NoSpace);
        assert_eq!(ticket.outcome(), None);
        assert_eq!(journal.append(&record(b"b")).unwrap_err(), AppendError::NoSpace);
        assert_eq!(writer.step(), Step::Worked);
        assert_eq!(ticket.outcome(), Some(Ok(())));
        assert_eq!(append(&journal, b"b").sequence(), Sequence(2));
        assert_eq!(read_all(&disk.after_power_loss()).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_sync_that_fails_is_fatal_and_acknowledges_nothing() {
    for (operation, fault) in [
        (Operation::Sync, Fault::DeviceFails),
        // Which pages a sync wrote before it ran out of space is unknown as well.
        (Operation::Sync, Fault::NoSpace),
        (Operation::Write, Fault::DeviceFails),
        (Operation::SyncDirectory, Fault::DeviceFails),
    ] {
        let disk = SimulatedDisk::new(1);
        let (tell, told) = mpsc::channel();
        let tell = parking_lot::Mutex::new(tell);
        let fatal = Arc::new(move |fatal: &tidegate_journal::Fatal| {
            tell.lock().send((fatal.to_string(), fatal.0.source.raw_os_error())).unwrap();
        });
        let (journal, recovered) = Journal::open(Arc::new(disk.clone()), Settings { fatal, ..settings() }).unwrap();
        drop(recovered);
        disk.fail(operation, 1, fault);
        let ticket = append(&journal, b"a");
        assert_eq!(ticket.durable().await, Err(Ended::Failed), "{operation:?}");
        let (text, number) = told.recv_timeout(PATIENCE).unwrap();
        assert!(text.contains("what is durable is unknown") && number.is_some(), "{text}");
        assert_eq!(journal.append(&record(b"b")).unwrap_err(), AppendError::Ended(Ended::Failed));
        assert_eq!(journal.wait_durable(Sequence(1)).await, Err(Ended::Failed));
        assert_eq!(journal.durable(), Sequence(0));
    }
}

#[tokio::test]
async fn of_many_who_wait_each_is_told() {
    let disk = SimulatedDisk::new(1);
    let large = Settings { segment_bytes: 1 << 20, max_bytes: 64 << 20, max_queued_bytes: 100 << 10, ..settings() };
    let (journal, _) = Journal::open(Arc::new(disk.clone()), large).unwrap();
    let writers = (0..64_u8).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let ticket = append(&journal, &[writer; 200]);
                let sequence = ticket.sequence();
                ticket.durable().await.unwrap();
                assert!(journal.durable() >= sequence);
                journal.wait_durable(sequence).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap();
    }
    assert_eq!(journal.durable(), Sequence(64 * 20));
    let syncs = journal.stats().syncs;
    assert!(syncs.count > 0 && syncs.sum >= syncs.max && !syncs.max.is_zero(), "{syncs:?}");
}

#[tokio::test]
async fn the_writer_looks_for_space_again_by_itself() {
    let disk = SimulatedDisk::new(1);
    let (journal, _) = Journal::open(Arc::new(disk.clone()), settings()).unwrap();
    disk.fail(Operation::Write, 1, Fault::NoSpace);
    let ticket = append(&journal, b"a");
    tokio::time::timeout(PATIENCE, ticket.durable()).await.unwrap().unwrap();
}

#[test]
fn closing_makes_durable_what_was_taken_and_takes_nothing_more() {
    let disk = SimulatedDisk::new(1);
    let (journal, _) = Journal::open(Arc::new(disk.clone()), settings()).unwrap();
    let ticket = append(&journal, b"a");
    journal.close();
    assert_eq!(ticket.outcome(), Some(Ok(())));
    assert_eq!(journal.append(&record(b"b")).unwrap_err(), AppendError::Ended(Ended::Closed));
    assert_eq!(read_all(&disk.after_power_loss()).unwrap().len(), 1);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let wrong = [
        Settings { segment_bytes: 4095, ..settings() },
        Settings { max_bytes: 2 * 4096 - 1, ..settings() },
        Settings { max_queued_bytes: 2048 - 63, ..settings() },
        Settings { max_queued_bytes: 127, ..settings() },
    ];
    for settings in wrong {
        let refused = Journal::open_by_hand(Arc::new(SimulatedDisk::new(1)), settings);
        assert!(matches!(refused, Err(OpenError::Settings(_))));
    }
}
