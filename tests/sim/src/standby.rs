//! Reads on a standby: kept beside the cache, by the rule of [`tidegate_types::standby`] and nothing else.
//!
//! A gateway keeps floors in log positions for its buckets, tells the others where its commits are, and settles by
//! snapshots of the primary what nobody told. Whoever is served what was read on a standby just now is promised
//! nothing; whoever is served what was kept of it is promised what every reader of the cache is.

use std::{cell::RefMut, collections::BTreeMap, time::Duration};

use tidegate_cache_with_bugs::{Holding, Validity};
use tidegate_types::{
    epoch::Epoch,
    floor::Floor,
    snapshot::{Snapshot, Xid},
    standby::{End, Lsn, StandbyFloor, Unfit},
};

use crate::{
    bugs::Bug,
    executor::nanos,
    gateway::{Gateway, bucket, shard_id},
    postgres::{Lost, Member},
    session::{Outcome, delay},
};

/// What a standby gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The row.
    pub value: Option<u64>,
    /// How much the standby had replayed, as it said in the statement before (or in the wrong one).
    pub replayed: Lsn,
    /// Its `pg_current_snapshot()`.
    pub snapshot: Snapshot,
}

/// What a gateway keeps of one shard's standby.
#[derive(Debug)]
pub struct Standbys {
    epoch: Epoch,
    /// A floor of every bucket; `None` until the base is known.
    base: Option<StandbyFloor>,
    floors: BTreeMap<u64, Floors>,
    kept: BTreeMap<u32, Given>,
    slots: u64,
    bug: Option<Bug>,
}

#[derive(Debug, Default)]
struct Floors {
    positions: StandbyFloor,
    /// For the error that looks at them.
    xids: Floor,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was kept: as fresh as a hit of the cache.
    Kept(Option<u64>),
    /// It was read just now: it may be old.
    Fetched,
}

impl Standbys {
    /// Nothing is kept, and nothing will be before there is a base. Rows share `slots` buckets.
    #[must_use]
    pub fn new(epoch: Epoch, slots: usize, bug: Option<Bug>) -> Self {
        let slots = slots.next_power_of_two() as u64;
        Self { epoch, base: None, floors: BTreeMap::new(), kept: BTreeMap::new(), slots, bug }
    }

    fn slot(&self, key: u32) -> u64 {
        bucket(key).0 & (self.slots - 1)
    }

    /// Everything ends with its epoch. Gives nothing to an epoch that is over.
    fn of(&mut self, epoch: Epoch) -> Option<&mut Self> {
        if epoch > self.epoch {
            let Self { slots, bug, .. } = *self;
            *self = Self { slots, ..Self::new(epoch, 1, bug) };
        }
        (epoch == self.epoch).then_some(self)
    }

    /// A transaction is about to change these rows.
    pub fn raise(&mut self, epoch: Epoch, xid: Xid, keys: &[u32]) {
        let Some(this) = self.of(epoch) else { return };
        for key in keys {
            let floors = this.floors.entry(this.slot(*key)).or_default();
            floors.positions.raise(xid);
            floors.xids.raise(xid);
        }
    }

    /// A transaction has ended.
    pub fn resolve(&mut self, epoch: Epoch, xid: Xid, end: End) {
        if let Some(this) = self.of(epoch) {
            this.floors.values_mut().for_each(|floors| floors.positions.resolve(xid, end));
        }
    }

    /// The gateway has joined, or joined again: of transactions up to this one it may have heard nothing. `now` is
    /// the position of the join.
    pub fn rebase(&mut self, epoch: Epoch, base: Xid, now: Lsn) {
        let Some(this) = self.of(epoch) else { return };
        let floor = this.base.get_or_insert_default();
        if this.bug == Some(Bug::StandbyFloorFromJoin) {
            floor.raise(base);
            floor.resolve(base, End::Committed(now));
        } else {
            floor.rebase(base);
        }
    }

