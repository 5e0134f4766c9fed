//! A strict write: statements, xid, members, FLOOR to each, acknowledgements, COMMIT, the reply.

use std::rc::Rc;

use tidegate_cache_with_bugs::Raised;
use tidegate_types::epoch::Epoch;
use tokio::sync::oneshot;

use crate::{
    bugs::Bug,
    executor::nanos,
    gateway::{Failure, Gateway},
    identity::Life,
    lease::Fencing,
    postgres::{Cell, Lost, Member, RowId, Written},
    session::{Hold, Outcome, Tx},
};

/// What a write is to do, on one shard.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Rows and what to leave in them, ascending by key: rows are locked in this order.
    pub rows: Vec<(u32, Written)>,
    /// A row that is changed and rolled back to a savepoint before the others.
    pub undone: Option<u32>,
    /// Whether the row is read again after COMMIT, so that the cache holds it.
    pub refill: Refill,
}

/// What follows COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refill {
    /// Nothing: cache-aside.
    #[default]
    None,
    /// Write-through.
    Read,
}

/// The connection of a write.
#[derive(Debug, Clone, Copy)]
struct Conn {
    life: Life,
    /// In which what it showed was judged.
    epoch: Epoch,
}

/// The members that a writer must convince.
type Members = Vec<(u8, Member)>;

/// What another gateway is to do.
type Message = Rc<dyn Fn(&Gateway)>;

impl Gateway {
    /// Writes.
    ///
    /// # Errors
    /// [`Failure`], which says whether it may have happened.
    pub async fn write(&self, shard: usize, order: Order) -> Result<(), Failure> {
        let link = &self.links[shard];
        // Of its connection, from here to the end.
        let timeline = link.timeline.get();
        let conn = Conn { life: Life { timeline, shown: link.shown.get() }, epoch: link.epoch(timeline) };
        self.wait_after_promotion(shard).await;
        let early = match self.around.bug {
            Some(Bug::MembersBeforeXid) => Some(self.members(shard).await.map_err(|Lost| Failure::Refused)?),
            _ => None,
        };
        let tx = self.around.shards[shard].begin(timeline);
        let _hold = Hold(tx.clone());
        let statements = order.clone();
        let begun = tx.request(async move |tx| statements.run(tx).await).await;
        let Ok((xid, members)) = begun else {
            self.reconnect(shard).await;
            return Err(Failure::Refused);
        };
        let members = early.unwrap_or(members);
        let keys: Rc<[u32]> = order.rows.iter().map(|(key, _)| *key).chain(order.undone).collect();
        self.around.sim.note("writing", [u64::from(self.id), xid, u64::from(keys[0])]);
        if self.has(Bug::UncommittedCached) {
            self.cache_own(shard, &tx, &order, timeline).await;
        }
        if !self.has(Bug::FloorAfterCommit) {
            self.tell(shard, conn, xid, &keys, &members).await?;
        }
        let outcome = tx.send_commit().await;
        if self.has(Bug::FloorAfterCommit) {
            self.tell(shard, conn, xid, &keys, &members).await?;
        }
        if let Ok(outcome) = outcome {
            self.tell_end(shard, timeline, xid, outcome, &members);
        }
        match outcome {
            Ok(Outcome::Committed) => {
                self.after_commit(shard, &order, timeline);
                Ok(())
            }
            Ok(Outcome::Aborted) => Err(Failure::Refused),
            Err(Lost) => {
                self.reconnect(shard).await;
                Err(Failure::Unknown)
            }
        }
    }

    /// Leases that the old primary gave may still hold: their holders hear nothing of this write.
    async fn wait_after_promotion(&self, shard: usize) {
        let (sim, link) = (&self.around.sim, &self.links[shard]);
        let until = link.since.get() + nanos(self.around.shape.lease);
        let alone = self.around.shape.gateways == 1;
        if link.timeline.get() > 1 && until > sim.now() && !alone && !self.has(Bug::NoWaitAfterPromotion) {
            sim.sleep(std::time::Duration::from_nanos(until - sim.now())).await;
        }
    }

    async fn members(&self, shard: usize) -> Result<Members, Lost> {
        let asked = self.around.shards[shard].request(async |shard| {
            let server = shard.server.borrow();
            Ok((server.timeline, server.members()))
        });
        let (timeline, members) = asked.await?;
        // Rows may have been lost since the last look.
        self.observe(shard, timeline);
        Ok(members)
    }

