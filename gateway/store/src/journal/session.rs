//! Connections to the journal's database.
//!
//! # What makes it right
//! - A connection is used only if it leads to a primary that waits for standbys in every COMMIT of this role.
//! - A COMMIT whose wait for the standbys is cancelled (`pg_cancel_backend`) *succeeds*, with a WARNING. So warnings are
//!   counted, and a statement that brought one has not succeeded.
//! - Who empties `synchronous_standby_names` (some failover managers do when there is no standby left) lets every COMMIT that
//!   waits *succeed*, too. So each statement is followed, in the same flight, by a look at it: PostgreSQL tells its backends
//!   of a new configuration before it lets those go that wait.
//! - `statement_timeout` does not end that wait (PostgreSQL disarms it before), so the gateway has a clock of its own.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join;
use tidegate_types::settings::Secret;
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, Row, SimpleQueryMessage, Statement,
    config::{Host, SslMode},
    error::Severity,
    types::{ToSql, Type},
};

use super::error::JournalError;
use crate::connection::describe;

/// Time to connect to one host, authenticate and verify.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time of a statement, its COMMIT included.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time of a statement on the server, which does not count the wait for standbys.
const SERVER_TIMEOUT: Duration = Duration::from_secs(8);

/// What every connection shows before it is used.
const VERIFY: &str = "SELECT pg_catalog.pg_is_in_recovery()::text, \
pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.current_setting('synchronous_commit')";

/// Behind every statement.
const HAS_STANDBYS: &str = "SELECT pg_catalog.btrim(pg_catalog.current_setting('synchronous_standby_names')) <> ''";

const NO_STANDBYS: &str = "`synchronous_standby_names` is empty, so what it acknowledges is on one machine only: set it, \
with at least one standby, or use class \"local\"";

/// A bound value and its type.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// How the database is reached.
#[derive(Debug)]
pub(super) struct Database {
    /// Hosts and database, for people.
    pub(super) name: Arc<str>,
    /// One for each host, as the URL has it otherwise.
    hosts: Vec<(String, Config)>,
    /// Which host was the primary when last asked.
    primary: AtomicUsize,
}

impl Database {
    /// The error never repeats the URL: it may hold a password.
    pub(super) fn parse(url: &Secret) -> Result<Self, JournalError> {
        let setup = |reason: &str| JournalError::Setup { reason: reason.into() };
        let config: Config = url.reveal().parse().map_err(|_| {
            setup(
                "`database` is not a valid URL; expected postgres://user:password@host:port,host:port/database \
                 (special characters of the password percent-encoded)",
            )
        })?;
        if !config.get_hostaddrs().is_empty() {
            return Err(setup("`hostaddr` is not supported; name hosts or addresses before the database"));
        }
        if config.get_hosts().is_empty() || config.get_hosts().contains(&Host::Tcp(String::new())) {
            return Err(setup("`database` names no host; expected postgres://user:password@host:port/database"));
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(setup(
                "`sslmode=require` is not supported yet; connect over a trusted network or a local proxy",
            ));
        }
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = config.get_hosts().iter().enumerate();
        let hosts: Vec<_> = hosts.map(|(at, host)| one_host(&config, host, port(at))).collect();
        let named = hosts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
        let name = format!("{named}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default());
        Ok(Self { name: name.into(), hosts, primary: AtomicUsize::new(0) })
    }

    /// A verified connection to whichever host is the primary; first to the one that was. `purpose`: what the server
    /// shows it as.
    pub(super) async fn connect(&self, purpose: &str) -> Result<Session, JournalError> {
        let first = self.primary.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        let mut unfit = false;
        for at in (0..self.hosts.len()).map(|step| (first + step) % self.hosts.len()) {
            let (host, config) = &self.hosts[at];
            let opened = timeout(CONNECT_TIMEOUT, Session::open(self, config, purpose)).await;
            match opened.unwrap_or_else(|_| Err(JournalError::unavailable(&self.name, "no answer in time"))) {
                Ok(session) => {
                    self.primary.store(at, Ordering::Relaxed);
                    return Ok(session);
                }
                Err(JournalError::Unfit { reason, .. }) => {
                    unfit = true;
                    reasons.push(format!("{host}: {reason}"));
                }
                Err(JournalError::Unavailable { reason, .. }) => reasons.push(format!("{host}: {reason}")),
                Err(other) => reasons.push(format!("{host}: {other}")),
            }
        }
        let reason = reasons.join("; ");
        Err(match unfit {
            true => JournalError::unfit(&self.name, &reason),
            false => JournalError::unavailable(&self.name, &reason),
        })
    }
}

/// What reaches one of the hosts, and how it is called.
fn one_host(config: &Config, host: &Host, port: u16) -> (String, Config) {
    let mut one = Config::new();
    let name = match host {
        Host::Tcp(name) => {
            one.host(name);
            name.clone()
        }
        Host::Unix(path) => {
            one.host_path(path);
            path.display().to_string()
        }
    };
    one.port(port);
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(database) = config.get_dbname() {
        one.dbname(database);
    }
    let options = format!(
        "{} -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off \
         -c statement_timeout={}ms -c idle_in_transaction_session_timeout={}ms",
        config.get_options().unwrap_or_default(),
        SERVER_TIMEOUT.as_millis(),
        STATEMENT_TIMEOUT.as_millis() * 2,
    );
    one.options(options.trim())
        .channel_binding(config.get_channel_binding())
        .connect_timeout(CONNECT_TIMEOUT)
        // A peer that vanished is noticed in seconds, not in the kernel's quarter of an hour.
        .tcp_user_timeout(Duration::from_secs(3))
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3);
    (format!("{name}:{port}"), one)
}

