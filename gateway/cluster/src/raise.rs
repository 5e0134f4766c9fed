//! Before a COMMIT: nobody may go on serving what it changes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use tidegate_types::{epoch::Epoch, member::Member, purge::Softness, route::ShardId, snapshot::Xid};

use crate::{
    clock::Moment,
    cluster::{Cluster, Shared},
    leases::Leases,
    metrics::FloorsEnd,
    peer::Acknowledged,
    sightings::Standing,
    table::{Buckets, Fencing, Floor, Forgotten, Present, Void},
    wire::Ticketed,
};

/// A transaction that is about to be committed.
#[derive(Debug, Clone)]
pub struct Intent<'a> {
    /// On which shard.
    pub shard: ShardId,
    /// The epoch of its connection.
    pub epoch: Epoch,
    /// A digest of the lineage of its connection.
    pub lineage: u64,
    /// A digest of the collections that made the buckets.
    pub digest: u64,
    /// The transaction.
    pub xid: Xid,
    /// What it changes.
    pub buckets: Buckets,
    /// The members as its own connection read them, by a statement after the transaction had its id.
    pub members: &'a [Member],
}

/// A gateway neither acknowledged in time nor could be fenced: it is alive, and out of reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gateway {id} at {address} does not acknowledge, and is alive: {why}")]
pub struct Unheard {
    /// Who.
    pub id: Arc<str>,
    /// Where.
    pub address: Arc<str>,
    /// Why it could not be fenced.
    pub why: String,
}

/// How somebody came to be no obstacle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Settled {
    Acknowledged,
    Fenced,
}

impl Cluster {
    /// Tells every member but this process what a transaction changes, and waits until each has acknowledged or
    /// is fenced. Own floors are raised before. Only then may COMMIT be sent.
    ///
    /// # Errors
    /// [`Unheard`]: the transaction must be rolled back. Floors that were raised do no harm.
    pub async fn raise(&self, intent: Intent<'_>) -> Result<(), Unheard> {
        let shared = &*self.0;
        let began = shared.leases.clock().now();
        let Intent { shard, epoch, lineage, digest, xid, buckets, members } = intent;
        let settled = shared.sightings.settled(shard, epoch, shared.terms.lease, began);
        members.iter().for_each(|member| shared.sightings.saw(shard, epoch, member, began));
        let others: Vec<&Member> = members.iter().filter(|member| member.id != shared.me).collect();
        let outcome = if others.is_empty() {
            Ok(Settled::Acknowledged)
        } else {
            let name = shared.topology.name(shard).into();
            let floor = Ticketed::floor(&Floor { shard: name, lineage, digest, xid, buckets });
            shared.tell(shard, &others, &floor, began).await
        };
        // Rows of members may have been lost when the epoch began; their leases end by then.
        until(settled, &shared.leases).await;
        let took = shared.leases.clock().now().since(began);
        shared.metrics.floors(
            match outcome {
                Ok(Settled::Acknowledged) => FloorsEnd::Acknowledged,
                Ok(Settled::Fenced) => FloorsEnd::Fenced,
                Err(_) => FloorsEnd::Refused,
            },
            took,
        );
        outcome.map(|_| ())
    }

    /// Has something forgotten by every member but this process, and waits until each has acknowledged or is fenced.
    /// To be called after the change is done. `shard` is `None` for every shard. It goes on when nobody waits.
    /// Gives who has acknowledged.
    ///
    /// # Errors
    /// Who has not acknowledged in time. It is told until it does, or is fenced.
    pub async fn void(
        &self,
        shard: Option<ShardId>,
        digest: u64,
        what: &Forgotten,
        softness: Softness,
    ) -> Result<BTreeSet<Arc<str>>, Unheard> {
        let shards = shard.map_or_else(|| self.0.topology.all(), |shard| [shard].into_iter().collect());
        let each = shards.into_iter().map(|shard| {
            let (shared, name) = (self.0.clone(), Arc::from(self.0.topology.name(shard)));
            let void = Void { shard: Some(name), digest, what: what.clone(), softness };
            async move {
                let unheard = |why: &str| Unheard {
                    id: "?".into(),
                    address: format!("shard {}", shared.topology.name(shard)).into(),
                    why: why.to_owned(),
                };
                let telling = tokio::spawn(shared.clone().tell_of_void(shard, void));
                match tokio::time::timeout(shared.terms.deadline, telling).await {
                    Ok(Ok(told)) => Ok(told),
                    Ok(Err(_)) => Err(unheard("telling failed")),
                    Err(_) => Err(unheard("not everybody has acknowledged yet")),
                }
            }
        });
        let told: Result<Vec<_>, _> = join_all(each).await.into_iter().collect();
        Ok(told?.into_iter().flatten().collect())
    }
}

