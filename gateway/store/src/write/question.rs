//! What a write asks when its statements have run: its transaction id, and, where there are several gateways, who
//! they are. By a later statement than the one that gave the transaction its id: whoever joins after that
//! statement's snapshot takes a higher id than this one.

use std::sync::Arc;

use tidegate_types::snapshot::Xid;
use tokio_postgres::{Client, Error, Row, Statement};

use super::Asked;
use crate::{
    error::StoreError,
    members::{XID_AND_MEMBERS, member, table_error},
    pool::Lease,
    store::Gateways,
};

/// `NULL` while the transaction has changed nothing.
const CURRENT_XID: &str = "SELECT pg_current_xact_id_if_assigned()::text";

/// The question, ready to be sent behind the statements.
pub(crate) enum Question {
    Xid,
    XidAndMembers(Statement),
}

/// The rows that answer it. An error is kept apart from those of the statements: it is about the gateways, not
/// about what the client wants.
pub(crate) type Answered = Option<Result<Vec<Row>, Error>>;

impl Question {
    pub(crate) async fn of(lease: &Lease, gateways: Gateways) -> Result<Self, StoreError> {
        match gateways {
            Gateways::One => Ok(Self::Xid),
            // Prepared once per connection: this is where a write to a shard without the table fails.
            Gateways::Several => match lease.connection().prepared(XID_AND_MEMBERS).await {
                Ok(statement) => Ok(Self::XidAndMembers(statement)),
                Err(error) => Err(table_error(lease.shard(), &error)),
            },
        }
    }

    /// Asks, behind the last statement only.
    pub(crate) async fn ask(&self, client: &Client, last: bool) -> Answered {
        match self {
            _ if !last => None,
            Self::Xid => Some(client.query_typed(CURRENT_XID, &[]).await),
            Self::XidAndMembers(statement) => Some(client.query(statement, &[]).await),
        }
    }

    /// Whether the connection failed; what the database says of the question is judged by [`Question::answer`].
    pub(crate) fn judge(&self, answered: Answered) -> Result<Answered, Error> {
        match answered {
            Some(Err(error)) if error.as_db_error().is_none() => Err(error),
            other => Ok(other),
        }
    }

    pub(crate) fn answer(&self, shard: &Arc<str>, answered: Answered) -> Result<Asked, StoreError> {
        let Some(answered) = answered else { return Ok(Asked::default()) };
        let rows = answered.map_err(|error| table_error(shard, &error))?;
        let protocol = |reason: &str| StoreError::Protocol { shard: shard.clone(), reason: reason.into() };
        let text = |at: usize| {
            let text = rows.first().map_or(Ok(None), |row| row.try_get::<_, Option<&str>>(at));
            let xid = text.ok().map(|text| text.map(|text| text.parse().map(Xid)).transpose());
            xid.and_then(Result::ok).ok_or_else(|| protocol("a transaction id"))
        };
        match self {
            Self::Xid => Ok(Asked { xid: text(0)?, members: None }),
            Self::XidAndMembers(_) => {
                let is_somebody = |row: &&Row| row.try_get::<_, Option<&str>>(0).is_ok_and(|id| id.is_some());
                let members = rows.iter().filter(is_somebody).map(member).collect::<Result<_, _>>();
                Ok(Asked { xid: text(5)?, members: Some(members.map_err(|_| protocol("a member"))?) })
            }
        }
    }
}
