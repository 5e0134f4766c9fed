//! The log of the write-behind journal: records that nobody here looks into, in order, durable before they are acknowledged.
//! Knows neither tables nor caches ([ADR 0015](../../docs/adr/0015-write-behind.md)).
//!
//! ```
//! use std::sync::Arc;
//! use tidegate_journal::{Journal, RealDisk, Record, Settings};
//! use tidegate_types::mutation::Sequence;
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("journal");
//! # let settings = Settings { segment_bytes: 1 << 20, max_queued_bytes: 1 << 18, ..Settings::default() };
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let disk = Arc::new(RealDisk::open(&path).unwrap());
//! let (journal, recovered) = Journal::open(disk, settings).unwrap();
//! // All of it, before anything is released: an error here is a reason not to start.
//! let kept = recovered.collect::<Result<Vec<_>, _>>().unwrap();
//! assert!(kept.is_empty());
//!
//! // The sequence is there at once; the record is durable when the ticket says so.
//! let ticket = journal.append(&Record { partition: 7, idempotency: None, payload: b"a row" }).unwrap();
//! assert_eq!(ticket.sequence(), Sequence(1));
//! ticket.durable().await.unwrap();
//! assert_eq!(journal.durable(), Sequence(1));
//!
//! // Applied, and no longer asked for: its segment may go once it is closed.
//! journal.release(Sequence(1));
//! # });
//! ```
//!
//! # Layout
//! - [`mod@log`]: what is needed of a log, wherever it is kept
//! - [`journal`]: the handle of this one: append, wait, release
//! - [`disk`]: what is needed of a disk, and the real one
//! - `state`: what is shared under a lock, [`landing`]: who waits; [`writer`]: who writes
//! - [`recovery`]: opening, and what was kept; `reader`: the records of a segment
//! - `format`: bytes, without I/O; [`identity`]: which journal this is
//! - `simulated`, `matrix` (feature `simulated-disk`): a disk that fails, and every crash upon it
//!
//! # Invariants
//! - No record is acknowledged before it, and all before it, would survive the loss of power.
//! - No segment has its name before its first records are durable, and all records before them.
//! - No second write or sync is under way.
//! - No record is skipped when reading: what cannot be read was never acknowledged, or the journal does not open.
//! - No record is read that was not written at this place by this journal.
//! - No accepted record lacks space on a file system that can take it in advance.
//! - No failed sync is tried again.

pub mod disk;
mod error;
mod format;
pub mod identity;
pub mod journal;
pub mod landing;
pub mod log;
#[cfg(any(test, feature = "simulated-disk"))]
pub mod matrix;
mod reader;
pub mod recovery;
mod settings;
#[cfg(any(test, feature = "simulated-disk"))]
pub mod simulated;
mod state;
pub mod writer;

pub use disk::RealDisk;
pub use error::{AppendError, Damage, Ended, Fatal, OpenError};
pub use format::MAX_PAYLOAD;
pub use identity::JournalId;
pub use journal::{Journal, Record};
pub use landing::{Landing, Ticket};
pub use log::{Log, Waiting};
pub use reader::KeptRecord;
pub use recovery::{Recovered, Torn};
pub use settings::{OnFatal, Settings};
pub use state::{Space, Stats, SyncTimes};
pub use writer::Writer;
