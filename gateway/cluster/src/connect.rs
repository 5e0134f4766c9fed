//! Connections between gateways: the greeting on both sides.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    frame::{FrameError, Inbox, Outbox},
    seal::{CODE, GREETING_HEAD, Greeting, HandshakeError, Said, SharedSecret},
};

/// Time for both greetings.
const GREETING_TIME: Duration = Duration::from_secs(2);

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The network, or the other side ended it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The greeting failed.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// Something else than what the other side sent came in.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Nothing came for too long.
    #[error("no answer in time")]
    Silent,
    /// It is not needed any more.
    #[error("not needed any more")]
    Over,
}

/// A connection whose other side has the secret.
#[derive(Debug)]
pub struct Link {
    /// The socket.
    pub stream: TcpStream,
    /// Frames from the other side.
    pub inbox: Inbox,
    /// Frames to it.
    pub outbox: Outbox,
    /// Who it is.
    pub other: String,
}

/// Connects to the gateway `expected` at `address`.
///
/// # Errors
/// See [`LinkError`].
pub async fn dial(address: &str, me: &str, expected: &str, secret: &SharedSecret) -> Result<Link, LinkError> {
    within(GREETING_TIME, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mine = Greeting::new(me, expected)?;
        stream.write_all(&mine.bytes()).await?;
        let theirs = read_greeting(&mut stream).await?;
        let said = Said::new(&mine, &theirs);
        let (sealer, opener) = said.accept_server(secret, &read_code(&mut stream).await?)?;
        // Only somebody with the secret could say so.
        if theirs.id != expected {
            return Err(HandshakeError::OtherGateway(theirs.id).into());
        }
        stream.write_all(&said.client_code(secret)).await?;
        Ok(Link { stream, inbox: Inbox::new(opener), outbox: Outbox::new(sealer), other: theirs.id })
    })
    .await
}

/// Greets somebody who connected.
///
/// # Errors
/// See [`LinkError`].
pub async fn greet(mut stream: TcpStream, me: &str, secret: &SharedSecret) -> Result<Link, LinkError> {
    within(GREETING_TIME, async {
        stream.set_nodelay(true)?;
        let mine = Greeting::new(me, "")?;
        let theirs = match read_greeting(&mut stream).await {
            Err(LinkError::Handshake(HandshakeError::OtherVersion(version))) => {
                // So that the other side can say what is wrong.
                stream.write_all(&mine.bytes()).await?;
                return Err(HandshakeError::OtherVersion(version).into());
            }
            other => other?,
        };
        let said = Said::new(&theirs, &mine);
        let mut answer = mine.bytes();
        answer.extend_from_slice(&said.server_code(secret));
        stream.write_all(&answer).await?;
        let (sealer, opener) = said.accept_client(secret, &read_code(&mut stream).await?)?;
        Ok(Link { stream, inbox: Inbox::new(opener), outbox: Outbox::new(sealer), other: theirs.id })
    })
    .await
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(LinkError::Silent))
}

async fn read_greeting(stream: &mut TcpStream) -> Result<Greeting, LinkError> {
    let mut head = [0; GREETING_HEAD];
    stream.read_exact(&mut head).await?;
    let mut rest = vec![0; Greeting::rest_of(&head)?];
    stream.read_exact(&mut rest).await?;
    Ok(Greeting::parse(&head, &rest)?)
}

async fn read_code(stream: &mut TcpStream) -> Result<[u8; CODE], LinkError> {
    let mut code = [0; CODE];
    stream.read_exact(&mut code).await?;
    Ok(code)
}
