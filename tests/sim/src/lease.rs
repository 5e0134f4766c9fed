//! Membership: joining, renewing, fencing, and the lease that a request asks for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_cache_with_bugs::{Holding, Validity};
use tidegate_types::{epoch::Epoch, route::ShardId, snapshot::Xid};

use crate::{
    bugs::Bug,
    executor::nanos,
    gateway::{Gateway, shard_id},
    postgres::{Cell, Lost, Member, RowId},
    session::{Outcome, Tx, delay},
};

/// Until when the leases of a gateway hold.
#[derive(Debug)]
pub struct Lease {
    clock: Arc<AtomicU64>,
    until: Box<[AtomicU64]>,
    flags: Box<[AtomicBool]>,
    /// How often each was given up: what was sent before may not take it up again.
    given_up: Box<[AtomicU64]>,
    incarnations: Box<[AtomicU64]>,
    bug: Option<Bug>,
}

impl Lease {
    /// No leases.
    #[must_use]
    pub fn new(clock: Arc<AtomicU64>, shards: usize, bug: Option<Bug>) -> Self {
        let zeros = || (0..shards).map(|_| AtomicU64::new(0)).collect();
        let flags = (0..shards).map(|_| AtomicBool::new(false)).collect();
        Self { clock, until: zeros(), flags, given_up: zeros(), incarnations: zeros(), bug }
    }

    fn hold(&self, shard: usize, until: u64) {
        self.until[shard].fetch_max(until, Ordering::Relaxed);
        self.flags[shard].store(true, Ordering::Relaxed);
    }

    /// Gives the lease up.
    pub fn end(&self, shard: usize) {
        self.given_up[shard].fetch_add(1, Ordering::Relaxed);
        self.until[shard].store(0, Ordering::Relaxed);
        self.flags[shard].store(false, Ordering::Relaxed);
    }
}

/// A membership: while it lasts, renewals count.
#[derive(Debug, Clone, Copy)]
struct Joined {
    timeline: u64,
    epoch: Epoch,
    incarnation: u64,
    /// How often the lease had been given up when the gateway joined.
    given_up: u64,
}

impl Validity for Lease {
    fn holds(&self, shard: ShardId) -> Holding {
        let shard = usize::from(shard.0);
        let holds = match self.bug {
            Some(Bug::LeaseFlagByTimer) => self.flags[shard].load(Ordering::Relaxed),
            _ => self.clock.load(Ordering::Relaxed) < self.until[shard].load(Ordering::Relaxed),
        };
        if holds { Holding::Held } else { Holding::Lapsed }
    }
}

/// What a renewal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Done,
    /// The row is fenced or gone.
    Gone,
}

/// What a writer found out about a member that does not acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fencing {
    /// It serves nothing that was kept before it joins again.
    Out,
    /// It lives.
    Alive,
}

/// How often somebody joins who cannot.
const PAUSE: Duration = Duration::from_millis(2);

impl Gateway {
    /// Takes a base for every epoch of a shard and, where there are several gateways, keeps the lease. Never ends.
    pub async fn keep_membership(&self, shard: usize) {
        let mut lives = 0;
        loop {
            lives += 1;
            let joined = match self.around.shape.gateways {
                1 => self.take_base(shard).await,
                _ => self.join(shard, lives).await,
            };
            let Ok(joined) = joined else {
                self.around.sim.sleep(PAUSE).await;
                self.reconnect(shard).await;
                continue;
            };
            let of_now = || (self.links[shard].timeline.get(), self.links[shard].epoch(joined.timeline));
            while of_now() == (joined.timeline, joined.epoch) {
                self.around.sim.sleep(self.around.shape.lease / 4).await;
                if self.around.shape.gateways == 1 {
                    continue;
                }
                match self.renew(shard, joined).await {
                    Ok(Renewal::Done) => {}
                    Ok(Renewal::Gone) => break,
                    Err(Lost) if joined.given_up != self.lease.given_up[shard].load(Ordering::Relaxed) => break,
                    Err(Lost) => self.reconnect(shard).await,
                }
            }
            self.lease.end(shard);
        }
    }

