//! A connection that speaks the replication protocol: start-up and authentication, simple queries, then the
//! stream. `tokio-postgres` has no such mode, so the messages come from `postgres-protocol`, its lower half.

use std::{fmt, io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    },
    message::{
        backend::{Header, Message},
        frontend,
    },
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_postgres::{Config, config::Host, fallible_iterator::FallibleIterator as _};

use super::decode::Lsn;
use crate::{
    connection::unavailable,
    error::{DatabaseReport, StoreError},
};

/// The most that is kept of one message: a Relation of 1600 columns fits, a change of a larger row is known by
/// its beginning.
const MOST_BYTES: usize = 256 << 10;
/// What is kept of a larger one.
const BEGINNING: usize = 1 << 10;

/// The answer to a statement that begins a stream (`CopyBothResponse`): not known to `postgres-protocol`.
const COPY_BOTH: u8 = b'W';
const COPY_DATA: u8 = b'd';

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// The connection.
pub(crate) struct Channel {
    shard: Arc<str>,
    stream: Box<dyn Stream>,
    input: BytesMut,
    /// Bytes of a message too large to keep that are still to come.
    skip: usize,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// A message of the server.
struct Frame {
    tag: u8,
    /// Header included.
    bytes: BytesMut,
    extent: Extent,
}

/// How much of a message is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// It was too large to keep.
    Beginning,
}

/// A row of texts, as simple queries give them.
pub(crate) type TextRow = Vec<Option<String>>;

impl Channel {
    /// Connects and authenticates. Takes the caller's timeout.
    pub(crate) async fn open(config: &Config, shard: &Arc<str>) -> Result<Self, StoreError> {
        let failed = |error: io::Error| unavailable(shard, &format!("replication connection: {error}"));
        let stream = connect(config).await.map_err(failed)?;
        let mut this = Self { shard: shard.clone(), stream, input: BytesMut::new(), skip: 0 };
        let user = config.get_user().map_or_else(|| "postgres".to_owned(), str::to_owned);
        let mut out = BytesMut::new();
        let parameters = [
            ("client_encoding", "UTF8"),
            ("user", &user),
            ("database", config.get_dbname().unwrap_or(&user)),
            ("application_name", config.get_application_name().unwrap_or_default()),
            ("options", config.get_options().unwrap_or_default()),
            ("replication", "database"),
        ];
        frontend::startup_message(parameters, &mut out).map_err(failed)?;
        this.send(&out).await?;
        this.authenticate(&user, config.get_password().unwrap_or_default()).await?;
        Ok(this)
    }

