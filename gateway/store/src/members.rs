//! The member table of a shard: which gateways must hear of a write before it is committed.
//!
//! # What makes it right
//! - Joining commits the row first and takes a transaction id of its own afterwards, on the same connection: who
//!   read the table without the row had its id before.
//! - An incarnation only rises: an order to join that was held up on an old connection changes nothing.
//! - A renewal and a fencing each are one statement, which waits for the other's row lock and then looks again.
//! - The connections are outside the pools, one for leases and one for fencing: neither a pool that is used up nor
//!   a row that somebody else has locked costs a lease.
//! - Rows need not survive the server they were written on: writers wait out every lease when a shard shows another
//!   lineage. So synchronous standbys are not waited for.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use tidegate_types::{epoch::Epoch, member::Member, snapshot::Xid};
use tokio::sync::Mutex;
use tokio_postgres::{Row, types::Type};

use crate::{
    connection::{Connection, statement_error},
    error::StoreError,
    identity::Continuity,
    shard::Link,
};

/// What must exist on every primary. Nothing is changed where it does.
pub const TABLE: &str = "\
CREATE SCHEMA IF NOT EXISTS tidegate;
CREATE TABLE IF NOT EXISTS tidegate.members (
  id text PRIMARY KEY,
  incarnation bigint NOT NULL,
  beat bigint NOT NULL,
  lease_ms bigint NOT NULL,
  address text NOT NULL,
  expires timestamptz NOT NULL,
  fenced boolean NOT NULL
) WITH (fillfactor = 50);";

/// What the gateways' role must be allowed.
pub const GRANTS: &str = "\
GRANT USAGE ON SCHEMA tidegate TO ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON tidegate.members TO ROLE;";

/// Orders two gateways that create tables in the schema at once; any number that nobody else uses.
pub(crate) const CREATE_TURN: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7232102684118001)";
/// Time of one statement on these connections.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time a fencing waits for a row.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

const JOIN: &str = "\
INSERT INTO tidegate.members AS m (id, incarnation, beat, lease_ms, address, expires, fenced) \
VALUES ($1, $2, 0, $3, $4, pg_catalog.clock_timestamp() + $3 * interval '1 ms', false) \
ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, beat = 0, lease_ms = excluded.lease_ms, \
address = excluded.address, expires = excluded.expires, fenced = false \
WHERE m.incarnation < excluded.incarnation";

const RENEW: &str = "\
UPDATE tidegate.members SET beat = beat + 1, \
expires = pg_catalog.clock_timestamp() + lease_ms * interval '1 ms' \
WHERE id = $1 AND incarnation = $2 AND NOT fenced";

const FENCE: &str = "\
UPDATE tidegate.members SET fenced = true WHERE id = $1 AND incarnation = $2 AND beat = $3 AND NOT fenced";

const ONE: &str = "\
SELECT id, incarnation, beat, lease_ms, address FROM tidegate.members \
WHERE id = $1 AND incarnation = $2 AND NOT fenced";

const ALL: &str = "SELECT id, incarnation, beat, lease_ms, address FROM tidegate.members WHERE NOT fenced";

const LEAVE: &str = "DELETE FROM tidegate.members WHERE id = $1 AND incarnation = $2";

/// A fenced row stops nobody, and its process, should it live, joins anew.
const SWEEP: &str = "\
DELETE FROM tidegate.members WHERE fenced AND expires < pg_catalog.clock_timestamp() - interval '1 hour'";

/// A write's transaction id and the members, by one statement after the changes: its snapshot is newer than the id.
pub(crate) const XID_AND_MEMBERS: &str = "\
SELECT m.id, m.incarnation, m.beat, m.lease_ms, m.address, pg_catalog.pg_current_xact_id_if_assigned()::text \
FROM (SELECT 1) AS one LEFT JOIN tidegate.members AS m ON NOT m.fenced";

/// A committed join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinedTable {
    /// The epoch of the connection.
    pub epoch: Epoch,
    /// Taken after the row was committed.
    pub base: Xid,
}

/// A renewed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewedLease {
    /// The epoch of the connection.
    pub epoch: Epoch,
    /// Everybody who is not fenced, read after the renewal.
    pub members: Vec<Member>,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentMembers {
    /// The epoch of the connection.
    pub epoch: Epoch,
    /// Everybody who is not fenced.
    pub members: Vec<Member>,
}

/// The member table of one shard.
#[derive(Debug)]
pub struct Members {
    link: Arc<Link>,
    /// As the shard's URL has it.
    config: tokio_postgres::Config,
    // Held across statements: they are one after the other anyway. Empty while one is under way, so that an order
    // that is given up takes its connection along.
    lease: Mutex<Option<Connection>>,
    fence: Mutex<Option<Connection>>,
}

