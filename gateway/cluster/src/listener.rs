//! Other gateways' connections to this one: what they say is done, then acknowledged, a burst at a time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::Shared,
    connect::{self, Link, LinkError},
    frame::FrameError,
    seal::HandshakeError,
    table::Heard,
    wire::{self, Message, Ticket},
};

/// Connections at once; each gateway has one.
const CONNECTIONS: usize = 256;
/// Pause after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until it is told to stop.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let (places, conversations) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a gateway's connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Without a place the connection is closed, and tried again.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (shared, stop) = (shared.clone(), stop.clone());
        conversations.spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                () = converse(stream, from, &shared) => {}
            }
        });
    }
    conversations.close();
    conversations.wait().await;
}

async fn converse(stream: TcpStream, from: SocketAddr, shared: &Shared) {
    let link = match connect::greet(stream, &shared.me, &shared.secret).await {
        Ok(link) => link,
        Err(error) => {
            shared.metrics.turned_away();
            if matches!(error, LinkError::Handshake(HandshakeError::WrongSecret | HandshakeError::OtherVersion(_))) {
                tracing::warn!(%from, %error, "a connection to the cluster listener was refused");
            }
            return;
        }
    };
    let other: Arc<str> = link.other.as_str().into();
    if let Err(error) = answer(link, &other, shared).await {
        if let LinkError::Frame(_) = error {
            shared.metrics.forged();
            tracing::error!(peer = %other, %from, %error, "a gateway's connection was ended");
        } else {
            tracing::debug!(peer = %other, %error, "a gateway's connection ended");
        }
    }
}

async fn answer(link: Link, other: &Arc<str>, shared: &Shared) -> Result<(), LinkError> {
    let Link { mut stream, mut inbox, mut outbox, .. } = link;
    // It pings when it has nothing to say.
    let silence = shared.terms.lease * 3;
    let mut tickets: Vec<Ticket> = Vec::new();
    loop {
        let read = tokio::time::timeout(silence, stream.read_buf(inbox.buffer())).await;
        if read.map_err(|_| LinkError::Silent)?? == 0 {
            return Ok(());
        }
        while let Some(mut payload) = inbox.take()? {
            while let Some(message) = wire::take(&mut payload).map_err(FrameError::from)? {
                tickets.extend(heed(message, other, shared));
            }
        }
        if !tickets.is_empty() {
            outbox.put(5 + tickets.len() * size_of::<Ticket>(), |to| wire::put_ack(&tickets, to));
            tickets.clear();
            let written = tokio::time::timeout(silence, stream.write_all(&outbox.take())).await;
            written.map_err(|_| LinkError::Silent)??;
        }
    }
}

/// Does what a message asks for; gives the ticket to be acknowledged.
fn heed(message: Message, from: &Arc<str>, shared: &Shared) -> Option<Ticket> {
    match message {
        Message::Floor(ticket, floor) => {
            shared.metrics.heard();
            if let Heard::OtherLineage(shard) = shared.sink.raise(&floor) {
                // The lease ends before the writer goes on: nothing kept of the shard is served until this
                // process has joined where the writer writes.
                tracing::warn!(peer = %from, shard = %floor.shard, "a write of another lineage: joining again");
                shared.suspend(shard);
            }
            Some(ticket)
        }
        Message::Void(ticket, void) => {
            shared.sink.void(&void);
            Some(ticket)
        }
        Message::Ping(ticket) => Some(ticket),
        Message::Relay(relay) => {
            if let Some(sink) = shared.relays.get() {
                sink.relayed(from, relay);
            }
            None
        }
        // Acknowledgements go the other way.
        Message::Ack(_) => None,
    }
}
