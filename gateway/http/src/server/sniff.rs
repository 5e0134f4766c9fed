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

use super::pace::Pace;

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
    read: [u8; PREFACE.len()],
    /// The part of `read` that was not played back yet.
    pending: std::ops::Range<usize>,
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
    Ok(Some((protocol, Sniffed { stream, pace, read, pending: 0..length })))
}

impl AsyncRead for Sniffed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.pending.is_empty() {
            let length = this.pending.len().min(buf.remaining());
            let end = this.pending.start + length;
            buf.put_slice(&this.read[this.pending.start..end]);
            this.pending.start = end;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.pace.bytes_came();
        }
        Poll::Ready(Ok(()))
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