/// One verified connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    name: Arc<str>,
    /// How many warnings the server sent. The driver counts one before it hands on what came behind it.
    warnings: Arc<AtomicU64>,
    /// Drives the socket; aborting it closes the connection.
    driver: JoinHandle<()>,
    /// `None` until verified.
    has_standbys: Option<Statement>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    async fn open(database: &Database, config: &Config, purpose: &str) -> Result<Self, JournalError> {
        let mut config = config.clone();
        config.application_name(format!("tidegate journal {purpose}"));
        let connected = config.connect(NoTls).await;
        let (client, mut connection) = connected.map_err(|error| JournalError::of(&database.name, &error))?;
        let warnings = Arc::new(AtomicU64::new(0));
        let (count, name) = (warnings.clone(), database.name.clone());
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => {
                        if notice.parsed_severity() == Some(Severity::Warning) {
                            tracing::warn!(database = %name, "the journal's database warns: {}", notice.message());
                            count.fetch_add(1, Ordering::Release);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(database = %name, error = %describe(&error), "a connection ended");
                        return;
                    }
                }
            }
        });
        let name = database.name.clone();
        let mut session = Self { client, name, warnings, driver, has_standbys: None };
        session.verify().await?;
        session.has_standbys = Some(session.run(session.client.prepare(HAS_STANDBYS)).await?);
        Ok(session)
    }

    async fn verify(&self) -> Result<(), JournalError> {
        let answered = self.client.simple_query(VERIFY).await.map_err(|error| JournalError::of(&self.name, &error))?;
        let row = answered.iter().find_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None });
        let text = |at| row.and_then(|row| row.try_get(at).ok().flatten()).unwrap_or_default();
        let unfit = |reason: &str| Err(JournalError::unfit(&self.name, reason));
        if text(0) != "false" {
            return unfit("it is a standby (in recovery), and the journal needs the primary");
        }
        // Before the first statement; behind it and all others it is looked at again.
        if text(1).trim().is_empty() {
            return unfit(NO_STANDBYS);
        }
        match text(2) {
            "on" | "remote_apply" | "remote_write" => Ok(()),
            other => unfit(&format!(
                "`synchronous_commit` is {other} for this role, so COMMIT does not wait for the standbys: \
                 ALTER ROLE ... SET synchronous_commit = on"
            )),
        }
    }

    /// Runs a statement. Silence for too long, and a warning that came meanwhile, count as a lost connection; without
    /// standbys it has not succeeded either.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, JournalError> {
        let warned = self.warnings.load(Ordering::Acquire);
        // Polled in this order, so sent in this order.
        let (done, has_standbys) = match timeout(STATEMENT_TIMEOUT, join(work, self.has_standbys())).await {
            Ok((done, has_standbys)) => (done.map_err(|error| JournalError::of(&self.name, &error))?, has_standbys),
            Err(_) => {
                let reason = "no answer in time (is there no synchronous standby?)";
                return Err(JournalError::unavailable(&self.name, reason));
            }
        };
        if !has_standbys.map_err(|error| JournalError::of(&self.name, &error))? {
            return Err(JournalError::unfit(&self.name, NO_STANDBYS));
        }
        if self.warnings.load(Ordering::Acquire) != warned {
            let reason = "it warned, as it does when a COMMIT was told not to wait for the standbys any longer";
            return Err(JournalError::unavailable(&self.name, reason));
        }
        Ok(done)
    }

    async fn has_standbys(&self) -> Result<bool, tokio_postgres::Error> {
        match &self.has_standbys {
            Some(look) => self.client.query_one(look, &[]).await?.try_get(0),
            None => Ok(true),
        }
    }

    /// Returns when the connection has ended.
    pub(super) async fn ended(&mut self) {
        // A driver that panicked has ended, too.
        let _ = (&mut self.driver).await;
    }
}