    /// Leaves every shard; the next renewal finds the row gone and joins again. It stops serving first.
    pub async fn leave(&self) {
        let lease = self.around.shape.lease;
        for shard in 0..self.links.len() {
            self.lease.end(shard);
            let (id, timeline) = (self.id, self.links[shard].timeline.get());
            // It may arrive after this gateway has joined again: it must not be about that life.
            let incarnation = self.lease.incarnations[shard].load(Ordering::Relaxed);
            let any = self.has(Bug::LeavesAnyIncarnation);
            let tx = self.around.shards[shard].begin(timeline);
            let late = Duration::from_nanos(self.around.sim.draw(|random| random.u64(..nanos(lease) * 2)));
            let left = tx.request(async move |tx| {
                if tx.sim().once_in(3) {
                    tx.sim().sleep(late).await;
                }
                tx.lock(RowId::Member(id)).await?;
                let row = tx.server().borrow().member(id);
                if let Some(member) = row.filter(|row| any || row.incarnation == incarnation) {
                    tx.write(RowId::Member(id), Cell::Member(Member { fenced: true, ..member })).await?;
                }
                tx.commit().await
            });
            // If it was lost, the lease runs out.
            let _ = self.around.sim.timeout(lease / 8, left).await;
        }
    }

    /// Alone: transactions of a former life may still be under way, of which nobody here knows.
    async fn take_base(&self, shard: usize) -> Result<Joined, Lost> {
        let timeline = self.connect(shard).await?;
        let epoch = self.links[shard].epoch(timeline);
        let base = match self.around.bug {
            Some(Bug::NoBaseAtJoin) => 0,
            _ => self.own_xid(shard, timeline).await?,
        };
        self.epochs.set_base(shard_id(shard), epoch, Xid(base));
        self.rebase_standbys(shard, epoch, base);
        Ok(Joined { timeline, epoch, incarnation: 0, given_up: 0 })
    }

