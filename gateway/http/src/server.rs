//! The listener and its connections.

mod connection;
mod line;
mod pace;
mod sniff;

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_pipeline::Gateway;
use tidegate_types::settings::HttpSettings;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Connections;
use crate::{
    backend::Backend,
    drain::{Drain, DrainPhase},
    handler::Handler,
    limits::Limits,
    metrics::{Metrics, Rejection},
};

/// Connections the kernel keeps for us while the cap is reached.
const BACKLOG: i32 = 1024;
/// How long accepting rests after an error that is not one connection's (file descriptors used up).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long unacknowledged bytes of an answer may stay before the kernel gives the connection up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// `[http] listen`
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The public listener over a [`Backend`].
#[derive(Debug)]
pub struct Server<B = Gateway> {
    listener: TcpListener,
    address: SocketAddr,
    drain: Drain,
    drain_delay: Duration,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    connections: Connections<B>,
}

impl<B: Backend> Server<B> {
    /// Listens; nothing is accepted before [`Server::run`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(
        settings: &HttpSettings,
        backend: B,
        drain: Drain,
        registry: &mut Registry,
    ) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Bind { address: settings.listen, source };
        let listener = listen(settings.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let metrics = Metrics::register(registry);
        let handler = Handler::new(backend, Limits::new(settings), settings.cdn, metrics.clone());
        Ok(Self {
            listener,
            address,
            drain,
            drain_delay: settings.drain_delay,
            slots: Arc::new(Semaphore::new(settings.max_connections)),
            connections: Connections::new(settings, handler, metrics.clone()),
            metrics,
        })
    }

    /// The address listened on, with the port the system chose where 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains: announces it for `drain_delay` while still accepting,
    /// stops accepting, lets requests in flight finish for `drain_grace`, returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let closing = CancellationToken::new();
        let tracker = TaskTracker::new();
        let phases = async {
            shutdown.cancelled().await;
            self.drain.advance(DrainPhase::Announced);
            tokio::time::sleep(self.drain_delay).await;
            self.drain.advance(DrainPhase::Draining);
            closing.cancel();
        };
        tokio::join!(phases, self.accept(&closing, &tracker));
        // Refuses new connections at once instead of letting them wait in the backlog.
        drop(self.listener);
        tracker.close();
        // Each connection keeps to `drain_grace` by itself.
        tracker.wait().await;
        self.drain.advance(DrainPhase::Done);
    }

    async fn accept(&self, closing: &CancellationToken, tracker: &TaskTracker) {
        loop {
            // The slot comes first: over the cap, connections wait in the backlog.
            let next = async {
                let slot = self.slot().await?;
                Some((slot, self.listener.accept().await))
            };
            let accepted = tokio::select! {
                () = closing.cancelled() => return,
                accepted = next => accepted,
            };
            match accepted {
                Some((slot, Ok((stream, _)))) => {
                    tune(&stream);
                    let closing = closing.child_token();
                    let open = self.metrics.connection();
                    let connections = self.connections.clone();
                    tracker.spawn(async move {
                        connections.serve(stream, closing).await;
                        drop((slot, open));
                    });
                }
                Some((_, Err(error))) if is_of_one_connection(&error) => {}
                Some((_, Err(error))) => {
                    tracing::warn!(%error, pause_ms = ACCEPT_PAUSE.as_millis(), "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                // The semaphore is never closed.
                None => return,
            }
        }
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        self.metrics.rejected(Rejection::ConnectionCap);
        self.slots.clone().acquire_owned().await.ok()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Failing to tune a connection does not matter enough to refuse it.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