    /// What the primary said: a snapshot, and in a later statement a position.
    pub fn settle(&mut self, epoch: Epoch, snapshot: &Snapshot, after: Lsn) {
        let Some(this) = self.of(epoch) else { return };
        let floors = this.floors.values_mut().map(|floors| &mut floors.positions);
        floors.chain(&mut this.base).for_each(|floor| floor.settle(snapshot, after));
    }

    /// Whether a snapshot of the primary is needed.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        let mut floors = self.floors.values().map(|floors| &floors.positions).chain(&self.base);
        floors.any(|floor| !floor.is_resolved())
    }

    /// Keeps what was read, if it may be served.
    pub fn keep(&mut self, epoch: Epoch, key: u32, given: Given) -> Result<(), Unfit> {
        let Some(this) = self.of(epoch) else { return Err(Unfit::Unresolved) };
        this.admits(key, &given)?;
        // What was seen once stays seen.
        if this.kept.get(&key).is_none_or(|kept| kept.replayed <= given.replayed) {
            this.kept.insert(key, given);
        }
        Ok(())
    }

    /// What is kept of a row, if it may be served now.
    #[must_use]
    pub fn hit(&self, epoch: Epoch, key: u32) -> Option<&Given> {
        self.kept.get(&key).filter(|given| epoch == self.epoch && self.admits(key, given).is_ok())
    }

    fn admits(&self, key: u32, given: &Given) -> Result<(), Unfit> {
        let base = self.base.as_ref().ok_or(Unfit::Unresolved)?;
        let judged = |floor: &StandbyFloor| match floor.admits(given.replayed) {
            Err(Unfit::Unresolved) if self.bug == Some(Bug::StandbyUnresolvedIgnored) => Ok(()),
            judged => judged,
        };
        judged(base)?;
        match self.floors.get(&self.slot(key)) {
            None => Ok(()),
            Some(floors) if self.bug == Some(Bug::StandbyByXid) => {
                if floors.xids.admits(&given.snapshot) {
                    Ok(())
                } else {
                    Err(Unfit::Unresolved)
                }
            }
            Some(floors) => judged(&floors.positions),
        }
    }
}

