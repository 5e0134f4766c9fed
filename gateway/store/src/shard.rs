//! One shard: how to reach its primary, and whether it answers.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use parking_lot::Mutex;
use tidegate_types::{
    epoch::Epochs,
    route::ShardId,
    settings::{PoolsSettings, ShardSettings},
};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    error::StoreError,
    gate::Gate,
    identity::Identity,
    loader::Loader,
    members::Members,
    metrics::{Metrics, ShardMetrics},
    pool::{Class, ClassPool, Lease},
    store::{Reachable, ShardState},
};

/// What the pools of a shard share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    pub(crate) gate: Gate,
    pub(crate) identity: Identity,
    pub(crate) metrics: ShardMetrics,
    reachable: AtomicU8,
    last_error: Mutex<Option<Arc<str>>>,
}

impl Link {
    /// The shard answered.
    pub(crate) fn answered(&self) {
        self.reachable.store(Reachable::Yes as u8, Ordering::Relaxed);
    }

    /// The shard did not answer.
    pub(crate) fn failed(&self, reason: &Arc<str>) {
        if self.reachable.swap(Reachable::No as u8, Ordering::Relaxed) != Reachable::No as u8 {
            tracing::warn!(shard = %self.name, %reason, "a shard cannot be reached");
        }
        *self.last_error.lock() = Some(reason.clone());
    }

    /// Learns from a statement's result.
    pub(crate) fn judge<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) | Err(StoreError::Database { .. }) => self.answered(),
            Err(StoreError::Unavailable { reason, .. }) => self.failed(reason),
            Err(_) => {}
        }
    }

    fn reachable(&self) -> Reachable {
        match self.reachable.load(Ordering::Relaxed) {
            value if value == Reachable::Yes as u8 => Reachable::Yes,
            value if value == Reachable::No as u8 => Reachable::No,
            _ => Reachable::Unknown,
        }
    }
}

/// A shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) link: Arc<Link>,
    point: Arc<ClassPool>,
    scan: Arc<ClassPool>,
    write: Arc<ClassPool>,
    batch: Arc<ClassPool>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) members: Arc<Members>,
    /// As its URL has it.
    pub(crate) config: tokio_postgres::Config,
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        name: &str,
        settings: &ShardSettings,
        pools: &PoolsSettings,
        epochs: Epochs,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let name: Arc<str> = name.into();
        let config = parse_url(&name, settings.primary.reveal())?;
        let link = Arc::new(Link {
            name: name.clone(),
            gate: Gate::new(),
            identity: Identity::new(id, name.clone(), epochs),
            metrics: metrics.shard(&name),
            reachable: AtomicU8::new(Reachable::Unknown as u8),
            last_error: Mutex::new(None),
        });
        let pool = |class, settings| {
            ClassPool::new(class, settings, link.clone(), &config, metrics.pool(&name, class)).map(Arc::new)
        };
        let point = pool(Class::Point, pools.point)?;
        let loader = Arc::new(Loader::new(link.clone(), point.clone()));
        let members = Arc::new(Members::new(link.clone(), &config));
        let (scan, write) = (pool(Class::Scan, pools.scan)?, pool(Class::Write, pools.write)?);
        let batch = pool(Class::Batch, pools.batch)?;
        Ok(Self { point, scan, write, batch, link, loader, members, config })
    }

    fn pool(&self, class: Class) -> &Arc<ClassPool> {
        match class {
            Class::Point => &self.point,
            Class::Scan => &self.scan,
            Class::Write => &self.write,
            Class::Batch => &self.batch,
        }
    }

    pub(crate) async fn lease(&self, class: Class) -> Result<Lease, StoreError> {
        self.pool(class).lease().await
    }

    pub(crate) fn resize(&self, pools: &PoolsSettings) {
        self.point.resize(pools.point);
        self.scan.resize(pools.scan);
        self.write.resize(pools.write);
        self.batch.resize(pools.batch);
    }

    pub(crate) async fn warm(&self) {
        for class in Class::ALL {
            self.pool(class).warm().await;
        }
    }

    pub(crate) fn state(&self) -> ShardState {
        ShardState {
            name: self.link.name.to_string(),
            reachable: self.link.reachable(),
            epoch: self.link.identity.epoch().0,
            last_error: self.link.last_error.lock().as_deref().map(str::to_owned),
            pools: Class::ALL.iter().map(|class| self.pool(*class).state()).collect(),
        }
    }
}

/// As whom, and with which options, which database is asked: a number that is the same in every process.
pub(crate) fn access(config: &tokio_postgres::Config) -> u64 {
    let mut hash = Xxh3Default::new();
    for text in [config.get_dbname(), config.get_user(), config.get_options()] {
        hash.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    }
    hash.digest()
}

/// Parses a shard's URL. The error never repeats it: it may hold a password.
fn parse_url(shard: &Arc<str>, url: &str) -> Result<tokio_postgres::Config, StoreError> {
    let setup = |reason: &str| StoreError::Setup { shard: shard.clone(), reason: reason.into() };
    let config: tokio_postgres::Config = url.parse().map_err(|_| {
        setup(
            "`primary` is not a valid URL; expected postgres://user:password@host:port/database \
             (special characters of the password percent-encoded)",
        )
    })?;
    let empty = tokio_postgres::config::Host::Tcp(String::new());
    if config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(|host| *host == empty) {
        return Err(setup("`primary` names no host; expected postgres://user:password@host:port/database"));
    }
    if config.get_hosts().len() > 1 {
        return Err(setup("`primary` names several hosts; a shard has one primary"));
    }
    if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
        return Err(setup("`sslmode=require` is not supported yet; connect over a trusted network or a local proxy"));
    }
    Ok(config)
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
            "postgres://u:hunter2@a,b/db",
            "postgres://u:hunter2@h/db?sslmode=require",
            "postgres://u:hunter2@h/db?hunter2=x",
        ] {
            let error = parse_url(&Arc::from("a"), url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
        }
        assert!(parse_url(&Arc::from("a"), "postgres://u:hunter2@h:5432/db").is_ok());
    }
}
