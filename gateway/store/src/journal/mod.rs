//! The journal of class `replicated`: a table in a PostgreSQL database of its own, with synchronous standbys, and for each
//! shard a partition of it with one owner at a time (ADR 0016).
//!
//! # Layout
//! - [`JournalDatabase`]: the handle: who owns what, and opening
//! - `session`: verified connections; `tables`: what must exist; `partitions`: the statements of owning
//! - [`PgLog`]: what an owner appends to: `log` (the handle), `state` (what waits), `writer` (groups on their way),
//!   `sweep` (what nobody needs), `open` (what is there)
//! - [`JournalError`]
//!
//! # What makes it right
//! - A group of records is one statement and one transaction, begun by an update of the partition's row in which the
//!   epoch must be the owner's: whoever takes over waits for the row's lock, and what comes after finds another epoch.
//! - The row also has the last sequence, and a group goes on from it or fails: no gap, and no number twice.
//! - Nothing is sent twice: a log whose append failed, or whose outcome is unknown, has ended. Its owner takes the partition
//!   again, in a higher epoch, and reads what the table has.
//! - Taking waits for the standbys in its COMMIT, and with that for every record before it: what `open` reads
//!   survives the loss of the primary, also what a client was never told of.
//! - Beats, too, wait for the standbys: a beat that was seen never comes again.

mod error;
mod log;
mod open;
mod partitions;
mod session;
mod state;
mod sweep;
mod tables;
mod writer;

use std::{fmt, sync::Arc, time::Duration};

use tidegate_journal::KeptRecord;
use tidegate_types::{mutation::Sequence, settings::Secret};

pub use error::JournalError;
pub use log::PgLog;
pub use tables::{GRANTS, TABLES};

use session::{Channel, Database, Reads};

/// What a partition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of a partition in the table, in bytes.
    pub max_bytes: u64,
    /// Of what waits for a COMMIT, in bytes, and so of the largest record.
    pub max_queued_bytes: u64,
}

/// A partition as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its shard.
    pub shard: Arc<str>,
    /// Its number in the shards' notes: drawn once, another one in every database.
    pub journal: u64,
    /// Which gateway owns it; `None` before the first and after one that resigned.
    pub owner: Option<Arc<str>>,
    /// Where the owner is reached.
    pub address: Option<Arc<str>>,
    /// Raised by every taking.
    pub epoch: u64,
    /// Raised by every renewal; from 0 in each epoch.
    pub beat: u64,
    /// How long the owner may be silent.
    pub lease: Duration,
}

/// A partition that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its shard.
    pub shard: Arc<str>,
    /// Its number in the shards' notes.
    pub journal: u64,
    /// The epoch in which it is owned.
    pub epoch: u64,
}

/// The journal's database. Connects when it is first asked. Clones share everything.
#[derive(Clone)]
pub struct JournalDatabase(Arc<Inner>);

struct Inner {
    database: Database,
    bounds: Bounds,
    /// Everything but what has a connection of its own.
    control: Channel,
    /// Beats: a taking that waits for a row must not cost a lease.
    beats: Channel,
    /// Removals, which may take their time.
    sweep: Channel,
    reads: Reads,
}

impl fmt::Debug for JournalDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JournalDatabase").field(&self.0.database.name).finish()
    }
}

impl JournalDatabase {
    /// A database that this URL leads to. It may name several hosts (`h1:p1,h2:p2`); whichever is the primary is used.
    /// Does not connect.
    ///
    /// # Errors
    /// [`JournalError::Setup`] for a URL that cannot be used, which is not repeated in the error.
    pub fn new(url: &Secret, bounds: Bounds) -> Result<Self, JournalError> {
        let inner = Inner {
            database: Database::parse(url)?,
            bounds,
            control: Channel::new("control"),
            beats: Channel::new("beats"),
            sweep: Channel::new("sweep"),
            reads: Reads::new(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Hosts and database, without user and password.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.database.name
    }

    /// Makes the tables where there are none, does what a gateway does with them, and undoes it.
    ///
    /// # Errors
    /// [`JournalError::Unfit`] if no host is a primary, if it has no `synchronous_standby_names`, if this role's COMMIT does not
    /// wait for them, or if the role may not use the tables (it says the SQL that mends it).
    /// [`JournalError::Unavailable`] also where there is no standby to wait for at the moment.
    pub async fn check(&self) -> Result<(), JournalError> {
        tables::check(&self.0.control, &self.0.database).await
    }

    /// What status tokens are signed with: drawn once in the life of the database.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn secret(&self) -> Result<[u8; 32], JournalError> {
        tables::ensure(&self.0.control, &self.0.database).await?;
        partitions::secret(&self.0.control, &self.0.database).await
    }

    /// The partitions of these shards, in their order. Makes those that there are not yet, and the tables.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn partitions(&self, shards: &[Arc<str>]) -> Result<Vec<Partition>, JournalError> {
        partitions::all(&self.0.control, &self.0.database, shards).await
    }

    /// Takes a partition that nobody owns, or whose owner is silent. The caller has seen this epoch and beat for a whole lease
    /// of the owner, by its own clock, or the owner has resigned, or is the caller. Waits for an append of the former owner that
    /// is under way; none comes after it. `None`: somebody was quicker, or the owner has renewed.
    ///
    /// # Errors
    /// See [`JournalError`]; it may have been taken all the same, which [`JournalDatabase::partitions`] tells.
    pub async fn take(
        &self,
        seen: &Partition,
        owner: &str,
        address: &str,
        lease: Duration,
    ) -> Result<Option<Taken>, JournalError> {
        partitions::take(&self.0.control, &self.0.database, seen, owner, address, lease).await
    }

    /// Renews the leases of partitions, by shard and epoch, and gives those that are still held. A lease counts from before
    /// this was called.
    ///
    /// # Errors
    /// See [`JournalError`]; leases may have been renewed for others, not for the caller.
    pub async fn renew(&self, held: &[(Arc<str>, u64)], owner: &str) -> Result<Vec<Arc<str>>, JournalError> {
        partitions::renew(&self.0.beats, &self.0.database, held, owner).await
    }

    /// Gives partitions up, after their last flush: anybody may take them at once. Their logs take nothing more.
    ///
    /// # Errors
    /// See [`JournalError`]; they may have been given up all the same.
    pub async fn resign(&self, held: &[(Arc<str>, u64)], owner: &str) -> Result<(), JournalError> {
        partitions::resign(&self.0.control, &self.0.database, held, owner).await
    }

    /// The last durable record of a shard's partition: whatever was acknowledged before this was called is up to it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn last(&self, shard: &str) -> Result<Sequence, JournalError> {
        partitions::last(&self.0.reads, &self.0.database, shard).await
    }

    /// What the table holds of a partition that was taken, in order, and the log to append to. Call it once for each
    /// [`Taken`].
    ///
    /// # Errors
    /// [`JournalError::TakenOver`] if somebody has taken it since, [`JournalError::Damaged`] if records are missing in between.
    pub async fn open(&self, taken: &Taken) -> Result<(PgLog, Vec<KeptRecord>), JournalError> {
        open::open(self, taken).await
    }
}
