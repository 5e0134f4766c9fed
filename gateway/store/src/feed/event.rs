//! What the feed tells.

use std::sync::Arc;

use tidegate_types::{epoch::Epoch, snapshot::Xid};

/// A table that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeedTable {
    /// `"schema"."table"`, as [`tidegate_types::collection::Collection::relation`] has it.
    pub relation: String,
    /// The columns of its key, in key order.
    pub key: Vec<String>,
    /// Other columns whose values are wanted.
    pub watched: Vec<String>,
}

/// The tables that are followed, by [`FeedTable::relation`].
pub type FeedTables = Arc<[Arc<FeedTable>]>;

/// An event with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The epoch of the connection it came over.
    pub epoch: Epoch,
    /// What happened.
    pub event: FeedEvent,
}

/// What happened on a shard. To be obeyed in order: a heartbeat speaks for what came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedEvent {
    /// A transaction committed. It may not be visible yet.
    Transaction(Transaction),
    /// A gateway's heartbeat came back.
    Heartbeat(Beat),
    /// Changes up to here may have been missed, or mean something else now: nothing that was read before is good.
    Flush {
        /// A transaction id taken after the cause: whatever was read in a snapshot whose `xmin` is above it is good.
        base: Xid,
        /// The cause.
        why: FlushReason,
        /// The doubts it settles, for [`super::FeedHealth::settle`].
        settles: u64,
    },
}

/// Why everything of a shard is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlushReason {
    /// The feed begins, or goes on further than where this gateway left it.
    Began,
    /// The slot kept more log than it may, and was made anew.
    SlotRemade,
    /// Tables were added to what is published.
    Published,
    /// Tables were altered.
    Schema,
    /// Another gateway reads, and something it told may have been lost on the way.
    Relay,
}

impl FlushReason {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::SlotRemade => "slot-remade",
            Self::Published => "published",
            Self::Schema => "schema",
            Self::Relay => "relay",
        }
    }
}

/// A heartbeat: whose, and when by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// The gateway's number, drawn when it started.
    pub gateway: u64,
    /// Microseconds on its clock before it was sent.
    pub sent: u64,
}

/// A committed transaction's changes of followed tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub xid: Xid,
    /// By table, in the order of their first change.
    pub tables: Vec<TableChanges>,
}

/// What changed in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChanges {
    /// Which.
    pub table: Changed,
    /// What.
    pub changes: Changes,
}

/// A table that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// One that is followed.
    Followed(Arc<FeedTable>),
    /// One that is not (an heir of one that is, one that is no longer served): `schema.table`, unquoted.
    Other(Box<str>),
}

/// How much is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Every row.
    Rows(Vec<RowChange>),
    /// Any row may have changed.
    Whole(Whole),
}

/// Why rows are not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whole {
    /// TRUNCATE.
    Truncated,
    /// More rows, or larger ones, than are told one by one.
    TooMany,
    /// What is told of the old row does not hold its key.
    Unkeyed,
}

/// One changed row. An insert has no `before`, a delete no `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// What is known of it as it was.
    pub before: Option<RowImage>,
    /// What is known of it as it is.
    pub after: Option<RowImage>,
}

/// What is told of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowImage {
    /// The text of each [`FeedTable::key`] column.
    pub key: Vec<Box<str>>,
    /// Each of [`FeedTable::watched`].
    pub watched: Vec<Watched>,
}

/// A watched column's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// The replica identity does not tell it.
    Unknown,
    /// NULL.
    Null,
    /// Its text.
    Text(Box<str>),
}
