//! The listener and its limits.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_types::settings::AdminSettings;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Access,
    orders::Desk,
    routes::{self, Context},
    state::AdminState,
};

/// Probes, scrapers and a few people; a leak of theirs must not become ours.
const MAX_CONNECTIONS: usize = 256;
/// Also how long a connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long answers in flight may take once the listener closes.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The admin listener cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Its address cannot be listened on.
    #[error("cannot listen on {address} for [admin]: {source}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The bound admin listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    bound: SocketAddr,
    context: Context,
}

impl Server {
    /// Binds the listener.
    ///
    /// # Errors
    /// [`AdminError::Bind`].
    pub async fn bind(settings: &AdminSettings, state: AdminState) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Bind { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let context = Context { state, access: Access::of(settings, bound), desk: Desk::open() };
        Ok(Self { listener, bound, context })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// Answers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept(&self.listener, &permits) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    let serve = serve(stream, peer, self.context.clone(), shutdown.clone());
                    connections.spawn(async move {
                        serve.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, or the peer left: neither is helped by a busy loop.
                    tracing::warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        connections.close();
        // What is left after the grace is dropped with the runtime.
        let _ = tokio::time::timeout(CLOSE_GRACE, connections.wait()).await;
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn serve(stream: TcpStream, peer: SocketAddr, context: Context, shutdown: CancellationToken) {
    let service = service_fn(|request: http::Request<Incoming>| async {
        Ok::<_, Infallible>(routes::answer(&context, peer, request).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