    /// Raises the floors everywhere, and waits until nobody is left who may serve without them.
    async fn tell(
        &self,
        shard: usize,
        conn: Conn,
        xid: u64,
        keys: &Rc<[u32]>,
        members: &Members,
    ) -> Result<(), Failure> {
        let Conn { life, epoch } = conn;
        let raised = if self.has(Bug::OwnGatewaySkipped) { Raised::Held } else { self.raise(shard, epoch, xid, keys) };
        // Connections to a server that is gone end by themselves: here old primaries do not live on.
        let lives = self.links[shard].timeline.get() == life.timeline;
        if raised == Raised::EpochOver && lives && !self.has(Bug::EpochOverCommitted) {
            return Err(Failure::Refused);
        }
        let mut convinced = Vec::new();
        for (id, member) in members.iter().filter(|(id, member)| *id != self.id && !member.fenced) {
            let (sender, done) = oneshot::channel();
            let (gateway, keys, id, member) = (self.handle(), keys.clone(), *id, *member);
            self.spawn(async move {
                // The write may have been given up.
                let message: Message = Rc::new(move |receiver| receiver.heed(shard, life, xid, &keys));
                let _ = sender.send(gateway.convince(shard, life.timeline, message, id, member).await);
            });
            convinced.push(done);
        }
        if self.has(Bug::NoWaitForAcknowledgements) {
            return Ok(());
        }
        for done in convinced {
            done.await.map_err(|_| Failure::Refused)??;
        }
        Ok(())
    }

    /// Has every gateway forget a row that changed without a write through any of them.
    ///
    /// # Errors
    /// Somebody may not have heard of it.
    pub async fn purge(&self, shard: usize, key: u32) -> Result<(), Failure> {
        if !self.has(Bug::VoidOwnGatewaySkipped) {
            self.void(shard, key);
        }
        // After the change was done: who joins from here on keeps nothing of before.
        let members = match self.around.shape.gateways {
            1 => Vec::new(),
            _ => self.members(shard).await.map_err(|Lost| Failure::Refused)?,
        };
        let timeline = self.links[shard].timeline.get();
        self.wait_after_promotion(shard).await;
        if self.has(Bug::VoidNotTold) {
            return Ok(());
        }
        for (id, member) in members.into_iter().filter(|(id, member)| *id != self.id && !member.fenced) {
            let message: Message = Rc::new(move |receiver| receiver.void(shard, key));
            self.convince(shard, timeline, message, id, member).await?;
        }
        Ok(())
    }

    /// Has a member take a message, or fences it.
    async fn convince(
        &self,
        shard: usize,
        timeline: u64,
        message: Message,
        id: u8,
        member: Member,
    ) -> Result<(), Failure> {
        let (sim, lease) = (&self.around.sim, self.around.shape.lease);
        let deadline = sim.now() + nanos(lease) * 3;
        loop {
            let (processes, message) = (self.around.processes.clone(), message.clone());
            let order = move || {
                let receiver = processes.borrow().get(&id).cloned();
                let message = message.clone();
                async move {
                    if let Some(receiver) = receiver {
                        message(&receiver);
                    }
                }
            };
            if let Some(Ok(())) = sim.timeout(lease / 4, self.around.network.ask(self.id, id, order)).await {
                return Ok(());
            }
            if self.fence(shard, timeline, id, member).await.map_err(|Lost| Failure::Refused)? == Fencing::Out {
                return Ok(());
            }
            if sim.now() > deadline {
                return Err(Failure::Refused);
            }
            sim.sleep(lease / 16).await;
        }
    }

    fn after_commit(&self, shard: usize, order: &Order, timeline: u64) {
        if order.refill == Refill::None {
            return;
        }
        let (gateway, order) = (self.handle(), order.clone());
        self.spawn(async move {
            if gateway.has(Bug::ReturningCached) {
                let snapshot = gateway.around.shards[shard].request(async |shard| Ok(shard.server.borrow().snapshot()));
                let Ok(snapshot) = snapshot.await else { return };
                let epoch = gateway.links[shard].epoch(timeline);
                for (key, written) in &order.rows {
                    gateway.cache_wrongly(shard, *key, written.value, snapshot.clone(), epoch).await;
                }
            } else {
                for (key, _) in &order.rows {
                    // The write is acknowledged whatever becomes of this.
                    let _ = gateway.read(shard, *key, 0).await;
                }
            }
        });
    }

    /// What no gateway may do: its own transaction counts as seen while it is under way.
    async fn cache_own(&self, shard: usize, tx: &Rc<Tx>, order: &Order, timeline: u64) {
        let own = tx.request(async |tx| {
            let xid = tx.xid()?;
            let mut snapshot = tx.server().borrow().snapshot();
            snapshot.xip.retain(|running| running.0 != xid);
            snapshot.xmax = snapshot.xmax.max(tidegate_types::snapshot::Xid(xid + 1));
            Ok(snapshot)
        });
        let Ok(snapshot) = own.await else { return };
        for (key, written) in &order.rows {
            let epoch = self.links[shard].epoch(timeline);
            self.cache_wrongly(shard, *key, written.value, snapshot.clone(), epoch).await;
        }
    }
}

impl Order {
    /// The statements, the xid and, last, the member list: pipelined in one round trip.
    async fn run(&self, tx: &Tx) -> Result<(u64, Members), Lost> {
        let xid = tx.xid()?;
        if let Some(undone) = self.undone {
            tx.lock(RowId::Data(undone)).await?;
            tx.xid()?;
            tx.server().borrow_mut().roll_back_to_savepoint(xid, RowId::Data(undone));
        }
        for (key, written) in &self.rows {
            tx.write(RowId::Data(*key), Cell::Value(*written)).await?;
        }
        let members = tx.server().borrow().members();
        Ok((xid, members))
    }
}