    async fn authenticate(&mut self, user: &str, password: &[u8]) -> Result<(), StoreError> {
        let mut scram = None;
        loop {
            let mut out = BytesMut::new();
            match self.message().await? {
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password, &mut out).map_err(|e| self.odd(&e.to_string()))?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(user.as_bytes(), password, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut out).map_err(|e| self.odd(&e.to_string()))?;
                }
                Message::AuthenticationSasl(body) => {
                    let mut offered = body.mechanisms();
                    let known = offered.any(|name| Ok(name == SCRAM_SHA_256)).map_err(|e| self.odd(&e.to_string()))?;
                    if !known {
                        return Err(self.odd("no SASL mechanism that is known"));
                    }
                    let state = ScramSha256::new(password, ChannelBinding::unsupported());
                    let sent = frontend::sasl_initial_response(SCRAM_SHA_256, state.message(), &mut out);
                    sent.map_err(|e| self.odd(&e.to_string()))?;
                    scram = Some(state);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let state = scram.as_mut().ok_or_else(|| self.odd("SASL out of turn"))?;
                    state.update(body.data()).map_err(|e| self.odd(&e.to_string()))?;
                    frontend::sasl_response(state.message(), &mut out).map_err(|e| self.odd(&e.to_string()))?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let state = scram.as_mut().ok_or_else(|| self.odd("SASL out of turn"))?;
                    state.finish(body.data()).map_err(|e| self.odd(&e.to_string()))?;
                }
                Message::AuthenticationOk
                | Message::ParameterStatus(_)
                | Message::BackendKeyData(_)
                | Message::NoticeResponse(_) => {}
                Message::ReadyForQuery(_) => return Ok(()),
                _ => return Err(self.odd("an authentication method that is not known")),
            }
            self.send(&out).await?;
        }
    }

    /// Runs a statement and gives its rows as text.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, StoreError> {
        self.ask(sql).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.message().await {
                Ok(Message::DataRow(body)) => {
                    let row = body.ranges().map(|range| {
                        Ok(range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned()))
                    });
                    rows.push(row.collect::<TextRow>().map_err(|e| self.odd(&e.to_string()))?);
                }
                Ok(Message::ReadyForQuery(_)) => return failed.map_or(Ok(rows), Err),
                Ok(_) => {}
                // The statement has failed; the connection is good.
                Err(error @ StoreError::Database { .. }) => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins to stream.
    pub(crate) async fn start(&mut self, sql: &str) -> Result<(), StoreError> {
        self.ask(sql).await?;
        loop {
            let frame = self.frame().await?;
            if frame.tag == COPY_BOTH {
                return Ok(());
            }
            match self.parsed(frame) {
                Ok(Message::ReadyForQuery(_)) => return Err(self.odd("START_REPLICATION gave no stream")),
                Ok(_) => {}
                // Read on, so that the connection can be used again.
                Err(error @ StoreError::Database { .. }) => {
                    while !matches!(self.message().await?, Message::ReadyForQuery(_)) {}
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next piece of the stream. May be dropped and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<(Bytes, Extent), StoreError> {
        loop {
            let frame = self.frame().await?;
            if frame.tag == COPY_DATA {
                let mut bytes = frame.bytes;
                bytes.advance(5);
                return Ok((bytes.freeze(), frame.extent));
            }
            match self.parsed(frame)? {
                Message::CopyDone | Message::CommandComplete(_) | Message::ReadyForQuery(_) => {
                    return Err(unavailable(&self.shard, "the server ended the replication stream"));
                }
                _ => {}
            }
        }
    }

    /// Tells that everything before `done` is done with.
    pub(crate) async fn confirm(&mut self, done: Lsn) -> Result<(), StoreError> {
        let mut content = [0; 34];
        content[0] = b'r';
        for at in [1, 9, 17] {
            content[at..at + 8].copy_from_slice(&done.0.to_be_bytes());
        }
        // The time and the wish for a reply stay zero: nothing is made of either.
        let mut out = BytesMut::new();
        frontend::CopyData::new(&content[..]).map_err(|e| self.odd(&e.to_string()))?.write(&mut out);
        self.send(&out).await
    }

    fn odd(&self, reason: &str) -> StoreError {
        StoreError::Protocol { shard: self.shard.clone(), reason: format!("replication connection: {reason}").into() }
    }

    async fn ask(&mut self, sql: &str) -> Result<(), StoreError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|e| self.odd(&e.to_string()))?;
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let sent = match self.stream.write_all(bytes).await {
            Ok(()) => self.stream.flush().await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| unavailable(&self.shard, &format!("replication connection: {error}")))
    }

    async fn message(&mut self) -> Result<Message, StoreError> {
        let frame = self.frame().await?;
        self.parsed(frame)
    }

    fn parsed(&self, mut frame: Frame) -> Result<Message, StoreError> {
        if frame.extent == Extent::Beginning {
            return Err(self.odd("a message larger than can be"));
        }
        match Message::parse(&mut frame.bytes).map_err(|e| self.odd(&e.to_string()))? {
            Some(Message::ErrorResponse(body)) => Err(self.reported(body.fields())),
            Some(message) => Ok(message),
            None => Err(self.odd("a message shorter than it says")),
        }
    }

    fn reported(&self, mut fields: postgres_protocol::message::backend::ErrorFields<'_>) -> StoreError {
        let mut report = DatabaseReport { code: String::new(), message: String::new(), detail: None, hint: None };
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => report.code = value,
                b'M' => report.message = value,
                b'D' => report.detail = Some(value),
                b'H' => report.hint = Some(value),
                _ => {}
            }
        }
        if report.code.starts_with("08") || matches!(report.code.as_str(), "57P01" | "57P02" | "57P03") {
            return unavailable(&self.shard, &report.message);
        }
        StoreError::Database { shard: self.shard.clone(), report: Arc::new(report) }
    }

    async fn frame(&mut self) -> Result<Frame, StoreError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.input.reserve(16 << 10);
            let read = self.stream.read_buf(&mut self.input).await;
            let read = read.map_err(|error| unavailable(&self.shard, &format!("replication connection: {error}")))?;
            if read == 0 {
                return Err(unavailable(&self.shard, "the replication connection ended"));
            }
        }
    }

    /// A message, if one is at hand.
    fn buffered(&mut self) -> Result<Option<Frame>, StoreError> {
        let skipped = self.skip.min(self.input.len());
        self.input.advance(skipped);
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let header = Header::parse(&self.input).map_err(|e| self.odd(&e.to_string()))?;
        let Some(header) = header else { return Ok(None) };
        let length = usize::try_from(header.len()).map_err(|e| self.odd(&e.to_string()))? + 1;
        let (kept, extent) =
            if length <= MOST_BYTES { (length, Extent::Whole) } else { (BEGINNING, Extent::Beginning) };
        if self.input.len() < kept {
            return Ok(None);
        }
        self.skip = length - kept;
        Ok(Some(Frame { tag: header.tag(), bytes: self.input.split_to(kept), extent }))
    }
}

async fn connect(config: &Config) -> io::Result<Box<dyn Stream>> {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    if let Some(address) = config.get_hostaddrs().first() {
        return tcp((*address, port)).await;
    }
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => tcp((host.as_str(), port)).await,
        #[cfg(unix)]
        Some(Host::Unix(folder)) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
        }
        _ => Err(io::Error::other("no host")),
    }
}

async fn tcp(address: impl tokio::net::ToSocketAddrs) -> io::Result<Box<dyn Stream>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests;
