//! One flusher for each shard: takes what is durable, in order, and brings it there.
//!
//! The order is that of every write: statements, floors here and in other gateways, COMMIT. Then the lane lets go of
//! the images, whose rows are read from the shard from then on.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_store::{
    StoreError,
    flush::{DeadReason, FlushBatch, FlushError, Pending},
};
use tidegate_types::{
    mutation::{Mutation, Sequence},
    tenant::TenantId,
};
use tokio::{
    sync::mpsc,
    time::{Instant as Moment, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Behind,
    batch::{Batch, Joining, Limits},
    claim, commit,
    dirty::RowName,
    lane::{Lane, LaneState},
    report::{self, Order},
};
use crate::{
    gateway::Shared,
    monitor::{Sample, metrics::Source},
    serving::Edition,
};

/// Between two tries at least, however much others hurry.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the journal is told what nobody needs, where nothing is flushed.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Memory of one batch.
const BATCH_BYTES: u64 = 8 << 20;
/// Mutations of one batch.
const FEWEST: usize = 16;
const FIRST: usize = 256;
const MOST: usize = 4096;
/// A full batch that takes less makes the next one larger, one that takes more a smaller one.
const QUICK: Duration = Duration::from_millis(50);
const SLOW: Duration = Duration::from_millis(500);

/// What came of a try.
enum Tried {
    /// The shard has the batch.
    Applied,
    /// One of several writes of a row failed: the batch is taken again with each of them alone.
    Doubtful,
    /// Not now.
    Later { after: Duration, why: String },
    /// Somebody else owns the journal.
    Lost(String),
}

/// A flusher's state between batches.
struct Flusher {
    shared: Arc<Shared>,
    behind: Behind,
    lane: Arc<Lane>,
    limit: usize,
    /// Up to here each write of a row is taken alone.
    apart_until: Sequence,
    failures: u32,
}

/// Claims the journal on the shard, then flushes until it is stopped.
pub(super) async fn run(
    shared: Arc<Shared>,
    behind: Behind,
    lane: Arc<Lane>,
    mut orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
) {
    if lane.state() == LaneState::Claiming {
        tokio::select! {
            () = stop.cancelled() => return,
            () = claim::claim(&shared, &behind, &lane) => behind.release(),
        }
    }
    let mut flusher = Flusher { shared, behind, lane, limit: FIRST, apart_until: Sequence(0), failures: 0 };
    while flusher.lane.state() != LaneState::Lost {
        let ready = async {
            let first = flusher.lane.filled().await;
            flusher.behind.0.journal.wait_durable(first).await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // What repeated requests are answered from is forgotten in time, also where nothing is flushed.
            () = sleep(FORGET_EVERY) => flusher.behind.release(),
            Some(order) = orders.recv() => report::carry_out(&flusher.shared, &flusher.behind, &flusher.lane, order).await,
            durable = ready => match durable {
                Ok(()) => {
                    if let Some(pause) = flusher.turn().await {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = paused(&flusher.lane, pause) => {}
                        }
                    }
                }
                // The journal was closed: the process ends.
                Err(_) => return,
            },
        }
    }
}

/// A pause that somebody who waits for the shard can cut short.
async fn paused(lane: &Lane, pause: Duration) {
    let end = Moment::now() + pause;
    sleep(SHORTEST_PAUSE.min(pause)).await;
    tokio::select! {
        () = sleep_until(end) => {}
        () = lane.hurried() => {}
    }
}

