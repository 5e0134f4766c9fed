//! One reader of a shard's log: from the connections to the events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tidegate_types::{epoch::Epoch, settings::FeedSettings, snapshot::Xid};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_postgres::Config;

use super::{
    channel::{Channel, Extent},
    collect::{Collector, Notice, Outcome},
    control::{Announcing, Control, Dropped},
    decode::{Envelope, Lsn, Malformed, Message, Reply},
    event::{Beat, FeedEvent, FeedTables, FlushReason, Told},
    health::{Coverage, FeedHealth, FeedRole},
};
use crate::{
    connection::{Connection, VERIFY, VERIFY_UNPRIVILEGED, shown, unavailable},
    error::StoreError,
    pool::{Access, session_config},
    shard::Link,
};

/// Time for a new replication connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for a statement beside the stream.
const STATEMENT: Duration = Duration::from_secs(30);
/// A heartbeat that takes longer means that the connection is dead.
const BEAT: Duration = Duration::from_secs(10);
/// How often positions are confirmed, and the log that is kept is looked at.
const CONFIRM: Duration = Duration::from_secs(1);
/// A stream that is silent for longer is dead: heartbeats go through it.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a gateway that waits tries to take the slot.
const TRY: Duration = Duration::from_millis(500);
/// The least time between flushes for what was lost on the way from the gateway that reads.
const BREATH: Duration = Duration::from_millis(100);
/// The pauses before another attempt: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Follows a shard's changes.
#[derive(Debug)]
pub struct Follower {
    link: Arc<Link>,
    config: Config,
    settings: FeedSettings,
    tables: watch::Receiver<FeedTables>,
    events: mpsc::Sender<Told>,
    health: FeedHealth,
    /// The end of what was handed over, and the epoch it is of.
    seen: Option<(Epoch, Lsn)>,
    /// What the tables were last known to be, and the list that was asked about.
    fingerprint: Option<(FeedTables, String)>,
    /// The slot was made anew by this gateway, and nobody was told.
    remade: bool,
}

/// Why an attempt ended.
enum End {
    /// Nobody receives the events any more.
    Unheard,
    /// To be tried again.
    Failed(StoreError),
    /// The slot keeps too much.
    OverBudget(u64),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Follower {
    pub(crate) fn new(
        link: Arc<Link>,
        config: &Config,
        settings: &FeedSettings,
        tables: watch::Receiver<FeedTables>,
        events: mpsc::Sender<Told>,
        health: FeedHealth,
    ) -> Self {
        let config = session_config(config.clone(), "feed", Access::Write, STATEMENT);
        let settings = settings.clone();
        Self { link, config, settings, tables, events, health, seen: None, fingerprint: None, remade: false }
    }

    /// Follows until the events are no longer received. May be dropped at any time.
    pub async fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let began = Instant::now();
            let end = self.attempt().await;
            self.play(FeedRole::Away);
            match end {
                End::Unheard => return,
                End::OverBudget(retained) => {
                    tracing::error!(shard = %self.link.name, retained_bytes = retained,
                        budget_bytes = self.settings.max_retained_wal,
                        "the change feed's slot keeps more log than it may: it is made anew and the cache emptied");
                }
                End::Failed(error) => {
                    self.link.metrics.feed.failures.inc();
                    tracing::warn!(shard = %self.link.name, %error, "the change feed is interrupted");
                }
            }
            // What held for a while may be tried again at once.
            pause = if began.elapsed() > PAUSES.1 { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.events.closed() => return,
            }
        }
    }

    /// Connects and follows until something ends it.
    async fn attempt(&mut self) -> End {
        let (link, health, settings) = (self.link.clone(), self.health.clone(), self.settings.clone());
        let control = match self.connected().await {
            Ok(control) => control,
            Err(error) => return End::Failed(error),
        };
        let (beats, near) = watch::channel(Xid(0));
        let mut session = Session { follower: self, control: &control, near };
        tokio::select! {
            end = session.run() => end,
            end = pulse(&control, &health, &settings, &link, &beats) => end,
        }
    }

    fn play(&self, role: FeedRole) {
        self.health.play(role);
        self.link.metrics.feed.reading(role);
    }

    async fn connected(&self) -> Result<Control, StoreError> {
        let link = &self.link;
        let (connection, _) = Connection::open(&self.config, STATEMENT, &link.name, &link.identity).await?;
        Control::new(connection, &link.name, &self.settings.slot, &self.settings.publication).await
    }
}

