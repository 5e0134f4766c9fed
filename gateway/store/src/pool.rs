//! The pools of a shard: one per class, so that lists never starve keyed reads and neither starves writes.

use std::{future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use deadpool::{
    Runtime,
    managed::{Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType, Timeouts},
};
use tidegate_types::settings::PoolSettings;
use tokio::time::Instant;

use crate::{
    connection::{Connection, statement_error, unavailable},
    error::StoreError,
    identity::Continuity,
    metrics::PoolMetrics,
    shard::Link,
    store::PoolState,
};

/// Time for a new connection, waiting at the gate included.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer than its `statement_timeout` the gateway waits for a statement before it takes the
/// connection for dead.
const SILENCE: Duration = Duration::from_secs(2);

/// What a pool is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Keyed, batched reads.
    Point,
    /// Lists.
    Scan,
    /// Writes.
    Write,
    /// What write-behind brings to the shard.
    Batch,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Point, Self::Scan, Self::Write, Self::Batch];

    /// The name used in configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Point => "point",
            Self::Scan => "scan",
            Self::Write => "write",
            Self::Batch => "batch",
        }
    }
}

/// Makes and checks the connections of one pool.
#[derive(Debug)]
pub(crate) struct Manager {
    link: Arc<Link>,
    class: Class,
    /// As the shard's URL has it.
    config: tokio_postgres::Config,
    settings: Arc<ArcSwap<PoolSettings>>,
}

impl deadpool::managed::Manager for Manager {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> Result<Connection, StoreError> {
        let link = &self.link;
        let pass = link.gate.enter().await.map_err(|reason| unavailable(&link.name, &reason))?;
        let timeout = self.settings.load().statement_timeout;
        let config = class_config(self.config.clone(), self.class, timeout);
        match Connection::open(&config, timeout, &link.name, &link.identity).await {
            Ok((connection, continuity)) => {
                pass.succeeded();
                link.answered();
                link.metrics.connects.inc();
                if continuity == Continuity::Broken {
                    link.metrics.epochs.inc();
                }
                Ok(connection)
            }
            Err(error) => {
                let reason: Arc<str> = match &error {
                    StoreError::Unavailable { reason, .. } => reason.clone(),
                    other => other.to_string().into(),
                };
                link.metrics.connect_failures.inc();
                link.failed(&reason);
                pass.failed(reason);
                Err(error)
            }
        }
    }

    async fn recycle(&self, connection: &mut Connection, _: &deadpool::managed::Metrics) -> RecycleResult<StoreError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        if connection.epoch != self.link.identity.epoch() {
            return Err(RecycleError::message("verified in an older epoch"));
        }
        if connection.statement_timeout != self.settings.load().statement_timeout {
            return Err(RecycleError::message("opened with another statement_timeout"));
        }
        Ok(())
    }
}

/// One pool.
#[derive(Debug)]
pub(crate) struct ClassPool {
    class: Class,
    settings: Arc<ArcSwap<PoolSettings>>,
    link: Arc<Link>,
    pool: Pool<Manager>,
    metrics: PoolMetrics,
}

impl ClassPool {
    pub(crate) fn new(
        class: Class,
        settings: PoolSettings,
        link: Arc<Link>,
        config: &tokio_postgres::Config,
        metrics: PoolMetrics,
    ) -> Result<Self, StoreError> {
        let max = settings.max.max(1);
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let manager = Manager { link: link.clone(), class, config: config.clone(), settings: settings.clone() };
        let pool = Pool::builder(manager)
            .max_size(max)
            // The connection used last has the warmest caches.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Setup { shard: link.name.clone(), reason: error.to_string().into() })?;
        Ok(Self { class, settings, link, pool, metrics })
    }

