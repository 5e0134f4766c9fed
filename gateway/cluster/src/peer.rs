//! One other gateway: what it is told, in bursts, and what it has acknowledged.
//!
//! What was not acknowledged is sent again over the next connection: raising a floor twice does no harm.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    connect::{self, Link, LinkError},
    frame::{FrameError, Inbox, Outbox},
    metrics::Metrics,
    seal::SharedSecret,
    table::Relay,
    wire::{self, Message, Ticket, Ticketed},
};

/// Messages that wait for a peer; who brings more waits itself.
const QUEUE: usize = 1024;
/// Relayed messages that wait for a peer; more are dropped, and their receiver sees the gap.
const RELAYS: usize = 256;
/// Messages in one write.
const BURST: usize = 256;
/// Pauses between attempts to connect, before jitter.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What peers have in common.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) me: Arc<str>,
    pub(crate) secret: SharedSecret,
    /// How long an acknowledgement may take before the connection counts as dead.
    pub(crate) silence: Duration,
    pub(crate) metrics: Metrics,
}

/// Whether messages can be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contact {
    /// There is no connection yet.
    Connecting,
    /// There is one.
    Connected,
    /// Connecting failed, or the connection was lost.
    Lost,
}

/// A gateway that this one tells of its writes.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: Arc<str>,
    queue: mpsc::Sender<Outgoing>,
    relays: mpsc::Sender<Relay>,
    contact: Arc<AtomicU8>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Outgoing {
    message: Ticketed,
    done: oneshot::Sender<()>,
}

/// Resolves when the peer has acknowledged; never if it does not.
pub(crate) type Acknowledged = oneshot::Receiver<()>;

impl Peer {
    /// Connects, and stays connected until it is dropped.
    pub(crate) fn start(id: Arc<str>, address: Arc<str>, terms: Terms) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (relays, relayed) = mpsc::channel(RELAYS);
        let contact = Arc::new(AtomicU8::new(Contact::Connecting as u8));
        let end = CancellationToken::new();
        let work = Work {
            id,
            address: address.clone(),
            terms,
            contact: contact.clone(),
            queued,
            relayed,
            unacknowledged: Mutex::default(),
            next: 0,
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(work.run()));
        Self { address, queue, relays, contact, _end: end.drop_guard() }
    }

    /// Sends a message once there is room in the queue.
    pub(crate) async fn send(&self, message: Ticketed) -> Acknowledged {
        let (done, acknowledged) = oneshot::channel();
        // It ends only with the process's interest in the peer.
        let _ = self.queue.send(Outgoing { message, done }).await;
        acknowledged
    }

    /// Relays a message, unless too many wait already.
    pub(crate) fn relay(&self, relay: Relay) -> bool {
        self.contact() == Contact::Connected && self.relays.try_send(relay).is_ok()
    }

    pub(crate) fn contact(&self) -> Contact {
        match self.contact.load(Ordering::Relaxed) {
            value if value == Contact::Connected as u8 => Contact::Connected,
            value if value == Contact::Lost as u8 => Contact::Lost,
            _ => Contact::Connecting,
        }
    }
}

#[derive(Debug)]
struct Sent {
    message: Ticketed,
    /// `None` of a ping.
    done: Option<oneshot::Sender<()>>,
    at: Instant,
}

impl Sent {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool {
        self.done.as_ref().is_some_and(|done| !done.is_closed())
    }
}

struct Work {
    id: Arc<str>,
    address: Arc<str>,
    terms: Terms,
    contact: Arc<AtomicU8>,
    queued: mpsc::Receiver<Outgoing>,
    relayed: mpsc::Receiver<Relay>,
    // Shared by the reading and the writing half; held for a map operation.
    unacknowledged: Mutex<BTreeMap<Ticket, Sent>>,
    next: Ticket,
}

