//! A small log on a simulated disk.

use std::sync::Arc;

use tidegate_journal::{
    Journal, KeptRecord, OpenError, Record, Recovered, Settings, Ticket, Writer, simulated::SimulatedDisk,
};

pub const SEGMENT: u64 = 4096;

pub fn settings() -> Settings {
    Settings {
        segment_bytes: SEGMENT,
        max_bytes: 8 * SEGMENT,
        max_queued_bytes: 1900,
        fatal: Arc::new(|fatal| panic!("{fatal}")),
    }
}

pub fn open(disk: &SimulatedDisk) -> Result<(Journal, Writer, Recovered), OpenError> {
    Journal::open_by_hand(Arc::new(disk.clone()), settings())
}

pub fn record(payload: &[u8]) -> Record<'_> {
    Record { partition: 1, idempotency: None, payload }
}

pub fn append(journal: &Journal, payload: &[u8]) -> Ticket {
    journal.append(&record(payload)).unwrap()
}

/// A log of so many batches of three records of 100 bytes.
pub fn log_of(batches: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (journal, mut writer, _) = open(&disk).unwrap();
    for batch in 0..batches {
        for _ in 0..3 {
            drop(append(&journal, &[u8::try_from(batch).unwrap() + 1; 100]));
        }
        writer.step();
    }
    disk.after_kill()
}

/// Bytes of one of its records.
pub const RECORD: usize = 64 + 104;

pub fn read_all(disk: &SimulatedDisk) -> Result<Vec<KeptRecord>, OpenError> {
    open(disk)?.2.collect()
}

/// The names of its segments, oldest first.
pub fn segments(disk: &SimulatedDisk) -> Vec<String> {
    use tidegate_journal::disk::Disk;
    let mut names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect();
    names.sort();
    names
}

/// Changes the bytes of a file.
pub fn change(disk: &SimulatedDisk, name: &str, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.bytes_of(name).unwrap();
    with(&mut bytes);
    disk.put(name, &bytes);
}
