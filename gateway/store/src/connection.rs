//! One verified connection to a primary.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidegate_types::{
    epoch::{Epoch, Lineage},
    snapshot::{Snapshot, Xid},
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

use crate::{
    error::{DatabaseReport, StoreError},
    identity::{Continuity, Identity},
};

/// Time to connect, authenticate and verify.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Prepared statements kept per connection.
const MAX_STATEMENTS: usize = 64;

/// What every connection asks before it is used. A look at a standby fails on the primary-only
/// functions, so those stand behind `CASE`.
pub(crate) const VERIFY: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_snapshot()::text END, \
coalesce((SELECT max(backend_start) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'checkpointer'), \
pg_catalog.pg_postmaster_start_time())::text, \
(SELECT system_identifier::text FROM pg_catalog.pg_control_system()), \
CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
THEN left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END";

/// The same for roles that may not call the administrative functions.
pub(crate) const VERIFY_UNPRIVILEGED: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_snapshot()::text END, \
pg_catalog.pg_postmaster_start_time()::text, NULL, NULL";

/// In a transaction of its own, whatever the session's default is.
const OWN_XID: &str = "BEGIN READ WRITE; SELECT pg_catalog.pg_current_xact_id()::text; COMMIT";

/// A connection and the epoch it was verified in.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The epoch in which everything read over it counts.
    pub(crate) epoch: Epoch,
    /// A digest of what it showed of its server.
    pub(crate) lineage: u64,
    /// What it was opened with.
    pub(crate) statement_timeout: Duration,
    /// Drives the socket; aborting it closes the connection.
    driver: JoinHandle<()>,
    statements: Mutex<Statements>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects and verifies; `config` asks for the `statement_timeout`. On return the epoch already counts what the connection showed.
    pub(crate) async fn open(
        config: &Config,
        statement_timeout: Duration,
        shard: &Arc<str>,
        identity: &Identity,
    ) -> Result<(Self, Continuity), StoreError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, Self::open_untimed(config, statement_timeout, shard, identity))
            .await
        {
            Ok(result) => result,
            Err(_) => Err(unavailable(shard, "no answer to a new connection in time")),
        }
    }

    async fn open_untimed(
        config: &Config,
        statement_timeout: Duration,
        shard: &Arc<str>,
        identity: &Identity,
    ) -> Result<(Self, Continuity), StoreError> {
        let (client, connection) = config.connect(NoTls).await.map_err(|e| unavailable(shard, &describe(&e)))?;
        let name = shard.clone();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(shard = %name, error = %describe(&error), "a connection ended");
            }
        });
        let mut this = Self {
            client,
            epoch: identity.epoch(),
            lineage: 0,
            statement_timeout,
            driver,
            statements: Mutex::default(),
        };
        let before = identity.before();
        let (shown, snapshot) = this.look(shard).await?;
        this.lineage = shown.digest();
        let (epoch, continuity) = identity
            .observe(shown, snapshot.xmax, before)
            .map_err(|superseded| unavailable(shard, &superseded.to_string()))?;
        this.epoch = epoch;
        // Of its own epoch only: if another has begun meanwhile, its server may not be this one.
        if identity.base(epoch).is_none() {
            identity.set_base(epoch, this.base(shard, snapshot.xmax).await?);
        }
        Ok((this, continuity))
    }

    /// An xid of one's own, ended at once: what is kept from here on sees everything up to it, and with that
    /// what a gateway that died may have left under way. Where nothing can be written, nobody wrote.
    async fn base(&self, shard: &Arc<str>, xmax: Xid) -> Result<Xid, StoreError> {
        match self.client.simple_query(OWN_XID).await {
            Ok(messages) => xid_of(shard, &messages),
            Err(error) if error.code().is_some_and(|code| code.code() == "25006") => Ok(xmax),
            Err(error) => Err(unavailable(shard, &describe(&error))),
        }
    }

    /// A transaction id of one's own, ended at once.
    pub(crate) async fn own_xid(&self, shard: &Arc<str>) -> Result<Xid, StoreError> {
        let messages = self.client.simple_query(OWN_XID).await.map_err(|e| unavailable(shard, &describe(&e)))?;
        xid_of(shard, &messages)
    }

    async fn look(&self, shard: &Arc<str>) -> Result<(Lineage, Snapshot), StoreError> {
        let answer = match self.client.simple_query(VERIFY).await {
            // Denied, or not offered by a managed server.
            Err(error) if error.code().is_some_and(|code| matches!(code.code(), "42501" | "0A000")) => {
                self.client.simple_query(VERIFY_UNPRIVILEGED).await
            }
            other => other,
        };
        let messages = match answer {
            Err(error) if error.code().is_some_and(|code| code.code() == "42883") => {
                return Err(unavailable(shard, "PostgreSQL 13 or newer is needed"));
            }
            other => other.map_err(|e| unavailable(shard, &describe(&e)))?,
        };
        let row = messages.iter().find_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None });
        let row = row.ok_or_else(|| unavailable(shard, "no answer to the verification query"))?;
        shown(shard, |i| row.try_get(i).ok().flatten().map(str::to_owned))
    }

    /// A prepared statement from the connection's cache, or a new one in it.
    pub(crate) async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.lock().get(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().put(sql, statement.clone());
        Ok(statement)
    }

    /// Drops a statement from the cache, to be prepared anew.
    pub(crate) fn forget(&self, sql: &str) {
        self.statements.lock().by_text.remove(sql);
    }
}