impl Work {
    async fn run(mut self) {
        let mut pause = PAUSES.0;
        let mut told = String::new();
        loop {
            let Terms { me, secret, .. } = &self.terms;
            let ended = match connect::dial(&self.address, me, &self.id, secret).await {
                Ok(link) => {
                    tracing::info!(peer = %self.id, address = %self.address, "connected to another gateway");
                    (pause, told) = (PAUSES.0, String::new());
                    self.terms.metrics.connected();
                    self.contact.store(Contact::Connected as u8, Ordering::Relaxed);
                    self.converse(link).await
                }
                Err(error) => error,
            };
            self.contact.store(Contact::Lost as u8, Ordering::Relaxed);
            self.terms.metrics.lost();
            let why = ended.to_string();
            if why != told {
                tracing::warn!(peer = %self.id, address = %self.address, %why, "no connection to another gateway");
                told = why;
            }
            // What is relayed later shows its receiver the gap.
            while self.relayed.try_recv().is_ok() {}
            self.unacknowledged.lock().retain(|_, sent| sent.is_wanted());
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Until the connection fails.
    async fn converse(&mut self, link: Link) -> LinkError {
        let Link { stream, inbox, outbox, .. } = link;
        let (read, write) = stream.into_split();
        let Self { terms, queued, relayed, unacknowledged, next, .. } = self;
        let ended = tokio::select! {
            ended = listen(read, inbox, unacknowledged) => ended,
            ended = talk(Talk { write, outbox, queued, relayed, unacknowledged, next, terms }) => ended,
            () = silence(unacknowledged, terms.silence) => Err(LinkError::Silent),
        };
        ended.err().unwrap_or(LinkError::Over)
    }
}

async fn listen(
    mut read: OwnedReadHalf,
    mut inbox: Inbox,
    unacknowledged: &Mutex<BTreeMap<Ticket, Sent>>,
) -> Result<(), LinkError> {
    loop {
        if read.read_buf(inbox.buffer()).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        }
        while let Some(mut payload) = inbox.take()? {
            while let Some(message) = wire::take(&mut payload).map_err(FrameError::from)? {
                let Message::Ack(tickets) = message else { continue };
                let mut sent = unacknowledged.lock();
                for ticket in tickets {
                    if let Some(Sent { done: Some(done), .. }) = sent.remove(&ticket) {
                        // Nobody may be waiting any more.
                        let _ = done.send(());
                    }
                }
            }
        }
    }
}

struct Talk<'a> {
    write: OwnedWriteHalf,
    outbox: Outbox,
    queued: &'a mut mpsc::Receiver<Outgoing>,
    relayed: &'a mut mpsc::Receiver<Relay>,
    unacknowledged: &'a Mutex<BTreeMap<Ticket, Sent>>,
    next: &'a mut Ticket,
    terms: &'a Terms,
}

async fn talk(mut talk: Talk<'_>) -> Result<(), LinkError> {
    talk.again();
    talk.flush().await?;
    let (mut messages, mut relays) = (Vec::with_capacity(BURST), Vec::new());
    loop {
        let idle = tokio::time::sleep(talk.terms.silence / 3);
        tokio::select! {
            count = talk.queued.recv_many(&mut messages, BURST) => if count == 0 { return Err(LinkError::Over) },
            count = talk.relayed.recv_many(&mut relays, BURST) => if count == 0 { return Err(LinkError::Over) },
            () = idle => talk.put(Ticketed::ping(), None),
        }
        // What came meanwhile leaves in the same write.
        while let Ok(outgoing) = talk.queued.try_recv() {
            messages.push(outgoing);
            if messages.len() >= BURST {
                break;
            }
        }
        for Outgoing { message, done } in messages.drain(..) {
            if !done.is_closed() {
                talk.put(message, Some(done));
            }
        }
        for relay in relays.drain(..) {
            talk.outbox.put(wire::relay_len(&relay), |to| wire::put_relay(&relay, to));
        }
        talk.flush().await?;
    }
}

impl Talk<'_> {
    /// Sends what the connection before took with it.
    fn again(&mut self) {
        let now = Instant::now();
        for (ticket, sent) in self.unacknowledged.lock().iter_mut() {
            sent.at = now;
            self.outbox.put(sent.message.len(), |to| sent.message.put(*ticket, to));
        }
    }

    fn put(&mut self, message: Ticketed, done: Option<oneshot::Sender<()>>) {
        let ticket = *self.next;
        *self.next += 1;
        self.outbox.put(message.len(), |to| message.put(ticket, to));
        // Before it is sent: the acknowledgement may come at once.
        self.unacknowledged.lock().insert(ticket, Sent { message, done, at: Instant::now() });
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        let bytes = self.outbox.take();
        match tokio::time::timeout(self.terms.silence, self.write.write_all(&bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(LinkError::Silent),
        }
    }
}

/// Ends when something was not acknowledged for this long.
async fn silence(unacknowledged: &Mutex<BTreeMap<Ticket, Sent>>, limit: Duration) {
    loop {
        tokio::time::sleep(limit / 4).await;
        let oldest = unacknowledged.lock().first_key_value().map(|(_, sent)| sent.at);
        if oldest.is_some_and(|at| at.elapsed() > limit) {
            return;
        }
    }
}