impl Gateway {
    /// What this gateway keeps of a shard's standby, where there are standbys.
    pub fn standbys(&self, shard: usize) -> Option<RefMut<'_, Standbys>> {
        self.around.shape.lag.map(|_| self.standbys[shard].borrow_mut())
    }

    /// Reads a row on the shard's standby, unless what is kept of it may be served.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn read_on_standby(&self, shard: usize, key: u32) -> Result<Answer, Lost> {
        if let Some(kept) = self.kept_of_standby(shard, key) {
            self.around.sim.note("standby hit", [u64::from(self.id), u64::from(key), 0]);
            return Ok(kept);
        }
        let timeline = self.links[shard].timeline.get();
        let epoch = self.links[shard].epoch(timeline);
        let late = self.has(Bug::StandbyLsnAfterRow);
        // Two statements on one connection; the standby replays between them.
        let asked = self.around.shards[shard].request(async move |shard| {
            let same = || if shard.server.borrow().timeline == timeline { Ok(()) } else { Err(Lost) };
            same()?;
            let early = shard.server.borrow().replayed();
            if !late {
                shard.sim.sleep(delay(&shard.sim)).await;
                same()?;
            }
            let (value, snapshot) = shard.server.borrow().read_on_standby(key);
            if late {
                shard.sim.sleep(delay(&shard.sim)).await;
                same()?;
            }
            let replayed = if late { shard.server.borrow().replayed() } else { early };
            Ok(Given { value, replayed, snapshot })
        });
        let Ok(given) = asked.await else {
            self.reconnect(shard).await;
            return Err(Lost);
        };
        let replayed = given.replayed.0;
        let kept = self.standbys(shard).map(|mut standbys| standbys.keep(epoch, key, given));
        let what = if kept == Some(Ok(())) { "standby kept" } else { "standby refused" };
        self.around.sim.note(what, [u64::from(self.id), u64::from(key), replayed]);
        Ok(Answer::Fetched)
    }

    /// Lease, epoch and floors are looked at in one go.
    fn kept_of_standby(&self, shard: usize, key: u32) -> Option<Answer> {
        let id = shard_id(shard);
        if self.around.shape.gateways > 1 && self.lease.holds(id) == Holding::Lapsed {
            return None;
        }
        self.standbys(shard)?.hit(self.epochs.current(id), key).map(|given| Answer::Kept(given.value))
    }

    /// Takes the base that the cache has taken.
    pub fn rebase_standbys(&self, shard: usize, epoch: Epoch, base: u64) {
        let now = self.around.shards[shard].server.borrow().insert_lsn();
        if let Some(mut standbys) = self.standbys(shard) {
            standbys.rebase(epoch, Xid(base), now);
        }
    }

    /// Tells everybody how a write ended, once. Messages may be lost.
    pub fn tell_end(&self, shard: usize, timeline: u64, xid: u64, outcome: Outcome, members: &[(u8, Member)]) {
        if self.around.shape.lag.is_none() {
            return;
        }
        let (gateway, others) = (self.handle(), members.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        self.spawn(async move {
            let end = match outcome {
                Outcome::Aborted => End::Aborted,
                Outcome::Committed => {
                    let asked = gateway.around.shards[shard].request(async move |shard| {
                        let server = shard.server.borrow();
                        if server.timeline == timeline { Ok(server.insert_lsn()) } else { Err(Lost) }
                    });
                    let Ok(lsn) = asked.await else { return };
                    End::Committed(lsn)
                }
            };
            gateway.hear_end(shard, timeline, xid, end);
            for id in others.into_iter().filter(|id| *id != gateway.id) {
                gateway.tell_end_to(id, shard, timeline, xid, end);
            }
        });
    }

    fn tell_end_to(&self, id: u8, shard: usize, timeline: u64, xid: u64, end: End) {
        let gateway = self.handle();
        self.spawn(async move {
            let processes = gateway.around.processes.clone();
            let order = move || {
                let receiver = processes.borrow().get(&id).cloned();
                async move {
                    if let Some(receiver) = receiver {
                        receiver.hear_end(shard, timeline, xid, end);
                    }
                }
            };
            // What is lost is settled by a snapshot.
            let told = gateway.around.network.ask(gateway.id, id, order);
            let _ = gateway.around.sim.timeout(gateway.around.shape.lease, told).await;
        });
    }

    fn hear_end(&self, shard: usize, timeline: u64, xid: u64, end: End) {
        if self.links[shard].timeline.get() != timeline {
            return;
        }
        if let Some(mut standbys) = self.standbys(shard) {
            standbys.resolve(self.links[shard].epoch(timeline), Xid(xid), end);
        }
        self.around.sim.note("resolved", [u64::from(self.id), xid, 0]);
    }

    /// Settles what is unresolved for long. Never ends.
    pub async fn keep_settling(&self, shard: usize) {
        let pause = nanos(self.around.shape.lease) / 2;
        loop {
            let sim = &self.around.sim;
            sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..pause)))).await;
            if self.standbys(shard).is_some_and(|standbys| standbys.is_unresolved()) {
                // Another attempt follows.
                let _ = self.settle(shard).await;
            }
        }
    }

    async fn settle(&self, shard: usize) -> Result<(), Lost> {
        let timeline = self.links[shard].timeline.get();
        let epoch = self.links[shard].epoch(timeline);
        let (snapshot, after) = self.around.shards[shard]
            .request(async move |shard| {
                let same = || if shard.server.borrow().timeline == timeline { Ok(()) } else { Err(Lost) };
                same()?;
                let snapshot = shard.server.borrow().snapshot();
                shard.sim.sleep(delay(&shard.sim)).await;
                same()?;
                Ok((snapshot, shard.server.borrow().insert_lsn()))
            })
            .await?;
        if let Some(mut standbys) = self.standbys(shard) {
            standbys.settle(epoch, &snapshot, after);
        }
        Ok(())
    }
}
