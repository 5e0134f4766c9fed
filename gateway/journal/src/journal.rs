//! The journal as the rest of a gateway sees it.

use std::{io, sync::Arc, thread};

use parking_lot::Mutex;
use tidegate_types::mutation::Sequence;

use crate::{
    disk::{Disk, DiskError},
    error::{AppendError, Ended, OpenError},
    identity::JournalId,
    landing::Ticket,
    recovery::{self, Recovered},
    settings::Settings,
    state::{Phase, Shared, Stats},
    writer::Writer,
};

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Kept with the record.
    pub partition: u32,
    /// Kept with the record.
    pub idempotency: Option<u128>,
    /// At most [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) bytes, and what the settings allow.
    pub payload: &'a [u8],
}

/// A log on a disk. Clones share it; the last one that is dropped closes it.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// `None` when the writer is run by hand, and after it has ended.
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in a directory, or makes one there, and starts its writer, a thread.
    ///
    /// # Errors
    /// [`OpenError`]: the log cannot be continued. Damage in a segment that is not the last is found when [`Recovered`]
    /// comes to it.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings) -> Result<(Self, Recovered), OpenError> {
        let (journal, writer, recovered) = Self::open_by_hand(disk, settings)?;
        let thread = thread::Builder::new()
            .name("tidegate-journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|error: io::Error| DiskError::of("start the writer of", "the journal")(error))?;
        *journal.0.thread.lock() = Some(thread);
        Ok((journal, recovered))
    }

    /// As [`Journal::open`], without a thread: nothing is written but by [`Writer::step`]. For tests that choose the
    /// moment.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_by_hand(disk: Arc<dyn Disk>, settings: Settings) -> Result<(Self, Writer, Recovered), OpenError> {
        settings.check()?;
        let opened = recovery::open(&*disk)?;
        let recovered = Recovered::new(disk.clone(), &opened);
        let shared = Arc::new(Shared::new(&opened, settings));
        let mut writer = Writer::new(shared.clone(), disk, opened.current);
        writer.prepare_first()?;
        let journal = Self(Arc::new(Handle { shared, thread: Mutex::new(None) }));
        Ok((journal, writer, recovered))
    }

    /// Which journal this is.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.0.shared.identity.journal
    }

    /// The number of this opening, larger than that of every one before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.shared.identity.epoch
    }

    /// Takes a record: it has its sequence, the next one, when this returns, and is durable when its ticket says so. Never
    /// waits for the disk. Calls from several threads are ordered as they take the lock.
    ///
    /// # Errors
    /// [`AppendError`]: the record was not taken and has no sequence.
    pub fn append(&self, record: &Record<'_>) -> Result<Ticket, AppendError> {
        self.0.shared.append(record)
    }

    /// The last durable record: everything up to it survives the loss of power.
    #[must_use]
    pub fn durable(&self) -> Sequence {
        self.0.shared.durable()
    }

    /// The record that was taken last, durable or not.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.0.shared.state.lock().last
    }

    /// Waits until a record that was taken is durable; for one that was not taken yet, until the last that was is.
    ///
    /// # Errors
    /// [`Ended`], as [`Ticket::durable`].
    pub async fn wait_durable(&self, sequence: Sequence) -> Result<(), Ended> {
        match self.0.shared.landing_of(sequence)? {
            Some(landing) => landing.landed().await,
            None => Ok(()),
        }
    }

    /// Nobody needs the records up to this one any more. Segments of which that is true, and which are not the one in use, are
    /// removed when the writer has time.
    pub fn release(&self, up_to: Sequence) {
        let mut state = self.0.shared.state.lock();
        state.released = state.released.max(up_to.min(self.0.shared.durable()));
        if state.removable().is_some() {
            self.0.shared.work.notify_one();
        }
    }

    /// The journal in figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.shared.stats()
    }

    /// Takes nothing more, writes what was taken, and returns when that is durable and the writer has ended. Blocks.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Handle {
    fn close(&self) {
        {
            let mut state = self.shared.state.lock();
            if state.phase == Phase::Open {
                state.phase = Phase::Closing;
            }
            self.shared.work.notify_one();
        }
        if let Some(thread) = self.thread.lock().take() {
            // A writer that panicked has told nobody that anything is durable.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