/// A connection that serves one order at a time, and is replaced when it was lost.
#[derive(Debug)]
pub(super) struct Channel {
    purpose: &'static str,
    // Held across the statement: they are one after the other anyway. Empty while one is under way, so that an order that
    // is given up takes its connection along.
    place: Mutex<Option<Session>>,
}

impl Channel {
    pub(super) fn new(purpose: &'static str) -> Self {
        Self { purpose, place: Mutex::default() }
    }

    /// One statement, which is its own transaction.
    pub(super) async fn query(
        &self,
        database: &Database,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, JournalError> {
        let mut place = self.place.lock().await;
        let session = self.current(database, place.take()).await?;
        let answered = session.run(session.client.query_typed(sql, params)).await;
        if matches!(answered, Ok(_) | Err(JournalError::Database { .. })) {
            *place = Some(session);
        }
        answered
    }

    /// Several statements without values. Always on a new connection, which has been looked at.
    pub(super) async fn script(&self, database: &Database, sql: &str) -> Result<(), JournalError> {
        let mut place = self.place.lock().await;
        *place = None;
        let session = self.current(database, None).await?;
        session.run(session.client.batch_execute(sql)).await?;
        *place = Some(session);
        Ok(())
    }

    async fn current(&self, database: &Database, session: Option<Session>) -> Result<Session, JournalError> {
        match session {
            Some(session) if !session.client.is_closed() => Ok(session),
            _ => database.connect(self.purpose).await,
        }
    }
}

/// A connection on which any number of reads are under way, one behind the other.
#[derive(Debug)]
pub(super) struct Reads(Mutex<Option<Arc<Session>>>);

impl Reads {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// One read, which is asked again where the connection was lost.
    pub(super) async fn query(
        &self,
        database: &Database,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, JournalError> {
        let session = self.current(database).await?;
        match session.run(session.client.query_typed(sql, params)).await {
            Err(JournalError::Unavailable { .. }) => {
                self.forget(&session).await;
                let session = self.current(database).await?;
                session.run(session.client.query_typed(sql, params)).await
            }
            other => other,
        }
    }

    async fn current(&self, database: &Database) -> Result<Arc<Session>, JournalError> {
        let mut place = self.0.lock().await;
        match &*place {
            Some(session) if !session.client.is_closed() => Ok(session.clone()),
            _ => Ok(place.insert(Arc::new(database.connect("reads").await?)).clone()),
        }
    }

    async fn forget(&self, lost: &Arc<Session>) {
        let mut place = self.0.lock().await;
        if place.as_ref().is_some_and(|session| Arc::ptr_eq(session, lost)) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_urls_are_refused_without_repeating_them() {
        for url in [
            "postgres://u:hunter2@host:notaport/db",
            "postgres://u:hunter2@/db?host=",
            "nonsense hunter2",
            "postgres://u:hunter2@h/db?sslmode=require",
            "postgres://u:hunter2@h/db?hostaddr=10.0.0.1",
            "postgres://u:hunter2@h/db?hunter2=x",
        ] {
            let error = Database::parse(&Secret::new(url.to_owned())).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_database_is_named_by_its_hosts_and_never_by_its_password() {
        let url = "postgres://u:hunter2@one:7000,two:7001/db?target_session_attrs=read-write";
        let database = Database::parse(&Secret::new(url.to_owned())).expect("a good URL");
        assert_eq!((&*database.name, database.hosts.len()), ("one:7000,two:7001/db", 2));
        assert!(!format!("{database:?}").contains("hunter2"));
        let one_port = Database::parse(&Secret::new("postgres://u@one,two/db".to_owned())).expect("a good URL");
        assert_eq!(&*one_port.name, "one:5432,two:5432/db");
    }
}
