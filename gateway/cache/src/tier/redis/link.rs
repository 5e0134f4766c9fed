//! The connection: made, watched and made again by one task; calls never wait for it to be made.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use redis::{
    Cmd, ErrorKind, RedisError, RedisFuture, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};
use tidegate_types::settings::L2Servers;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{super::metrics::TierMetrics, servers};
use crate::tier::TierError;

/// How long anything that no request waits for may take: connecting, writing, a sign of life.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How often a connection is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(1);
/// The pause before the second attempt to connect. It doubles with each one that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that many calls share.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    One(MultiplexedConnection),
    /// To the servers of a cluster; it connects to each by itself.
    Cluster(ClusterConnection),
}

impl Connection {
    fn send<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }
}

/// The connection there is at the moment, if there is one.
pub(super) struct Link {
    now: ArcSwapOption<Connection>,
    broken: Notify,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("connected", &self.is_connected()).finish()
    }
}

impl Link {
    pub(super) fn new() -> Self {
        Self { now: ArcSwapOption::empty(), broken: Notify::new() }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.now.load().is_some()
    }

    /// Makes a call. Does not bound its time: who calls does.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, TierError> {
        let connection = self.now.load().as_deref().cloned();
        let mut connection = connection.ok_or_else(|| TierError::Unavailable("no connection yet".to_owned()))?;
        connection.send(command).await.and_then(Value::extract_error).map_err(|error| {
            if is_broken(&error) {
                self.broken.notify_one();
                TierError::Unavailable(error.to_string())
            } else {
                TierError::Failed(error.to_string())
            }
        })
    }
}

/// Whether another connection may help: this one is gone, or leads to a server that is no primary any more.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Io | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}

/// Keeps a connection for as long as it runs.
pub(super) async fn keep(link: Arc<Link>, servers: L2Servers, metrics: TierMetrics) {
    let (mut pause, mut silent) = (FIRST_PAUSE, Said::Nothing);
    loop {
        match timeout(PATIENCE, servers::connect(&servers)).await {
            Ok(Ok(connection)) => {
                metrics.connected();
                tracing::info!(servers = %servers::shown(&servers), "connected to the shared tier");
                (pause, silent) = (FIRST_PAUSE, Said::Nothing);
                // What broke was the connection before.
                let _ = link.broken.notified().now_or_never();
                link.now.store(Some(Arc::new(connection.clone())));
                watch(&link, connection).await;
                link.now.store(None);
                tracing::warn!(servers = %servers::shown(&servers), "lost the shared tier; going on without it");
            }
            failed => {
                metrics.not_connected();
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no connection within {PATIENCE:?}"),
                };
                // Once for each time it goes away.
                if silent == Said::Nothing {
                    tracing::warn!(servers = %servers::shown(&servers), reason, "cannot reach the shared tier; going on without it");
                    silent = Said::Unreachable;
                }
            }
        }
        sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Unreachable,
}

/// Returns when the connection is of no use any more.
async fn watch(link: &Link, mut connection: Connection) {
    loop {
        tokio::select! {
            () = link.broken.notified() => return,
            () = sleep(PULSE) => {}
        }
        // A cluster's connections are watched by the client: one server that is down must not cost the others.
        if matches!(connection, Connection::Cluster(_)) {
            continue;
        }
        let pulse = redis::cmd("PING");
        if !matches!(timeout(PATIENCE, connection.send(&pulse)).await, Ok(Ok(_))) {
            return;
        }
    }
}
