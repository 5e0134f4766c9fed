//! Which server a gateway believes to talk to, and the epochs that follow from it.

use std::{
    cell::{Cell as Flag, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use tidegate_types::{
    epoch::{Epoch, Lineage},
    snapshot::Xid,
};

use crate::{
    bugs::Bug,
    executor::nanos,
    gateway::{Gateway, shard_id},
    postgres::Lost,
};

/// What a connection shows of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The timeline.
    pub timeline: u64,
    /// How it shows itself.
    pub shown: u64,
}

/// What a gateway knows of a shard.
#[derive(Debug)]
pub struct Link {
    /// The newest timeline that it saw.
    pub timeline: Flag<u64>,
    /// When it first saw that (nanoseconds).
    pub since: Flag<u64>,
    /// How the server showed itself then. It may do so otherwise and live on, as for a role that may see more.
    pub shown: Flag<u64>,
    epochs: RefCell<BTreeMap<u64, Epoch>>,
}

impl Gateway {
    /// Starts an epoch for a life of the server.
    pub fn enter(&self, shard: usize, timeline: u64) -> Epoch {
        let epoch = self.epochs.advance(shard_id(shard));
        self.links[shard].enter(timeline, epoch);
        self.name_lineage(shard, timeline);
        epoch
    }

    /// Says whose xids the epoch of this timeline compares.
    pub(crate) fn name_lineage(&self, shard: usize, timeline: u64) {
        let lineage = Lineage {
            system: Some("1".to_owned()),
            timeline: Some(timeline.to_string()),
            started: self.links[shard].shown.get().to_string(),
        };
        self.epochs.set_lineage(shard_id(shard), self.links[shard].epoch(timeline), &lineage);
    }

    /// A connection was made, or a message came, from a shard of this timeline. Before anything of it is used, a
    /// newer one starts a new epoch.
    pub fn observe(&self, shard: usize, timeline: u64) -> Epoch {
        let link = &self.links[shard];
        if timeline > link.timeline.get() {
            link.timeline.set(timeline);
            link.since.set(self.around.sim.now());
            if !self.has(Bug::EpochIgnored) {
                self.enter(shard, timeline);
            }
        }
        link.epoch(timeline)
    }

    /// Connects, and sees which life of the server it is.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn connect(&self, shard: usize) -> Result<u64, Lost> {
        let asked = self.around.shards[shard].request(async |shard| {
            let server = shard.server.borrow();
            Ok((server.timeline, server.shown))
        });
        let (timeline, shown) = asked.await?;
        self.observe(shard, timeline);
        let link = &self.links[shard];
        if link.timeline.get() == timeline && link.shown.replace(shown) != shown {
            let epoch = self.enter(shard, timeline);
            self.around.sim.note("shown otherwise", [u64::from(self.id), shown, epoch.0]);
            // Of this epoch, and after it began.
            let base = self.own_xid(shard, timeline).await?;
            self.epochs.set_base(shard_id(shard), epoch, Xid(base));
        }
        Ok(timeline)
    }

    /// Opens a connection now and then, as pools do. Those that are there live on. Never ends.
    pub async fn keep_connecting(&self, shard: usize) {
        let most = nanos(self.around.shape.lease) / 4;
        loop {
            let sim = &self.around.sim;
            sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..most)))).await;
            // Another one follows.
            let _ = self.connect(shard).await;
        }
    }

    /// What to do after a connection was lost.
    pub async fn reconnect(&self, shard: usize) {
        while self.connect(shard).await.is_err() {
            self.around.sim.sleep(Duration::from_micros(500)).await;
        }
    }
}

impl Link {
    /// Of a server on its first timeline.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        let epochs = RefCell::new(BTreeMap::from([(1, epoch)]));
        Self { timeline: Flag::new(1), since: Flag::new(0), shown: Flag::new(0), epochs }
    }

    /// The epoch in which what a connection of this timeline says is judged.
    #[must_use]
    pub fn epoch(&self, timeline: u64) -> Epoch {
        let epochs = self.epochs.borrow();
        epochs.get(&timeline).or_else(|| epochs.values().next_back()).copied().unwrap_or(Epoch(0))
    }

    /// From here on this timeline is judged in another epoch.
    pub fn enter(&self, timeline: u64, epoch: Epoch) {
        self.epochs.borrow_mut().insert(timeline, epoch);
    }
}
