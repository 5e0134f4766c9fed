//! A disk of memory that fails as disks do: what was written and not synced may be lost when the power goes, sector by
//! sector, whole or torn, and names likewise; space runs out; orders fail; the process ends between any two of them.
//!
//! The same seed and the same orders give the same disk. What it is like after a crash is a new disk:
//! [`SimulatedDisk::after_kill`], [`SimulatedDisk::after_power_loss`].

mod contents;
pub mod sketch;

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use fastrand::Rng;
use parking_lot::Mutex;

use self::contents::{Contents, FileNumber};
use crate::disk::{Disk, DiskFile};

/// The bytes that a disk writes whole or tears.
pub const SECTOR: usize = 512;
/// What the system calls it: a failed device.
const EIO: i32 = 5;
/// What the system calls it: a full file system.
const ENOSPC: i32 = 28;

/// An order to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Disk::create`].
    Create,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync_data`].
    Sync,
    /// [`Disk::sync_directory`].
    SyncDirectory,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
}

/// What happens at an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process ends before it. Nothing is obeyed any more.
    CrashBefore,
    /// The process ends when a part of it is done: of a write, a part of the bytes; of anything else, none or all.
    CrashDuring,
    /// The process ends after it.
    CrashAfter,
    /// The device fails: a write leaves a part, a sync leaves what it was to write lost and thought of as written.
    DeviceFails,
    /// There is no space: a write leaves a part.
    NoSpace,
}

/// Whether the disk obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It does.
    On,
    /// A [`Fault`] has ended the process that gave the orders.
    Crashed,
}

/// A disk of one directory. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

struct State {
    contents: Contents,
    rng: Rng,
    /// Armed: at the n-th order of this kind from now, counted from 1.
    faults: Vec<(Operation, u64, Fault)>,
    /// At the n-th order of any kind from now.
    crash_at: Option<u64>,
    /// Bytes that all files may have together.
    capacity: u64,
    power: Power,
    /// Orders so far, by kind.
    counts: BTreeMap<Operation, u64>,
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("SimulatedDisk").field("power", &state.power).field("counts", &state.counts).finish()
    }
}

impl SimulatedDisk {
    /// An empty disk without bound.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(Contents::default(), Rng::with_seed(seed), u64::MAX)
    }

    fn with(contents: Contents, rng: Rng, capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            contents,
            rng,
            faults: Vec::new(),
            crash_at: None,
            capacity,
            power: Power::On,
            counts: BTreeMap::new(),
        })))
    }

    /// Arms a fault at the n-th order of this kind from now, counted from 1.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.0.lock().faults.push((operation, nth.max(1), fault));
    }

    /// The process ends in the middle of the n-th order from now, of whatever kind, counted from 1.
    pub fn crash_at(&self, nth: u64) {
        self.0.lock().crash_at = Some(nth.max(1));
    }

    /// Forgets what was armed.
    pub fn disarm(&self) {
        let mut state = self.0.lock();
        state.faults.clear();
        state.crash_at = None;
    }

    /// From now on all files together have this many bytes at most.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// The bytes that all files have.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.lock().contents.used()
    }

    /// Whether the disk still obeys.
    #[must_use]
    pub fn power(&self) -> Power {
        self.0.lock().power
    }

    /// How many orders of this kind there were.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.0.lock().counts.get(&operation).copied().unwrap_or(0)
    }

    /// As another process finds it when only this one has ended: all that was written is there, durable or not.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut state = self.0.lock();
        state.power = Power::Crashed;
        let rng = state.rng.fork();
        Self::with(state.contents.clone(), rng, state.capacity)
    }

    /// As it is when the power is back: what was synced, and any part of what was not.
    #[must_use]
    pub fn after_power_loss(&self) -> Self {
        let mut state = self.0.lock();
        state.power = Power::Crashed;
        let mut rng = state.rng.fork();
        let contents = state.contents.after_power_loss(&mut rng);
        Self::with(contents, rng, state.capacity)
    }

    /// The bytes of a file as they read now, or nothing.
    #[must_use]
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let file = state.contents.find(name)?;
        Some(state.contents.read(file).to_vec())
    }

    /// Puts a file there, durably, in place of what had its name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.lock();
        let file = state.contents.create(name, bytes.len());
        state.contents.write(file, 0, bytes);
        state.contents.sync(file);
        state.contents.sync_names();
    }
}

impl State {
    /// What is to happen at this order, which is counted.
    fn arrive(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        if self.power == Power::Crashed {
            return Err(crashed());
        }
        *self.counts.entry(operation).or_default() += 1;
        let mut due = None;
        if let Some(left) = &mut self.crash_at {
            *left -= 1;
            if *left == 0 {
                self.crash_at = None;
                due = Some(Fault::CrashDuring);
            }
        }
        self.faults.retain_mut(|(kind, left, fault)| {
            if *kind != operation {
                return true;
            }
            *left -= 1;
            if *left == 0 {
                due = Some(*fault);
            }
            *left > 0
        });
        Ok(due)
    }

    /// Obeys an order that is done whole or not at all.
    fn obey(&mut self, operation: Operation, effect: impl FnOnce(&mut Contents)) -> io::Result<()> {
        match self.arrive(operation)? {
            None => {
                effect(&mut self.contents);
                Ok(())
            }
            Some(Fault::CrashBefore) => Err(self.crash()),
            Some(Fault::CrashDuring) => {
                if self.rng.bool() {
                    effect(&mut self.contents);
                }
                Err(self.crash())
            }
            Some(Fault::CrashAfter) => {
                effect(&mut self.contents);
                Err(self.crash())
            }
            Some(Fault::DeviceFails) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::NoSpace) => Err(io::Error::from_raw_os_error(ENOSPC)),
        }
    }

    fn write(&mut self, file: FileNumber, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let fault = self.arrive(Operation::Write)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let grown = (offset + bytes.len()).saturating_sub(self.contents.read(file).len());
        if self.contents.used() + grown as u64 > self.capacity {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let part = self.rng.usize(0..=bytes.len());
        match fault {
            None => {
                // A file takes as much as it likes, now and then.
                let taken = if self.rng.u8(0..4) == 0 { part.max(1).min(bytes.len()) } else { bytes.len() };
                self.contents.write(file, offset, &bytes[..taken]);
                Ok(taken)
            }
            Some(Fault::CrashBefore) => Err(self.crash()),
            Some(Fault::CrashAfter) => {
                self.contents.write(file, offset, bytes);
                Err(self.crash())
            }
            Some(Fault::CrashDuring) => {
                self.contents.write(file, offset, &bytes[..part]);
                Err(self.crash())
            }
            Some(Fault::DeviceFails) => {
                self.contents.write(file, offset, &bytes[..part]);
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(Fault::NoSpace) => {
                self.contents.write(file, offset, &bytes[..part]);
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
        }
    }

    fn sync(&mut self, file: FileNumber) -> io::Result<()> {
        // Linux reports a page that could not be written once, and counts it as clean from then on.
        if self.faults.contains(&(Operation::Sync, 1, Fault::DeviceFails)) {
            self.contents.forget_unsynced(file, &mut self.rng);
        }
        self.obey(Operation::Sync, |contents| contents.sync(file))
    }

    fn crash(&mut self) -> io::Error {
        self.power = Power::Crashed;
        crashed()
    }
}

fn crashed() -> io::Error {
    io::Error::other("the simulated process has ended")
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().contents.names())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let replaced = state.contents.find(name).map_or(0, |file| state.contents.read(file).len() as u64);
        if state.power == Power::On && state.contents.used() - replaced + bytes > state.capacity {
            state.arrive(Operation::Create)?;
            // Half made, as a file system leaves it.
            state.contents.create(name, 0);
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let mut made = None;
        state.obey(Operation::Create, |contents| made = Some(contents.create(name, length)))?;
        let file = made.ok_or_else(missing)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.lock().contents.find(name).ok_or_else(missing)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.contents.find(from).ok_or_else(missing)?;
        state.obey(Operation::Rename, |contents| contents.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.contents.find(name).ok_or_else(missing)?;
        state.obey(Operation::Remove, |contents| contents.remove(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.lock().obey(Operation::SyncDirectory, Contents::sync_names)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: FileNumber,
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.disk.0.lock().write(self.file, offset, bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let bytes = state.contents.read(self.file);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = into.len().min(bytes.len() - from);
        into[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.0.lock().sync(self.file)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().contents.read(self.file).len() as u64)
    }
}
