//! What is on a simulated disk: as it reads, and as it would be without power.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::SECTOR;

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileNumber(u64);

#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// Kept as long as anybody may have them open, so for ever.
    files: BTreeMap<FileNumber, File>,
    names: BTreeMap<String, FileNumber>,
    durable_names: BTreeMap<String, FileNumber>,
    /// Since the directory was synced, in order.
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct File {
    /// As it reads.
    bytes: Vec<u8>,
    /// As it is without power.
    durable: Vec<u8>,
    /// The sectors that differ, or may, and will be written by a sync.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Link(String, FileNumber),
    Rename { from: String, to: String, file: FileNumber },
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, FileNumber>) {
        match self {
            Self::Link(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to, file } => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Contents {
    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<FileNumber> {
        self.names.get(name).copied()
    }

    /// What files with a name take.
    pub(super) fn used(&self) -> u64 {
        self.names.values().map(|file| self.read(*file).len() as u64).sum()
    }

    pub(super) fn read(&self, file: FileNumber) -> &[u8] {
        self.files.get(&file).map_or(&[], |file| &file.bytes)
    }

    pub(super) fn create(&mut self, name: &str, length: usize) -> FileNumber {
        let number = FileNumber(self.files.len() as u64);
        let dirty = (0..length.div_ceil(SECTOR)).collect();
        self.files.insert(number, File { bytes: vec![0; length], durable: Vec::new(), dirty });
        self.change(Change::Link(name.to_owned(), number));
        number
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(file) = self.find(from) {
            self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), file });
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.change(Change::Remove(name.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
        self.changes.clear();
    }

    pub(super) fn write(&mut self, file: FileNumber, offset: usize, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(&file).filter(|_| !bytes.is_empty()) else { return };
        let end = offset + bytes.len();
        if file.bytes.len() < end {
            file.bytes.resize(end, 0);
        }
        file.bytes[offset..end].copy_from_slice(bytes);
        file.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn sync(&mut self, file: FileNumber) {
        let Some(file) = self.files.get_mut(&file) else { return };
        file.durable.resize(file.bytes.len(), 0);
        for sector in std::mem::take(&mut file.dirty) {
            let range = range_of(sector, file.bytes.len());
            file.durable[range.clone()].copy_from_slice(&file.bytes[range]);
        }
    }

    /// A sync that fails: of what it was to write, some is written, and all counts as written.
    pub(super) fn forget_unsynced(&mut self, file: FileNumber, rng: &mut Rng) {
        if let Some(file) = self.files.get_mut(&file) {
            *file = File { bytes: file.bytes.clone(), ..file.without_power(rng) };
        }
    }

    /// What is there when the power comes back.
    pub(super) fn after_power_loss(&self, rng: &mut Rng) -> Self {
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            if rng.bool() {
                change.apply(&mut names);
            }
        }
        let files = self.files.iter().map(|(number, file)| (*number, file.without_power(rng))).collect();
        Self { files, durable_names: names.clone(), names, changes: Vec::new() }
    }
}

impl File {
    /// What was synced, and of every sector that was not, what it held, what it should hold, or a part of both.
    fn without_power(&self, rng: &mut Rng) -> Self {
        let mut durable = self.durable.clone();
        if self.bytes.len() > durable.len() && rng.bool() {
            durable.resize(self.bytes.len(), 0);
        }
        // All, none or any: each is what disks do, and the first two find other mistakes than the third.
        let likely = [0, 5, 10][rng.usize(0..3)];
        for sector in &self.dirty {
            let range = range_of(*sector, durable.len().min(self.bytes.len()));
            if range.is_empty() || rng.u8(0..10) >= likely {
                continue;
            }
            let torn = if rng.u8(0..8) == 0 { rng.usize(0..=range.len()) } else { range.len() };
            let range = range.start..range.start + torn;
            durable[range.clone()].copy_from_slice(&self.bytes[range]);
        }
        Self { bytes: durable.clone(), durable, dirty: BTreeSet::new() }
    }
}

fn range_of(sector: usize, length: usize) -> std::ops::Range<usize> {
    let from = (sector * SECTOR).min(length);
    from..((sector + 1) * SECTOR).min(length)
}