impl Members {
    pub(crate) fn new(link: Arc<Link>, config: &tokio_postgres::Config) -> Self {
        Self { link, config: session(config), lease: Mutex::default(), fence: Mutex::default() }
    }

    /// Writes the row and commits, then takes a transaction id. Creates the table where there is none. Always on a
    /// new connection, which has been looked at.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Members`] says what the role may not do, and the SQL that mends it.
    pub async fn join(&self, row: &Member) -> Result<JoinedTable, StoreError> {
        let mut place = self.lease.lock().await;
        *place = None;
        let connection = self.open().await?;
        self.ensure(&connection).await?;
        let lease_ms = i64::try_from(row.lease.as_millis()).unwrap_or(i64::MAX);
        let types = [Type::TEXT, Type::INT8, Type::INT8, Type::TEXT];
        let statement = connection.client.prepare_typed(JOIN, &types).await.map_err(|e| self.wrong(&e))?;
        let (id, address) = (&*row.id, &*row.address);
        let written = connection.client.execute(&statement, &[&id, &row.incarnation, &lease_ms, &address]).await;
        if written.map_err(|e| self.wrong(&e))? != 1 {
            return Err(self.unusable("a later incarnation of this gateway has joined"));
        }
        let base = connection.own_xid(&self.link.name).await?;
        // Rows of long ago are in nobody's way; whoever may not delete them leaves them.
        drop(connection.client.batch_execute(SWEEP).await);
        let epoch = connection.epoch;
        *place = Some(connection);
        Ok(JoinedTable { epoch, base })
    }

    /// Renews the lease of a row, and reads the table. `None` if the row is fenced, gone, or of another incarnation.
    ///
    /// # Errors
    /// See [`StoreError`]; the renewal may have been made.
    pub async fn renew(&self, row: &Member) -> Result<Option<RenewedLease>, StoreError> {
        let mut place = self.lease.lock().await;
        let connection = self.current(place.take()).await?;
        let renew = connection.prepared(RENEW).await.map_err(|e| self.wrong(&e))?;
        let all = connection.prepared(ALL).await.map_err(|e| self.wrong(&e))?;
        let (client, id) = (&connection.client, &*row.id);
        let (renewed, members) = join(client.execute(&renew, &[&id, &row.incarnation]), client.query(&all, &[])).await;
        let (renewed, members) = (renewed.map_err(|e| self.wrong(&e))?, members.map_err(|e| self.wrong(&e))?);
        let members = members.iter().map(|row| self.member(row)).collect::<Result<_, _>>()?;
        let epoch = connection.epoch;
        *place = Some(connection);
        Ok((renewed == 1).then_some(RenewedLease { epoch, members }))
    }

    /// Fences a member whose row still has this incarnation and beat; when this returns it is committed. Gives the
    /// row if it has renewed meanwhile; `None` if it is fenced, has left or has joined anew.
    ///
    /// # Errors
    /// See [`StoreError`]; it may be fenced all the same.
    pub async fn fence(&self, row: &Member) -> Result<Option<Member>, StoreError> {
        let mut place = self.fence.lock().await;
        let connection = self.current(place.take()).await?;
        let fence = connection.prepared(FENCE).await.map_err(|e| self.wrong(&e))?;
        let one = connection.prepared(ONE).await.map_err(|e| self.wrong(&e))?;
        let (client, id) = (&connection.client, &*row.id);
        let fenced = client.execute(&fence, &[&id, &row.incarnation, &row.beat]).await.map_err(|e| self.wrong(&e))?;
        let alive = if fenced == 1 {
            None
        } else {
            client.query_opt(&one, &[&id, &row.incarnation]).await.map_err(|e| self.wrong(&e))?
        };
        *place = Some(connection);
        alive.map(|row| self.member(&row)).transpose()
    }

