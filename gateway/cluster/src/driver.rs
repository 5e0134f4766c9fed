//! Keeps one shard's lease: does what [`Lease`] says should be done.

use std::{sync::Arc, time::Duration};

use tidegate_types::{epoch::Epoch, member::Member, route::ShardId};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Shared,
    lease::{Lease, Step},
    leases::{Published, Suspensions},
    sightings::Standing,
    table::{Fencing, Joined, Rebased, Renewal, TableError},
};

/// How long leaving may take.
const LEAVING: Duration = Duration::from_secs(1);

/// Until told to stop; then leaves.
pub(crate) async fn run(shared: Arc<Shared>, shard: ShardId, stop: CancellationToken) {
    let name = shared.topology.name(shard).to_owned();
    let row = Member {
        id: shared.me.clone(),
        incarnation: 0,
        beat: 0,
        lease: shared.terms.lease,
        address: shared.address.clone(),
    };
    let lease = Lease::new(shared.terms);
    let suspensions = shared.leases.suspensions(shard);
    let mut keeper = Keeper { shared, shard, name, row, lease, joined: None, suspensions, told: String::new() };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keeper.keep() => {}
    }
    keeper.leave().await;
}

struct Keeper {
    shared: Arc<Shared>,
    shard: ShardId,
    name: String,
    row: Member,
    lease: Lease,
    /// The epoch in which it joined.
    joined: Option<Epoch>,
    suspensions: Suspensions,
    /// The last failure that was logged.
    told: String,
}

impl Keeper {
    async fn keep(&mut self) {
        loop {
            let now = self.shared.leases.clock().now();
            match self.lease.next(now) {
                Step::Join => self.join().await,
                Step::Renew => self.renew().await,
                Step::Wait(until) => {
                    let pause = until.since(now);
                    let shared = self.shared.clone();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shared.woken(self.shard) => self.again(),
                    }
                }
            }
        }
    }

    /// Joins again, from the beginning.
    fn again(&mut self) {
        self.joined = None;
        self.shared.leases.suspend(self.shard);
        self.lease.gone(self.shared.leases.clock().now());
    }

    async fn join(&mut self) {
        // Whatever was held is void from here on; a suspension from here on is about the new lease.
        self.shared.leases.suspend(self.shard);
        self.suspensions = self.shared.leases.suspensions(self.shard);
        self.row.incarnation += 1;
        let (shared, row) = (self.shared.clone(), self.row.clone());
        match in_time(shared.terms.patience, shared.table.join(self.shard, &row)).await {
            Ok(Joined { epoch, base }) => {
                let now = shared.leases.clock().now();
                shared.sightings.settled(self.shard, epoch, shared.terms.lease, now);
                if shared.sink.rebase(self.shard, epoch, base) == Rebased::OtherEpoch {
                    return self.again();
                }
                self.joined = Some(epoch);
                self.lease.joined();
                self.publish();
                shared.metrics.joined(self.shard);
                self.told.clear();
                tracing::info!(shard = self.name, incarnation = self.row.incarnation, "joined the other gateways");
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn renew(&mut self) {
        let (shared, row) = (self.shared.clone(), self.row.clone());
        match in_time(shared.terms.patience, shared.table.renew(self.shard, &row)).await {
            Ok(Renewal::Done { epoch, .. }) if self.joined != Some(epoch) => {
                tracing::warn!(shard = self.name, "the shard's epoch has changed: joining again");
                self.again();
            }
            Ok(Renewal::Done { epoch, members }) => {
                self.lease.renewed();
                self.publish();
                self.told.clear();
                self.look_around(epoch, members).await;
            }
            Ok(Renewal::NoRow) => {
                tracing::warn!(shard = self.name, "this gateway was fenced: joining again");
                self.again();
            }
            Err(error) => self.failed(&error),
        }
    }

    fn publish(&mut self) {
        if self.shared.leases.publish(self.shard, self.lease.until(), self.suspensions) == Published::Suspended {
            self.again();
        }
    }

    fn failed(&mut self, error: &TableError) {
        self.shared.metrics.table_failed(self.shard);
        if error.0 != self.told {
            tracing::warn!(shard = self.name, %error, "the member table of a shard cannot be used; while the lease is \
                over, nothing of the shard is served from the cache");
            self.told.clone_from(&error.0);
        }
        self.lease.failed(self.shared.leases.clock().now());
    }

    /// Notes who else is there, and fences who has been silent for long, so that no write has to wait for it.
    async fn look_around(&self, epoch: Epoch, members: Vec<Member>) {
        let shared = &self.shared;
        let now = shared.leases.clock().now();
        shared.sightings.settled(self.shard, epoch, shared.terms.lease, now);
        for member in members.iter().filter(|member| member.id != shared.me) {
            shared.sightings.saw(self.shard, epoch, member, now);
            // A lease more than a writer would wait: who is only slow is left alone.
            if let Standing::FenceAt(at, seen) = shared.sightings.standing(self.shard, member, now)
                // A lease more than a writer would wait: who is only slow is left alone.
                && now >= at.after(shared.terms.lease)
            {
                self.fence(&seen).await;
                // One at a time: the own lease must not wait for others.
                break;
            }
        }
        shared.roster(self.shard, members);
    }

    async fn fence(&self, seen: &Member) {
        let shared = &self.shared;
        let fenced = in_time(shared.terms.lease / 4, shared.table.fence(self.shard, seen)).await;
        match fenced {
            Ok(Fencing::Done) => {
                shared.sightings.over(self.shard, seen);
                shared.metrics.fenced();
                tracing::warn!(shard = self.name, member = %seen.id, "fenced a gateway that was silent for long");
            }
            Ok(Fencing::Alive(row)) => shared.sightings.alive(self.shard, &row, shared.leases.clock().now()),
            Err(error) => tracing::debug!(shard = self.name, %error, "a silent gateway could not be fenced"),
        }
    }

    async fn leave(self) {
        // First: who has left is not waited for.
        self.shared.leases.suspend(self.shard);
        if self.row.incarnation > 0
            && let Err(error) = in_time(LEAVING, self.shared.table.leave(self.shard, &self.row)).await
        {
            tracing::warn!(shard = self.name, %error, "could not leave; writers of other gateways will fence this one");
        }
    }
}

async fn in_time<T>(limit: Duration, order: impl Future<Output = Result<T, TableError>>) -> Result<T, TableError> {
    match tokio::time::timeout(limit, order).await {
        Ok(answer) => answer,
        Err(_) => Err(TableError("the shard did not answer in time".to_owned())),
    }
}