/// What an answer to [`VERIFY`] shows, by column.
pub(crate) fn shown(
    shard: &Arc<str>,
    text: impl Fn(usize) -> Option<String>,
) -> Result<(Lineage, Snapshot), StoreError> {
    if text(0).as_deref() == Some("t") {
        return Err(unavailable(shard, "it is a standby (in recovery), and `primary` must name the primary"));
    }
    let snapshot = text(1).and_then(|text| Snapshot::parse(&text).ok());
    let snapshot = snapshot.ok_or_else(|| unavailable(shard, "pg_current_snapshot() gave no snapshot"))?;
    Ok((Lineage { system: text(3), timeline: text(4), started: text(2).unwrap_or_default() }, snapshot))
}

fn xid_of(shard: &Arc<str>, messages: &[SimpleQueryMessage]) -> Result<Xid, StoreError> {
    let row = messages.iter().find_map(|m| if let SimpleQueryMessage::Row(row) = m { row.get(0) } else { None });
    let xid = row.and_then(|text| text.parse().ok()).map(Xid);
    xid.ok_or_else(|| unavailable(shard, "pg_current_xact_id() gave no transaction id"))
}

/// Prepared statements by their text; the one unused for longest makes room.
#[derive(Default)]
struct Statements {
    by_text: HashMap<Box<str>, (Statement, u64)>,
    clock: u64,
}

impl std::fmt::Debug for Statements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statements").field("len", &self.by_text.len()).finish()
    }
}

impl Statements {
    fn get(&mut self, sql: &str) -> Option<Statement> {
        self.clock += 1;
        let (statement, used) = self.by_text.get_mut(sql)?;
        *used = self.clock;
        Some(statement.clone())
    }

    fn put(&mut self, sql: &str, statement: Statement) {
        if self.by_text.len() >= MAX_STATEMENTS {
            let oldest = self.by_text.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| text.clone());
            if let Some(oldest) = oldest {
                self.by_text.remove(&oldest);
            }
        }
        self.by_text.insert(sql.into(), (statement, self.clock));
    }
}

/// An error's chain in one line. tokio-postgres puts no passwords into errors.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

pub(crate) fn unavailable(shard: &Arc<str>, reason: &str) -> StoreError {
    StoreError::Unavailable { shard: shard.clone(), reason: reason.into() }
}

/// Sorts an error of a statement into ours: the shard's fault, or the statement's.
pub(crate) fn statement_error(shard: &Arc<str>, error: &tokio_postgres::Error) -> StoreError {
    use std::error::Error as _;
    use tokio_postgres::error::Severity;
    if let Some(report) = error.as_db_error() {
        let code = report.code().code();
        let fatal = matches!(report.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        if fatal || code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03") {
            return unavailable(shard, report.message());
        }
        let report = DatabaseReport {
            code: code.to_owned(),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
        };
        return StoreError::Database { shard: shard.clone(), report: Arc::new(report) };
    }
    if error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()) {
        return unavailable(shard, &describe(error));
    }
    StoreError::Protocol { shard: shard.clone(), reason: describe(error).into() }
}