    /// The members that are not fenced.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn all(&self) -> Result<PresentMembers, StoreError> {
        let mut place = self.fence.lock().await;
        let connection = self.current(place.take()).await?;
        let all = connection.prepared(ALL).await.map_err(|e| self.wrong(&e))?;
        let rows = connection.client.query(&all, &[]).await.map_err(|e| self.wrong(&e))?;
        let epoch = connection.epoch;
        *place = Some(connection);
        let members = rows.iter().map(|row| self.member(row)).collect::<Result<_, _>>()?;
        Ok(PresentMembers { epoch, members })
    }

    /// Removes a row, of this incarnation only.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn leave(&self, row: &Member) -> Result<(), StoreError> {
        let mut place = self.lease.lock().await;
        let connection = self.current(place.take()).await?;
        let leave = connection.prepared(LEAVE).await.map_err(|e| self.wrong(&e))?;
        let left = connection.client.execute(&leave, &[&&*row.id, &row.incarnation]).await;
        left.map(|_| ()).map_err(|e| self.wrong(&e))
    }

    /// Does what a gateway does with the table, and undoes it: creates it, and writes, renews and removes a row.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Members`] says what the role may not do, and the SQL that mends it.
    pub async fn check(&self) -> Result<(), StoreError> {
        let connection = self.open().await?;
        self.ensure(&connection).await?;
        let text = "BEGIN; \
            INSERT INTO tidegate.members (id, incarnation, beat, lease_ms, address, expires, fenced) \
            VALUES ('tidegate check', 1, 0, 1, '', pg_catalog.clock_timestamp(), true) ON CONFLICT (id) DO NOTHING; \
            UPDATE tidegate.members SET beat = beat + 1 WHERE id = 'tidegate check'; \
            DELETE FROM tidegate.members WHERE id = 'tidegate check'; SELECT id FROM tidegate.members; ROLLBACK";
        connection.client.batch_execute(text).await.map_err(|e| self.wrong(&e))
    }

    /// Creates the table where there is none.
    async fn ensure(&self, connection: &Connection) -> Result<(), StoreError> {
        // Looked at first: who may not create needs nothing but the table.
        let exists = "SELECT pg_catalog.to_regclass('tidegate.members') IS NOT NULL";
        let found = connection.client.query_one(exists, &[]).await;
        if found.and_then(|row| row.try_get::<_, bool>(0)).map_err(|e| self.wrong(&e))? {
            return Ok(());
        }
        let create = format!("BEGIN; {CREATE_TURN}; {TABLE} COMMIT");
        connection.client.batch_execute(&create).await.map_err(|e| self.wrong(&e))?;
        tracing::info!(shard = %self.link.name, "created the table tidegate.members");
        Ok(())
    }

    /// The connection, or another one if it is closed or of an older epoch.
    async fn current(&self, connection: Option<Connection>) -> Result<Connection, StoreError> {
        match connection {
            Some(connection) if !connection.client.is_closed() && connection.epoch == self.link.identity.epoch() => {
                Ok(connection)
            }
            _ => self.open().await,
        }
    }

    async fn open(&self) -> Result<Connection, StoreError> {
        let Link { name, identity, metrics, .. } = &*self.link;
        let (connection, continuity) = Connection::open(&self.config, STATEMENT_TIMEOUT, name, identity).await?;
        metrics.connects.inc();
        if continuity == Continuity::Broken {
            metrics.epochs.inc();
        }
        Ok(connection)
    }

    fn member(&self, row: &Row) -> Result<Member, StoreError> {
        member(row).map_err(|_| StoreError::Protocol { shard: self.link.name.clone(), reason: "a member".into() })
    }

    fn wrong(&self, error: &tokio_postgres::Error) -> StoreError {
        table_error(&self.link.name, error)
    }

    fn unusable(&self, reason: &str) -> StoreError {
        StoreError::Members { shard: self.link.name.clone(), reason: reason.into() }
    }
}

/// What is wrong with the table, or the shard.
pub(crate) fn table_error(shard: &Arc<str>, error: &tokio_postgres::Error) -> StoreError {
    let reason = match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("42501") => format!(
            "the role may not use or create the table tidegate.members. Somebody who may runs, with its name for \
             ROLE:\n{TABLE}\n{GRANTS}"
        ),
        Some("42P01" | "3F000") => "there is no table tidegate.members yet".to_owned(),
        Some("42703" | "42804") => "the table tidegate.members is of another version of the gateway. Stop every \
             gateway, drop it, and start them again"
            .to_owned(),
        Some("25006") => "the database takes no writes".to_owned(),
        _ => return statement_error(shard, error),
    };
    StoreError::Members { shard: shard.clone(), reason: reason.into() }
}

/// A row of `id, incarnation, beat, lease_ms, address`.
pub(crate) fn member(row: &Row) -> Result<Member, tokio_postgres::Error> {
    let lease_ms: i64 = row.try_get(3)?;
    Ok(Member {
        id: row.try_get::<_, &str>(0)?.into(),
        incarnation: row.try_get(1)?,
        beat: row.try_get(2)?,
        lease: Duration::from_millis(u64::try_from(lease_ms).unwrap_or(0)),
        address: row.try_get::<_, &str>(4)?.into(),
    })
}

fn session(config: &tokio_postgres::Config) -> tokio_postgres::Config {
    let mut config = config.clone();
    let options = format!(
        "{} -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off \
         -c synchronous_commit=local -c statement_timeout={}ms -c lock_timeout={}ms \
         -c idle_in_transaction_session_timeout={}ms",
        config.get_options().unwrap_or_default(),
        STATEMENT_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        STATEMENT_TIMEOUT.as_millis(),
    );
    config
        .options(options.trim())
        .application_name("tidegate members")
        .connect_timeout(Duration::from_secs(2))
        .tcp_user_timeout(Duration::from_secs(3))
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3);
    config
}