impl Shared {
    /// Until everybody has acknowledged or is fenced. Gives who has acknowledged.
    async fn tell_of_void(self: Arc<Self>, shard: ShardId, void: Void) -> BTreeSet<Arc<str>> {
        let message = Ticketed::void(&void);
        // Without a deadline: what is not voided would be served until its time is over.
        let forever = Moment::START.after(Duration::MAX);
        let mut acknowledged = BTreeSet::new();
        // Read after the change was done: who joins from here on keeps nothing of before.
        let mut present = self.present(shard).await;
        loop {
            let Present { epoch, members } = &present;
            let settled = self.sightings.settled(shard, *epoch, self.terms.lease, self.leases.clock().now());
            let others = members.iter().filter(|member| member.id != self.me);
            let each = others
                .map(|member| async { (member.id.clone(), self.tell_one(shard, member, &message, forever).await) });
            let told = join_all(each).await;
            // As before a COMMIT: rows of members may have been lost when the epoch began.
            until(settled, &self.leases).await;
            let whole = told.iter().all(|(_, how)| *how == Ok(Settled::Acknowledged));
            let heard = told.into_iter().filter(|(_, how)| *how == Ok(Settled::Acknowledged));
            acknowledged.extend(heard.map(|(id, _)| id));
            if whole {
                return acknowledged;
            }
            // Who counts as fenced may have been looked for where its row was lost.
            let now = self.present(shard).await;
            if now.epoch == *epoch {
                return acknowledged;
            }
            present = now;
        }
    }

    /// Who is there, as soon as the table can be read.
    async fn present(&self, shard: ShardId) -> Present {
        loop {
            match self.table.members(shard).await {
                Ok(present) => return present,
                Err(error) => {
                    tracing::debug!(shard = self.topology.name(shard), %error, "a purge waits for the member table");
                    tokio::time::sleep(self.terms.lease / 4).await;
                }
            }
        }
    }

    async fn tell(
        &self,
        shard: ShardId,
        others: &[&Member],
        message: &Ticketed,
        began: Moment,
    ) -> Result<Settled, Unheard> {
        let deadline = began.after(self.terms.deadline);
        let each = others.iter().map(|member| self.tell_one(shard, member, message, deadline));
        Ok(try_join_all(each).await?.into_iter().max().unwrap_or(Settled::Acknowledged))
    }

    /// Until the member has acknowledged or is fenced.
    async fn tell_one(
        &self,
        shard: ShardId,
        member: &Member,
        message: &Ticketed,
        deadline: Moment,
    ) -> Result<Settled, Unheard> {
        let peer = self.peer(member);
        let telling = async {
            let acknowledged: Acknowledged = peer.send(message.clone()).await;
            if acknowledged.await.is_err() {
                // The peer was given up, which only its row decides.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // An acknowledgement that is there counts, even at the deadline.
            biased;
            () = telling => Ok(Settled::Acknowledged),
            outcome = self.outlive(shard, member, deadline) => outcome,
        }
    }

    /// Until the member is fenced. It is tried when its row has shown the same beat for its lease.
    async fn outlive(&self, shard: ShardId, member: &Member, deadline: Moment) -> Result<Settled, Unheard> {
        let mut why = "its lease is not over".to_owned();
        loop {
            let now = self.leases.clock().now();
            let (at, seen) = match self.sightings.standing(shard, member, now) {
                Standing::Over => return Ok(Settled::Fenced),
                Standing::FenceAt(at, seen) => (at, seen),
            };
            if now < at {
                // It may be fenced by somebody else, or renew, meanwhile.
                let pause = at.since(now).min(self.terms.lease / 10).min(deadline.since(now));
                tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
            } else {
                let limit = deadline.since(now).max(Duration::from_millis(1));
                match tokio::time::timeout(limit, self.table.fence(shard, &seen)).await {
                    Ok(Ok(Fencing::Done)) => {
                        tracing::warn!(shard = self.topology.name(shard), member = %seen.id,
                            "fenced a gateway that did not acknowledge a write");
                        self.metrics.fenced();
                        self.sightings.over(shard, &seen);
                        return Ok(Settled::Fenced);
                    }
                    Ok(Ok(Fencing::Alive(row))) => {
                        why = "it renews its lease".to_owned();
                        self.sightings.alive(shard, &row, self.leases.clock().now());
                    }
                    Ok(Err(error)) => {
                        why = error.to_string();
                        tokio::time::sleep(self.terms.lease / 20).await;
                    }
                    Err(_) => why = "the shard did not answer in time".to_owned(),
                }
            }
            if self.leases.clock().now() >= deadline {
                return Err(Unheard { id: member.id.clone(), address: member.address.clone(), why });
            }
        }
    }
}

/// Waits until then, if that is not past. A timer has a resolution of a millisecond, rounded up: one of no time at all
/// would be the longest part of a write.
async fn until(moment: Moment, leases: &Leases) {
    let left = moment.since(leases.clock().now());
    if !left.is_zero() {
        tokio::time::sleep(left).await;
    }
}
