//! Tells HTTP/2 with prior knowledge from HTTP/1 by the first bytes, and plays those back.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    line::{Between, Lines},
    pace::Pace,
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1
    Http1,
    /// HTTP/2 without TLS
    Http2,
}

/// A connection whose first bytes were looked at.
#[derive(Debug)]
pub(super) struct Sniffed {
    stream: TcpStream,
    pace: Arc<Pace>,
    /// Follows request lines; `None` for HTTP/2, which has none.
    lines: Option<Lines>,
    /// Bytes that come before those of the stream.
    replay: Vec<u8>,
    /// How many of them were given.
    replayed: usize,
}

/// Reads until the protocol is clear. Gives `None` where the client left without a word.
pub(super) async fn sniff(mut stream: TcpStream, pace: Arc<Pace>) -> io::Result<Option<(Protocol, Sniffed)>> {
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    let protocol = loop {
        let more = stream.read(&mut read[length..]).await?;
        length += more;
        if length == 0 {
            return Ok(None);
        }
        if read[..length] != PREFACE[..length] || more == 0 {
            break Protocol::Http1;
        }
        if length == PREFACE.len() {
            break Protocol::Http2;
        }
    };
    let mut replay = read[..length].to_vec();
    let mut lines = (protocol == Protocol::Http1).then(Lines::new);
    if let Some(replaced) = lines.as_mut().and_then(|lines| lines.came(&replay, Between::Unknown)) {
        replay = replaced;
    }
    Ok(Some((protocol, Sniffed { stream, pace, lines, replay, replayed: 0 })))
}

impl AsyncRead for Sniffed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.replayed < this.replay.len() {
            this.play_back(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let between = this.pace.bytes_came();
        if let Some(replaced) = this.lines.as_mut().and_then(|lines| lines.came(fresh, between)) {
            (this.replay, this.replayed) = (replaced, 0);
            buf.set_filled(before);
            this.play_back(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl Sniffed {
    fn play_back(&mut self, buf: &mut ReadBuf<'_>) {
        let end = self.replay.len().min(self.replayed + buf.remaining());
        buf.put_slice(&self.replay[self.replayed..end]);
        self.replayed = end;
        if end == self.replay.len() {
            self.replay = Vec::new();
            self.replayed = 0;
        }
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