/// Sends heartbeats and looks at the log that is kept.
async fn pulse(
    control: &Control,
    health: &FeedHealth,
    settings: &FeedSettings,
    link: &Link,
    near: &watch::Sender<Xid>,
) -> End {
    let mut beats = interval(settings.heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    loop {
        beats.tick().await;
        match timeout(BEAT, control.beat(health.beat())).await {
            Ok(Ok(xid)) => drop(near.send_replace(xid)),
            Ok(Err(error)) => return End::Failed(error),
            Err(_) => return End::Failed(unavailable(&link.name, "a heartbeat of the change feed found no end")),
        }
        link.metrics.feed.age(health.age());
        if link.identity.epoch() != control.connection.epoch {
            return End::Failed(unavailable(&link.name, "its epoch ended: the change feed begins again"));
        }
        if looked.elapsed() < CONFIRM {
            continue;
        }
        looked = Instant::now();
        match timeout(BEAT, control.slot()).await {
            Ok(Ok(Some(slot))) => {
                link.metrics.feed.retained(slot.retained);
                let ours = !slot.active || health.role() == FeedRole::Reading;
                if ours && slot.retained > settings.max_retained_wal {
                    return End::OverBudget(slot.retained);
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return End::Failed(error),
            Err(_) => return End::Failed(unavailable(&link.name, "a question of the change feed found no answer")),
        }
    }
}

/// One attempt.
struct Session<'a> {
    follower: &'a mut Follower,
    control: &'a Control,
    /// A transaction id near those of this moment; 0 before the first heartbeat.
    near: watch::Receiver<Xid>,
}

impl Session<'_> {
    async fn run(&mut self) -> End {
        match self.follow().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(&mut self) -> Result<Infallible, End> {
        let tables = self.follower.tables.borrow_and_update().clone();
        // Before the slot is made: what reads the log looks for the publication as it was at each place.
        self.publish(&tables).await?;
        if self.control.announce_schema().await? == Announcing::Nobody {
            tracing::debug!(shard = %self.follower.link.name,
                "the role may not create event triggers: altered tables are noticed every `schema_interval`");
        }
        if self.control.drop_slot(self.follower.settings.max_retained_wal).await? == Dropped::Slot {
            tracing::warn!(shard = %self.follower.link.name, slot = %self.control.slot, "the slot was dropped");
            self.follower.remade = true;
        }
        let mut channel = self.channel().await?;
        if self.control.slot().await?.is_none() {
            self.create_slot(&mut channel).await?;
        }
        self.take_slot(&mut channel).await?;
        self.resume(&tables).await?;
        self.follower.play(FeedRole::Reading);
        tracing::info!(shard = %self.follower.link.name, slot = %self.control.slot, "reading the change feed");
        // Ids in the stream are told in 32 bits.
        if self.near.wait_for(|near| near.0 > 0).await.is_err() {
            return Err(End::Unheard);
        }
        self.read(channel, tables).await
    }

    /// A replication connection to the server that `control` leads to.
    async fn channel(&self) -> Result<Channel, StoreError> {
        let Follower { link, config, .. } = &*self.follower;
        // Making a slot waits for the transactions that are under way.
        let config = session_config(config.clone(), "feed", Access::Write, Duration::ZERO);
        let before = link.identity.before();
        let opened = timeout(CONNECT, async {
            let mut channel = Channel::open(&config, &link.name).await?;
            let rows = match channel.query(VERIFY).await {
                Err(StoreError::Database { report, .. }) if matches!(report.code.as_str(), "42501" | "0A000") => {
                    channel.query(VERIFY_UNPRIVILEGED).await?
                }
                other => other?,
            };
            let shown = shown(&link.name, |i| rows.first()?.get(i).cloned().flatten())?;
            Ok::<_, StoreError>((channel, shown))
        });
        let late = |_| unavailable(&link.name, "no answer to a new replication connection in time");
        let (channel, (lineage, snapshot)) = opened.await.map_err(late)??;
        let observed = link.identity.observe(lineage, snapshot.xmax, before);
        let (epoch, _) = observed.map_err(|superseded| unavailable(&link.name, &superseded.to_string()))?;
        if epoch != self.control.connection.epoch {
            return Err(unavailable(&link.name, "two connections of the change feed lead to different servers"));
        }
        Ok(channel)
    }

    async fn create_slot(&mut self, channel: &mut Channel) -> Result<(), StoreError> {
        let sql = format!("CREATE_REPLICATION_SLOT \"{}\" LOGICAL pgoutput NOEXPORT_SNAPSHOT", self.control.slot);
        match channel.query(&sql).await {
            Ok(_) => {
                tracing::info!(shard = %self.follower.link.name, slot = %self.control.slot, "the slot was made");
                Ok(())
            }
            // Another gateway was quicker.
            Err(StoreError::Database { report, .. }) if report.code == "42710" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until no other gateway reads the slot: who has it is the one reader.
    async fn take_slot(&mut self, channel: &mut Channel) -> Result<(), End> {
        let sql = format!(
            "START_REPLICATION SLOT \"{}\" LOGICAL 0/0 (\"proto_version\" '1', \"publication_names\" '\"{}\"', \
             \"messages\" 'true')",
            self.control.slot, self.follower.settings.publication
        );
        let mut tables = self.follower.tables.clone();
        let (health, mut flushed) = (self.follower.health.clone(), 0);
        loop {
            match channel.start(&sql).await {
                Err(StoreError::Database { report, .. }) if report.code == "55006" => {}
                other => return Ok(other?),
            }
            self.follower.play(FeedRole::Waiting);
            let doubts = self.follower.health.doubts();
            if doubts > flushed {
                flushed = doubts;
                self.flush(FlushReason::Relay).await?;
                // Not more often than this, whatever is lost.
                sleep(BREATH).await;
            }
            tokio::select! {
                () = sleep(TRY) => {}
                () = health.suspected() => {}
                () = self.follower.events.closed() => return Err(End::Unheard),
                changed = tables.changed() => {
                    changed.map_err(|_| End::Unheard)?;
                    let tables = tables.borrow_and_update().clone();
                    self.publish(&tables).await?;
                }
            }
        }
    }

    /// With the slot in hand, finds out whether it begins where this gateway has come to.
    async fn resume(&mut self, tables: &FeedTables) -> Result<(), End> {
        let slot = self.control.slot().await?;
        let confirmed = slot.map(|slot| slot.confirmed).unwrap_or_default();
        let epoch = self.control.connection.epoch;
        // Whatever lies before what was confirmed is not sent again: it must have come here.
        let whole = self.follower.seen.is_some_and(|(of, seen)| of == epoch && seen >= confirmed);
        let why = if self.follower.remade { FlushReason::SlotRemade } else { FlushReason::Began };
        self.follower.remade = false;
        if !whole {
            self.flush(why).await?;
            self.follower.seen = Some((epoch, confirmed));
        }
        self.compare(tables).await
    }

    async fn read(&mut self, mut channel: Channel, tables: FeedTables) -> Result<Infallible, End> {
        let mut collector = Collector::new(tables.clone());
        let mut followed = tables;
        let mut changes = self.follower.tables.clone();
        let (mut confirm, mut schema) = (interval(CONFIRM), interval(self.follower.settings.schema_interval));
        confirm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        schema.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                piece = channel.next() => {
                    heard = Instant::now();
                    let (bytes, extent) = piece?;
                    if self.piece(&mut collector, &bytes, extent, &followed).await? == Reply::Wanted {
                        channel.confirm(self.done()).await?;
                    }
                }
                _ = confirm.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(unavailable(&self.follower.link.name, "the change feed is silent").into());
                    }
                    channel.confirm(self.done()).await?;
                }
                _ = schema.tick() => self.compare(&followed).await?,
                changed = changes.changed() => {
                    changed.map_err(|_| End::Unheard)?;
                    // What happened to the former ones until now.
                    self.compare(&followed).await?;
                    followed = changes.borrow_and_update().clone();
                    self.publish(&followed).await?;
                    collector.follow(followed.clone());
                    self.compare(&followed).await?;
                }
            }
        }
    }

    /// Takes a piece of the stream; tells whether the server wants to hear from us.
    async fn piece(
        &mut self,
        collector: &mut Collector,
        bytes: &[u8],
        extent: Extent,
        tables: &FeedTables,
    ) -> Result<Reply, End> {
        let odd = |error: Malformed| StoreError::Protocol {
            shard: self.follower.link.name.clone(),
            reason: format!("in the change feed, {error}").into(),
        };
        let data = match Envelope::read(bytes).map_err(odd)? {
            Envelope::Data(data) => data,
            Envelope::Keepalive { end, reply } => {
                if !collector.is_open() {
                    self.handed_over(end);
                }
                return Ok(reply);
            }
        };
        if extent == Extent::Beginning {
            if let Some(relation) = Message::relation_of(data) {
                collector.take_large(relation).map_err(odd)?;
            }
            return Ok(Reply::Optional);
        }
        let message = Message::read(data).map_err(odd)?;
        let end = if let Message::Commit { end } = message { Some(end) } else { None };
        let near = *self.near.borrow();
        match collector.take(message, near).map_err(odd)? {
            Outcome::Pending => {}
            Outcome::Committed(transaction, notice) => {
                self.follower.link.metrics.feed.transactions.inc();
                if !transaction.tables.is_empty() {
                    self.tell(FeedEvent::Transaction(transaction)).await?;
                }
                if notice == Notice::Altered {
                    self.compare(tables).await?;
                }
            }
            Outcome::Told(text) => {
                if let Some(beat) = Beat::parse(&text) {
                    self.follower.link.metrics.feed.heartbeats.inc();
                    self.tell(FeedEvent::Heartbeat(beat)).await?;
                }
            }
        }
        if let Some(end) = end {
            self.handed_over(end);
        }
        Ok(Reply::Optional)
    }

    /// Makes sure that these tables are published.
    async fn publish(&mut self, tables: &FeedTables) -> Result<(), End> {
        let published = self.control.publish(tables).await?;
        for table in &published.unfollowed {
            tracing::error!(shard = %self.follower.link.name, table,
                "the table cannot be followed: it, or a part of it, has no replica identity, and updates would fail \
                 once it is published. ALTER TABLE ... REPLICA IDENTITY DEFAULT (or FULL), then reload");
        }
        let coverage = if published.unfollowed.is_empty() { Coverage::Complete } else { Coverage::Partial };
        self.follower.health.cover(coverage);
        if published.added > 0 {
            tracing::info!(shard = %self.follower.link.name, tables = published.added, "tables were published");
            self.flush(FlushReason::Published).await?;
        }
        Ok(())
    }

    /// Compares the tables with what they were.
    async fn compare(&mut self, tables: &FeedTables) -> Result<(), End> {
        let now = self.control.fingerprint(tables).await?;
        let before = self.follower.fingerprint.replace((tables.clone(), now.clone()));
        if before.is_some_and(|(of, before)| of == *tables && before != now) {
            tracing::warn!(shard = %self.follower.link.name,
                "tables were altered: everything read before is void");
            self.flush(FlushReason::Schema).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, why: FlushReason) -> Result<(), End> {
        // Doubts that arise from here on are not settled by it.
        let settles = self.follower.health.doubts();
        // Taken after the cause, so that what is below it has ended or is in the log from here on.
        let base = self.control.base().await?;
        self.follower.link.metrics.feed.flushed(why);
        self.tell(FeedEvent::Flush { base, why, settles }).await
    }

    async fn tell(&mut self, event: FeedEvent) -> Result<(), End> {
        let told = Told { epoch: self.control.connection.epoch, event };
        self.follower.events.send(told).await.map_err(|_| End::Unheard)
    }

    fn handed_over(&mut self, end: Lsn) {
        let epoch = self.control.connection.epoch;
        let before = self.follower.seen.filter(|(of, _)| *of == epoch).map(|(_, seen)| seen).unwrap_or_default();
        self.follower.seen = Some((epoch, before.max(end)));
    }

    fn done(&self) -> Lsn {
        self.follower.seen.map(|(_, seen)| seen).unwrap_or_default()
    }
}
