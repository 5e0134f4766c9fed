//! One connection, from its first byte to its close.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tidegate_types::settings::HttpSettings;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    pace::{Heads, IDLE, Pace, Payload, Verdict, Watch},
    sniff::{Protocol, sniff},
};
use crate::{
    backend::Backend,
    handler::Handler,
    metrics::{Metrics, Rejection},
};

/// Bytes of an HTTP/1 head beyond its URI.
const HEAD_BYTES: usize = 64 * 1024;
/// How many times the allowed header fields hyper parses before it answers an empty 431 itself.
const HEADERS_PARSED: usize = 4;
/// `SETTINGS_MAX_HEADER_LIST_SIZE` beyond the URI, which is part of that list.
const HEADER_LIST_BYTES: usize = 8 * 1024;
/// Streams that a client may have reset before they were accepted (CVE-2023-44487).
const PENDING_RESETS: usize = 32;
/// Resets that we may be made to send before the connection is given up (CVE-2025-8671).
const LOCAL_RESETS: usize = 256;
/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
/// Bytes of answers buffered per HTTP/2 stream.
const STREAM_BUFFER: usize = 256 * 1024;

/// What every connection needs. Cheap to clone.
#[derive(Debug)]
pub(super) struct Connections<B> {
    handler: Handler<B>,
    metrics: Metrics,
    http1: Arc<http1::Builder>,
    http2: Arc<http2::Builder<TokioExecutor>>,
    header_timeout: Duration,
    drain_grace: Duration,
}

impl<B> Clone for Connections<B> {
    fn clone(&self) -> Self {
        Self {
            handler: self.handler.clone(),
            metrics: self.metrics.clone(),
            http1: self.http1.clone(),
            http2: self.http2.clone(),
            ..*self
        }
    }
}

impl<B: Backend> Connections<B> {
    /// Connections with these limits.
    pub(super) fn new(settings: &HttpSettings, handler: Handler<B>, metrics: Metrics) -> Self {
        let mut http1 = http1::Builder::new();
        // Never `pipeline_flush`: it holds answers back while part of another request is buffered.
        http1
            // `pace` watches heads, with one timer per connection.
            .header_read_timeout(None)
            // The front counts the fields and answers in its own words; hyper only bounds what it parses.
            .max_headers(settings.max_headers.saturating_mul(HEADERS_PARSED))
            .max_buf_size(settings.max_uri_bytes + HEAD_BYTES);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(u32::try_from(settings.max_uri_bytes + HEADER_LIST_BYTES).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .max_send_buf_size(STREAM_BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Self {
            handler,
            metrics,
            http1: Arc::new(http1),
            http2: Arc::new(http2),
            header_timeout: settings.header_timeout,
            drain_grace: settings.drain_grace,
        }
    }

    /// Serves a connection until it ends or `closing` is cancelled and the grace is over.
    pub(super) async fn serve(self, stream: TcpStream, closing: CancellationToken) {
        let pace = Arc::new(Pace::new());
        let sniffed = tokio::select! {
            () = closing.cancelled() => return,
            sniffed = timeout(self.header_timeout, sniff(stream, pace.clone())) => sniffed,
        };
        let (protocol, io) = match sniffed {
            Ok(Ok(Some((protocol, io)))) => (protocol, TokioIo::new(io)),
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => {
                self.metrics.rejected(Rejection::SlowHead);
                return;
            }
        };
        let service = service_fn(|request: Request<Incoming>| {
            let (handler, pace) = (self.handler.clone(), pace.clone());
            async move {
                let payload = if request.body().is_end_stream() { Payload::None } else { Payload::Some };
                let _answering = pace.request(payload);
                Ok::<_, Infallible>(handler.handle(request).await)
            }
        });
        match protocol {
            Protocol::Http1 => {
                self.drive(self.http1.serve_connection(io, service), Heads::Watched, &pace, &closing).await;
            }
            Protocol::Http2 => {
                self.drive(self.http2.serve_connection(io, service), Heads::Ignored, &pace, &closing).await;
            }
        }
    }

    async fn drive<C>(&self, connection: C, heads: Heads, pace: &Pace, closing: &CancellationToken)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let mut watch = Watch::new(pace, heads, self.header_timeout);
        let mut look = pin!(sleep_until(Instant::now() + self.header_timeout / 2));
        let deadline = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return log(ended),
                () = closing.cancelled() => break Instant::now() + self.drain_grace,
                () = look.as_mut() => match watch.look(pace) {
                    Verdict::Wait(until) => look.as_mut().reset(until),
                    Verdict::SlowHead => return self.metrics.rejected(Rejection::SlowHead),
                    // The last answer may still be on its way to a slow reader.
                    Verdict::Idle => break Instant::now() + IDLE,
                },
            }
        };
        connection.as_mut().graceful_shutdown();
        match timeout_at(deadline, connection).await {
            Ok(ended) => log(ended),
            Err(_) => tracing::debug!("closed a connection that did not finish in time"),
        }
    }
}

/// Clients that leave are no news.
fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