pub(super) fn backoff(after: Duration, failures: u32) -> Duration {
    let longest = LONGEST_PAUSE.max(after);
    let doubled = after.saturating_mul(1 << failures.min(10)).min(longest);
    // Shards that failed together are not asked together.
    doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl Flusher {
    /// One batch. How long to pause before the next, if not at all.
    async fn turn(&mut self) -> Option<Duration> {
        let batch = self.take();
        let last = batch.last()?;
        let begun = Instant::now();
        let (rows, full) = (batch.taken.len(), batch.taken.len() >= self.limit);
        let tried = attempt(&self.shared, &self.behind, &self.lane, &batch).await;
        let took = begun.elapsed();
        match tried {
            Tried::Applied => {
                self.behind.0.metrics.flushed(rows, took);
                self.behind.release();
                self.failures = 0;
                self.lane.set_state(LaneState::Flowing);
                self.limit = match took {
                    took if full && took < QUICK => (self.limit * 2).min(MOST),
                    took if took > SLOW => (self.limit / 2).max(FEWEST),
                    _ => self.limit,
                };
                None
            }
            Tried::Doubtful => {
                self.apart_until = last;
                None
            }
            Tried::Later { after, why } => {
                self.behind.0.metrics.retries.inc();
                if self.failures == 0 {
                    tracing::warn!(shard = %self.lane.name, why, "acknowledged writes cannot be brought to the shard now; \
                        they are tried again");
                }
                let pause = backoff(after, self.failures);
                self.failures = self.failures.saturating_add(1);
                self.lane.failed(LaneState::Failing, &why);
                Some(pause)
            }
            Tried::Lost(why) => {
                claim::lost(&self.lane, &why);
                None
            }
        }
    }

    fn take(&self) -> Batch {
        let durable = self.behind.0.journal.durable();
        let joining = if self.lane.first() <= Some(self.apart_until) { Joining::Apart } else { Joining::Together };
        let limits = Limits { mutations: self.limit, bytes: BATCH_BYTES };
        let edition = self.shared.live.hold();
        self.lane.next_batch(durable, limits, joining, |name| {
            let collection = edition.collections.get(name);
            let columns = collection.iter().flat_map(|collection| {
                let written = collection.columns.iter().filter(|column| !column.generated);
                written.filter(|column| collection.key_position(&column.name).is_none())
            });
            columns.map(|column| Box::from(column.name.as_str())).collect()
        })
    }
}

/// Brings a batch to the shard.
async fn attempt(shared: &Arc<Shared>, behind: &Behind, lane: &Arc<Lane>, batch: &Batch) -> Tried {
    let (Some(new), edition) = (batch.last(), shared.live.hold()) else { return Tried::Applied };
    let order = match order(behind, lane, batch, new, &edition) {
        Ok(order) => order,
        Err(why) => return Tried::Later { after: LONGEST_PAUSE, why },
    };
    let prepared = match shared.store.begin_flush(lane.shard, &order).await {
        Ok(prepared) => prepared,
        Err(error) => return begun_badly(shared, behind, lane, batch, error).await,
    };
    if batch.joined && !prepared.dead.is_empty() {
        prepared.rollback().await;
        return Tried::Doubtful;
    }
    let tenants: BTreeSet<TenantId> = batch.merged.iter().map(|(_, mutation)| mutation.tenant).collect();
    let dead = prepared.dead.clone();
    if let Err(later) = commit::commit(shared, lane, prepared, &edition, &tenants).await {
        match later {
            // Its outcome is unknown: whether it happened is what the shard's note says.
            StoreError::OutcomeUnknown { .. } => match resolve(shared, behind, lane).await {
                applied if applied == new => {}
                applied if applied == order.old => {
                    return Tried::Later { after: SHORTEST_PAUSE, why: later.to_string() };
                }
                applied => return Tried::Lost(format!("the shard has the journal up to {}", applied.0)),
            },
            error => {
                let after = match FlushError::from(error.clone()) {
                    FlushError::Retry { after, .. } => after,
                    FlushError::Fenced { .. } | FlushError::StillDead { .. } | FlushError::NoLetter { .. } => {
                        LONGEST_PAUSE
                    }
                };
                return Tried::Later { after, why: error.to_string() };
            }
        }
    }
    applied(behind, lane, batch, &dead, new);
    shared.notes.note(Source::Write, || {
        let (_, mutation) = fastrand::choice(&batch.merged)?;
        let collection = edition.collections.get(&mutation.collection)?;
        Sample::of(collection, lane.shard, Some(mutation.tenant), mutation.key.clone())
    });
    Tried::Applied
}

fn order(behind: &Behind, lane: &Lane, batch: &Batch, new: Sequence, edition: &Edition) -> Result<FlushBatch, String> {
    let pending = |all: &[(Sequence, Mutation)]| {
        let one = |(sequence, mutation): &(Sequence, Mutation)| {
            let collection = edition.collections.get(&mutation.collection).cloned();
            let missing = || format!("the collection {} is not served any more", mutation.collection);
            Ok(Pending { sequence: *sequence, collection: collection.ok_or_else(missing)?, mutation: mutation.clone() })
        };
        all.iter().map(one).collect::<Result<Vec<_>, String>>()
    };
    Ok(FlushBatch {
        journal: behind.0.number,
        epoch: behind.0.journal.epoch(),
        old: *lane.applied.borrow(),
        new,
        mutations: pending(&batch.merged)?,
        parked: pending(&batch.parked)?,
    })
}

/// The statements failed, or the shard's note is not the one the batch goes on from.
async fn begun_badly(shared: &Shared, behind: &Behind, lane: &Arc<Lane>, batch: &Batch, error: FlushError) -> Tried {
    match &error {
        FlushError::Retry { after, error } => Tried::Later { after: *after, why: error.to_string() },
        // A try before this one was committed, and its outcome was not learned.
        FlushError::Fenced { found: Some(found), .. }
            if Some(found.sequence) == batch.last() && found.epoch == behind.0.journal.epoch() =>
        {
            match claim::learn_parked(shared, behind, lane).await {
                Ok(()) => {
                    lane.applied_up_to(found.sequence);
                    Tried::Applied
                }
                Err(error) => Tried::Later { after: SHORTEST_PAUSE, why: error.to_string() },
            }
        }
        FlushError::Fenced { .. } | FlushError::StillDead { .. } | FlushError::NoLetter { .. } => {
            Tried::Lost(error.to_string())
        }
    }
}

/// The shard has the batch: what failed is parked before its images are let go of, so that no write of it comes
/// between.
fn applied(behind: &Behind, lane: &Lane, batch: &Batch, dead: &[(Sequence, DeadReason)], new: Sequence) {
    for (sequence, reason) in dead {
        let Some((_, mutation)) = batch.merged.iter().find(|(of, _)| of == sequence) else { continue };
        let Mutation { collection, key, .. } = mutation;
        tracing::error!(shard = %lane.name, sequence = sequence.0, %collection, %key, code = reason.sqlstate,
            why = reason.message, "an acknowledged write was refused by the database and is a dead letter now");
        lane.park([RowName { collection: collection.clone(), key: key.clone() }]);
    }
    behind.0.metrics.dead.inc_by((dead.len() + batch.parked.len()) as u64);
    lane.applied_up_to(new);
}

/// Up to where the shard has the journal, asked until it answers. It waits for a transaction that is under way.
async fn resolve(shared: &Shared, behind: &Behind, lane: &Lane) -> Sequence {
    let mut failures = 0;
    loop {
        match shared.store.applied(lane.shard, behind.0.number).await {
            Ok(applied) => return applied,
            Err(error) => {
                lane.failed(LaneState::Failing, &error.to_string());
                sleep(backoff(SHORTEST_PAUSE, failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}
