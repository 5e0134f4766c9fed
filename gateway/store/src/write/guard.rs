//! Held by writes that go to the shard themselves where write-behind owns their rows: the shard's note about the journal,
//! locked in the write's own transaction. A lock in a process that was taken over from says nothing.
//!
//! `FOR KEY SHARE`, since the owner's own flushes advance the note meanwhile and must wait for no write, however many there
//! are; a claim locks the note as for a change of its key, and waits (see `flush/applied`).

use std::sync::Arc;

use tokio_postgres::{Client, Error, types::Type};

use crate::{
    connection::statement_error,
    error::StoreError,
    flush::{from_bigint, to_bigint, wrong},
};

const HOLD: &str = "SELECT epoch FROM tidegate.applied WHERE journal = $1 FOR KEY SHARE";

/// Which journal must still be owned in which epoch when a write commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalGuard {
    /// The journal's number.
    pub journal: u64,
    /// The epoch of the claim.
    pub epoch: u64,
}

/// What asking for the note brought.
#[derive(Debug)]
pub(super) enum Held {
    /// The journal is owned in this epoch until the transaction ends; or nobody asked.
    Yes,
    /// In another one, or not at all.
    No,
    /// The database refused. The transaction has failed.
    Refused(Error),
}

impl Held {
    /// Asks, as the first statement of a transaction.
    ///
    /// # Errors
    /// That of the connection.
    pub(super) async fn ask(client: &Client, guard: JournalGuard) -> Result<Self, Error> {
        let journal = to_bigint(guard.journal);
        match client.query_typed(HOLD, &[(&journal, Type::INT8)]).await {
            Ok(rows) => {
                let epoch = rows.first().map(|row| row.try_get(0).map(from_bigint)).transpose()?;
                Ok(if epoch == Some(guard.epoch) { Self::Yes } else { Self::No })
            }
            Err(error) if error.as_db_error().is_some() => Ok(Self::Refused(error)),
            Err(error) => Err(error),
        }
    }

    /// Why the write does not go on.
    pub(super) fn refusal(self, shard: &Arc<str>) -> StoreError {
        match self {
            Self::Yes | Self::No => StoreError::TakenOver { shard: shard.clone() },
            Self::Refused(error) => wrong(statement_error(shard, &error)),
        }
    }
}