    /// A verified connection of the current epoch.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let asked = Instant::now();
        let wait = self.settings.load().wait_timeout;
        let timeouts = Timeouts { wait: Some(wait), create: Some(CREATE_TIMEOUT), recycle: None };
        let got = self.pool.timeout_get(&timeouts).await;
        self.metrics.wait.observe(asked.elapsed().as_secs_f64());
        match got {
            Ok(object) => Ok(Lease { object: Some(object), pool: self.clone() }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                self.metrics.timeouts.inc();
                Err(StoreError::PoolTimeout { shard: self.link.name.clone(), class: self.class.as_str() })
            }
            Err(other) => Err(unavailable(&self.link.name, &other.to_string())),
        }
    }

    /// Changes the pool's sizes and times. Connections beyond the new `max` are closed as they come free; those
    /// with another `statement_timeout` are replaced before their next use.
    pub(crate) fn resize(&self, settings: PoolSettings) {
        self.settings.store(Arc::new(settings));
        self.pool.resize(settings.max.max(1));
    }

    /// Opens the pool's `min` connections; stops at the first that fails.
    pub(crate) async fn warm(self: &Arc<Self>) {
        let settings = **self.settings.load();
        let mut leases = Vec::new();
        while leases.len() < settings.min.min(settings.max) {
            match self.lease().await {
                Ok(lease) => leases.push(lease),
                Err(error) => {
                    tracing::warn!(class = self.class.as_str(), %error, "a pool could not be filled");
                    break;
                }
            }
        }
        leases.into_iter().for_each(Lease::release);
    }

    pub(crate) fn state(&self) -> PoolState {
        let status = self.pool.status();
        PoolState {
            class: self.class.as_str(),
            size: status.size,
            max: status.max_size,
            idle: status.available,
            waiting: status.waiting,
        }
    }
}

/// The session every connection of a class has.
fn class_config(config: tokio_postgres::Config, class: Class, statement_timeout: Duration) -> tokio_postgres::Config {
    let access = match class {
        Class::Point | Class::Scan => Access::Read,
        Class::Write | Class::Batch => Access::Write,
    };
    session_config(config, class.as_str(), access, statement_timeout)
}

/// Whether a session may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A session whose answers do not depend on the role's or the database's defaults.
pub(crate) fn session_config(
    mut config: tokio_postgres::Config,
    purpose: &str,
    access: Access,
    statement_timeout: Duration,
) -> tokio_postgres::Config {
    let read_only = if access == Access::Write { "off" } else { "on" };
    let options = format!(
        "{} -c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1 -c bytea_output=hex \
         -c default_transaction_isolation=read\\ committed -c default_transaction_read_only={read_only} \
         -c statement_timeout={}ms -c idle_in_transaction_session_timeout={}ms",
        config.get_options().unwrap_or_default(),
        statement_timeout.as_millis(),
        (statement_timeout + SILENCE).as_millis() * 2,
    );
    config
        .options(options.trim())
        .application_name(format!("tidegate {purpose}"))
        .connect_timeout(Duration::from_secs(2))
        // A peer that vanished is noticed in seconds, not in the kernel's quarter of an hour.
        .tcp_user_timeout(Duration::from_secs(3))
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3);
    config
}

/// A connection in use. Only [`Lease::release`] gives it back to its pool: dropped otherwise (an error, a request
/// that went away, a panic) it is closed, so that nobody meets another's open transaction or pending rows.
#[derive(Debug)]
pub(crate) struct Lease {
    object: Option<Object<Manager>>,
    pool: Arc<ClassPool>,
}

impl Lease {
    pub(crate) fn connection(&self) -> &Connection {
        self.object.as_deref().expect("a lease holds its connection until it is consumed")
    }

    pub(crate) fn shard(&self) -> &Arc<str> {
        &self.pool.link.name
    }

    /// Runs a statement; a database that stays silent for too long counts as failed.
    pub(crate) async fn run<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let limit = self.connection().statement_timeout + SILENCE;
        let result = match tokio::time::timeout(limit, statement).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(statement_error(self.shard(), &error)),
            Err(_) => Err(StoreError::StatementTimeout { shard: self.shard().clone() }),
        };
        self.pool.metrics.ran(started.elapsed());
        self.pool.link.judge(&result);
        result
    }

    /// Gives the connection back: nothing is pending on it.
    pub(crate) fn release(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            self.pool.metrics.discarded.inc();
            drop(Object::take(object));
        }
    }
}
