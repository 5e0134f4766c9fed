//! Redis and Valkey: a server, what sentinels point to, or a cluster. One connection to each server, on which calls
//! are pipelined (ADR 0009).

mod link;
mod servers;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, Value};
use tidegate_types::settings::L2Servers;
use tokio::{task::JoinHandle, time::timeout};

use self::link::{Link, PATIENCE};
use super::{
    CacheTier, Put, Reply, TierError, TierState,
    metrics::{PutOutcome, TierMetrics},
    queue::{Outlet, Puts, QueueBounds, Waiting, queue},
};

/// Values written at once.
const BATCH: usize = 64;

/// A tier of Redis servers. Connects, and connects again, by itself; stops when it is dropped.
#[derive(Debug)]
pub struct RedisTier {
    link: Arc<Link>,
    puts: Puts,
    metrics: TierMetrics,
    tasks: [JoinHandle<()>; 2],
}

impl RedisTier {
    /// Starts to connect. To be called within a Tokio runtime.
    #[must_use]
    pub fn start(servers: L2Servers, bounds: QueueBounds, metrics: TierMetrics) -> Self {
        let link = Arc::new(Link::new());
        let (puts, outlet) = queue(bounds);
        let keeper = tokio::spawn(link::keep(link.clone(), servers, metrics.clone()));
        let writer = tokio::spawn(write(outlet, link.clone(), puts.clone(), metrics.clone()));
        Self { link, puts, metrics, tasks: [keeper, writer] }
    }
}

impl Drop for RedisTier {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl CacheTier for RedisTier {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Bytes>> {
        Box::pin(async move {
            let mut command = Cmd::with_capacity(2, key.len() + 3);
            command.arg("GET").arg(key);
            match self.link.call(&command).await? {
                Value::Nil => Ok(None),
                Value::BulkString(value) => {
                    self.metrics.read(key.len() + value.len());
                    Ok(Some(value.into()))
                }
                _ => Err(TierError::Failed("GET was not answered with a string".to_owned())),
            }
        })
    }

    fn put(&self, put: Put) -> Result<(), TierError> {
        let offered = self.puts.offer(put);
        if offered.is_err() {
            self.metrics.put(PutOutcome::Dropped);
        }
        self.metrics.waiting(self.puts.bytes());
        offered
    }

    fn delete<'a>(&'a self, keys: &'a [Bytes]) -> Reply<'a, ()> {
        Box::pin(async move {
            // One by one: in a cluster they are on different servers.
            let commands: Vec<Cmd> = keys
                .iter()
                .map(|key| {
                    let mut command = Cmd::with_capacity(2, key.len() + 6);
                    command.arg("UNLINK").arg(&key[..]);
                    command
                })
                .collect();
            let answers = join_all(commands.iter().map(|command| self.link.call(command))).await;
            answers.into_iter().try_for_each(|answer| answer.map(|_| ()))
        })
    }

    fn state(&self) -> TierState {
        if self.link.is_connected() { TierState::Up } else { TierState::Down }
    }
}

/// Writes what was handed in, a batch at a time, until nobody can hand in more.
async fn write(mut outlet: Outlet, link: Arc<Link>, puts: Puts, metrics: TierMetrics) {
    loop {
        let batch = outlet.take(BATCH).await;
        if batch.is_empty() {
            return;
        }
        if link.is_connected() {
            join_all(batch.iter().map(|waiting| write_one(waiting, &link, &metrics))).await;
        } else {
            batch.iter().for_each(|_| metrics.put(PutOutcome::Dropped));
        }
        drop(batch);
        metrics.waiting(puts.bytes());
    }
}

async fn write_one(waiting: &Waiting, link: &Link, metrics: &TierMetrics) {
    let Put { key, value, ttl } = &waiting.put;
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_TTL);
    let mut command = Cmd::with_capacity(5, waiting.put.bytes() + 16);
    command.arg("SET").arg(&key[..]).arg(&value[..]).arg("PX").arg(ttl);
    match timeout(PATIENCE, link.call(&command)).await {
        Ok(Ok(_)) => {
            metrics.put(PutOutcome::Written);
            metrics.written(waiting.put.bytes());
        }
        Ok(Err(_)) | Err(_) => metrics.put(PutOutcome::Failed),
    }
}

/// Ten years in milliseconds: Redis refuses times that overflow its clock.
const LONGEST_TTL: u64 = 10 * 365 * 24 * 3600 * 1000;