    /// An xid of its own, ended at once.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn own_xid(&self, shard: usize, timeline: u64) -> Result<u64, Lost> {
        let tx = self.around.shards[shard].begin(timeline);
        tx.request(async |tx| {
            let xid = tx.xid()?;
            tx.commit().await?;
            Ok(xid)
        })
        .await
    }

    async fn join(&self, shard: usize, lives: u32) -> Result<Joined, Lost> {
        let timeline = self.connect(shard).await?;
        let epoch = self.links[shard].epoch(timeline);
        let (id, lease) = (self.id, self.around.shape.lease);
        // Never used before, nor by another life: rows may be lost, and old orders arrive late.
        let incarnation = self.around.sim.number();
        let (sent, given_up) = (self.around.sim.now(), self.lease.given_up[shard].load(Ordering::Relaxed));
        let tx = self.around.shards[shard].begin(timeline);
        let xmax = tx
            .request(async move |tx| {
                tx.lock(RowId::Member(id)).await?;
                let expires = tx.sim().now() + nanos(lease);
                let member = Member { incarnation, expires, fenced: false };
                tx.write(RowId::Member(id), Cell::Member(member)).await?;
                // COMMIT is sent when the answer has come.
                tx.sim().sleep(delay(tx.sim()) * 4).await;
                if tx.commit().await? == Outcome::Aborted {
                    return Err(Lost);
                }
                Ok(tx.server().borrow().snapshot().xmax)
            })
            .await?;
        let base = match self.around.bug {
            Some(Bug::NoBaseAtJoin) => 0,
            Some(Bug::BaseFromJoinSnapshot) => xmax.0 - 1,
            _ => self.own_xid(shard, timeline).await?,
        };
        let link = &self.links[shard];
        if (link.timeline.get(), link.epoch(timeline)) != (timeline, epoch) {
            return Err(Lost);
        }
        self.rebase(shard, timeline, base, lives)?;
        self.rebase_standbys(shard, link.epoch(timeline), base);
        let joined = Joined { timeline, epoch: link.epoch(timeline), incarnation, given_up };
        self.lease.incarnations[shard].store(incarnation, Ordering::Relaxed);
        self.hold(shard, joined, sent)?;
        self.around.sim.note("joined", [u64::from(id), incarnation, base]);
        Ok(joined)
    }

    /// What is kept is void, floors that came meanwhile stay, and from here on only what sees `base` is kept.
    fn rebase(&self, shard: usize, timeline: u64, base: u64, lives: u32) -> Result<(), Lost> {
        let (id, link) = (shard_id(shard), &self.links[shard]);
        match self.around.bug {
            Some(Bug::NoBaseAtRejoin) if lives > 1 => {}
            Some(Bug::FloorsForgottenAtJoin) => {
                let epoch = self.enter(shard, timeline);
                self.epochs.set_base(id, epoch, Xid(base));
            }
            Some(Bug::EntriesKeptAtRejoin) => self.epochs.set_base(id, link.epoch(timeline), Xid(base)),
            _ => return self.cache.rebase(id, link.epoch(timeline), Xid(base)).map_err(|_| Lost),
        }
        Ok(())
    }

    async fn renew(&self, shard: usize, joined: Joined) -> Result<Renewal, Lost> {
        let (id, lease) = (self.id, self.around.shape.lease);
        let Joined { timeline, incarnation, .. } = joined;
        let sent = self.around.sim.now();
        let tx = self.around.shards[shard].begin(timeline);
        let renewal = tx
            .request(async move |tx| {
                tx.lock(RowId::Member(id)).await?;
                let row = tx.server().borrow().member(id);
                let Some(member) = row.filter(|row| row.incarnation == incarnation && !row.fenced) else {
                    tx.roll_back();
                    return Ok(Renewal::Gone);
                };
                let expires = tx.sim().now() + nanos(lease);
                tx.write(RowId::Member(id), Cell::Member(Member { expires, ..member })).await?;
                match tx.commit().await? {
                    Outcome::Committed => Ok(Renewal::Done),
                    Outcome::Aborted => Err(Lost),
                }
            })
            .await?;
        if renewal == Renewal::Done && self.links[shard].timeline.get() == timeline {
            self.hold(shard, joined, sent)?;
        }
        Ok(renewal)
    }

    fn hold(&self, shard: usize, joined: Joined, sent: u64) -> Result<(), Lost> {
        let sim = &self.around.sim;
        if joined.given_up != self.lease.given_up[shard].load(Ordering::Relaxed) && !self.has(Bug::RenewalUndoesLeave) {
            return Err(Lost);
        }
        let from = if self.has(Bug::LeaseFromReply) { sim.now() } else { sent };
        let until = from + nanos(self.around.shape.lease);
        self.lease.hold(shard, until);
        if self.has(Bug::LeaseFlagByTimer) {
            let (gateway, lease) = (self.handle(), Duration::from_nanos(until.saturating_sub(sim.now())));
            self.spawn(async move {
                gateway.around.sim.sleep(lease).await;
                if gateway.lease.until[shard].load(Ordering::Relaxed) <= until {
                    gateway.lease.flags[shard].store(false, Ordering::Relaxed);
                }
            });
        }
        Ok(())
    }

    /// Goes on without a member if its lease has run out, in a transaction of its own that waits for a renewal
    /// under way.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn fence(&self, shard: usize, timeline: u64, id: u8, seen: Member) -> Result<Fencing, Lost> {
        let tx = self.around.shards[shard].begin(timeline);
        let bug = self.around.bug;
        tx.request(async move |tx| {
            let row = tx.server().borrow().member(id);
            let lapsed = |member: &Member| member.expires < tx.sim().now();
            match bug {
                Some(Bug::ExpirySkippedUnfenced) if row.as_ref().is_none_or(lapsed) => Ok(Fencing::Out),
                Some(Bug::FirstExpiryWaited) if lapsed(&seen) => Ok(Fencing::Out),
                Some(Bug::ExpirySkippedUnfenced | Bug::FirstExpiryWaited) => Ok(Fencing::Alive),
                _ => fence_row(tx, id, seen.incarnation).await,
            }
        })
        .await
    }
}

async fn fence_row(tx: &Tx, id: u8, incarnation: u64) -> Result<Fencing, Lost> {
    tx.lock(RowId::Member(id)).await?;
    let row = tx.server().borrow().member(id);
    // Whoever is gone or has joined again has a base above every transaction that looked before.
    let Some(member) = row.filter(|row| row.incarnation == incarnation && !row.fenced) else {
        tx.roll_back();
        return Ok(Fencing::Out);
    };
    if member.expires >= tx.sim().now() {
        tx.roll_back();
        return Ok(Fencing::Alive);
    }
    tx.write(RowId::Member(id), Cell::Member(Member { fenced: true, ..member })).await?;
    match tx.commit().await? {
        Outcome::Committed => {
            tx.sim().note("fenced", [u64::from(id), incarnation, 0]);
            Ok(Fencing::Out)
        }
        Outcome::Aborted => Ok(Fencing::Alive),
    }
}
