//! Watches the cache's promise where it matters: in production. A few of the rows that change are read again from
//! their shard and compared with what each tier of the cache would serve, one second, ten seconds and a minute after
//! the change.
//!
//! Rows are noted where they are written through this gateway and where the change feed tells of them, and are told to
//! the other gateways, each of which compares what it keeps itself (`told`).
//!
//! A comparison is fair only while the row stands still. What is kept is looked at before the shard is asked; where
//! the two differ, it is looked at again and the shard asked again. If the shard's two answers differ, the row changed
//! meanwhile and nothing is concluded. A stale row is counted, logged and voided.

pub mod metrics;
mod notes;
pub(crate) mod told;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_cache::{EntryKey, Peeked};
use tidegate_types::{bucket::BucketId, collection::Collection, query::Projection, request::TenantId, route::ShardId};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bounded::{self, Standing},
    gateway::Shared,
    read,
};
use metrics::{Checked, Source, Tier};
pub(crate) use notes::{Notes, Sample};

/// When a changed row is looked at.
const AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];
/// Rows followed at once: twice as many as are noted in the time of the last look.
const FOLLOWED: usize = 512;
/// Tenants whose copies of a row are looked at.
const TENANTS: usize = 8;

/// Rows that wait to be looked at, by how long after their change. Each queue is in order of time.
#[derive(Debug, Default)]
struct Due([VecDeque<(Instant, Sample)>; AFTER.len()]);

impl Due {
    fn has_room(&self) -> bool {
        self.0.iter().all(|queue| queue.len() < FOLLOWED)
    }

    fn add(&mut self, row: &Sample) {
        let now = Instant::now();
        for (queue, after) in self.0.iter_mut().zip(AFTER) {
            queue.push_back((now + after, row.clone()));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.0.iter().filter_map(|queue| queue.front()).map(|(at, _)| *at).min()
    }

    fn take(&mut self) -> Option<(usize, Sample)> {
        let now = Instant::now();
        let (after, queue) =
            self.0.iter_mut().enumerate().find(|(_, q)| q.front().is_some_and(|(at, _)| *at <= now))?;
        queue.pop_front().map(|(_, row)| (after, row))
    }
}

/// Looks at rows until it is stopped.
pub(crate) async fn run(shared: Arc<Shared>, mut noted: mpsc::Receiver<(Source, Sample)>, stop: CancellationToken) {
    let mut due = Due::default();
    loop {
        let next = due.next();
        let wait = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            row = noted.recv() => match row {
                Some((source, row)) => follow(&shared, &mut due, source, &row),
                None => return,
            },
            () = wait => {
                while let Some((after, row)) = due.take() {
                    let seen = look(&shared, &row).await;
                    conclude(&shared, after, &row, &seen);
                }
            }
        }
    }
}

fn follow(shared: &Shared, due: &mut Due, source: Source, row: &Sample) {
    if !due.has_room() {
        return;
    }
    shared.metrics.monitor.followed(source);
    due.add(row);
    match source {
        Source::Write | Source::Feed => told::tell(shared, row),
        // Whoever told it has told everybody.
        Source::Gateway => {}
    }
}

/// A tier's answer; several where the row may be kept for several tenants.
type Answers = Vec<(Tier, Peeked)>;

/// Compares what the tiers would serve with what the shard has.
async fn look(shared: &Shared, row: &Sample) -> Vec<(Tier, Checked)> {
    // It may have been redefined or removed meanwhile: nothing kept under the old number is served.
    let Some(collection) = shared.live.look(|now| now.by_id(row.collection.id).cloned()) else { return Vec::new() };
    let tenants = tenants(shared, row.shard, row.tenant);
    let peek = || peek(shared, &collection, row, &tenants);
    let ask = || async {
        let loaded = shared.store.load_row(row.shard, &collection, &Projection::Whole, &row.key).await;
        loaded.map(|loaded| loaded.json).ok()
    };
    compare(peek, ask).await
}

/// Whose copies may be kept: the writer's, and a few of the others who may have rows there.
fn tenants(shared: &Shared, shard: ShardId, writer: Option<TenantId>) -> Vec<TenantId> {
    let session = shared.policies.session();
    let known = session.tenants();
    if known.iter().len() == 0 {
        return vec![TenantId::SHARED];
    }
    let writer = writer.filter(|id| known.get(*id).is_some());
    let placed = known.iter().filter(|tenant| tenant.placement.contains(&shard) && Some(tenant.id) != writer);
    let others = fastrand::choose_multiple(placed.map(|tenant| tenant.id), TENANTS - usize::from(writer.is_some()));
    writer.into_iter().chain(others).collect()
}

/// What each tier would serve now.
async fn peek(shared: &Shared, collection: &Arc<Collection>, row: &Sample, tenants: &[TenantId]) -> Answers {
    let is_shared = shared.cache.is_shared();
    let behind = bounded::standing(collection.consistency, || shared.feeds.age(row.shard)) == Standing::Behind;
    // As in a read: what the gateway's writes do not know yet is not asked of the shared tier.
    let unsettled = !shared.live.is_settled(collection.id);
    let plan = read::plan(shared, collection, None);
    let mut answers = Answers::new();
    for tenant in tenants {
        let key = EntryKey {
            tenant: *tenant,
            collection: collection.id,
            shard: row.shard,
            key: row.key.clone(),
            projection: Projection::Whole,
            variant: None,
        };
        answers.push((Tier::L1, if behind { Peeked::Refused } else { shared.cache.peek(&key) }));
        if is_shared {
            let refused = behind || unsettled;
            let answer = if refused { Peeked::Refused } else { shared.cache.peek_shared(&key, plan).await };
            answers.push((Tier::L2, answer));
        }
    }
    answers
}

/// Compares what tiers would serve with what the shard has; `ask` gives `None` where it does not answer. Asks the
/// shard as rarely as a fair answer allows: not at all where nothing is kept, once where it is what the shard has.
async fn compare<P, S>(peek: impl Fn() -> P, ask: impl Fn() -> S) -> Vec<(Tier, Checked)>
where
    P: Future<Output = Answers>,
    S: Future<Output = Option<Option<Bytes>>>,
{
    let first = peek().await;
    if !first.iter().any(|(_, answer)| matches!(answer, Peeked::Served(_))) {
        return judged(first, |_| Checked::Unsure);
    }
    let Some(before) = ask().await else { return judged(first, |_| Checked::Unsure) };
    if first.iter().all(|(_, answer)| !matches!(answer, Peeked::Served(row) if *row != before)) {
        return judged(first, |_| Checked::Consistent);
    }
    // Between the two answers of the shard: where they are the same, so was the row at this look.
    let second = peek().await;
    let Some(after) = ask().await else { return judged(second, |_| Checked::Unsure) };
    judged(second, |row| {
        if *row == before || *row == after {
            Checked::Consistent
        } else if before == after {
            Checked::Stale
        } else {
            Checked::Unsure
        }
    })
}

/// What comes of each tier's answers: of several, what counts most.
fn judged(answers: Answers, served: impl Fn(&Option<Bytes>) -> Checked) -> Vec<(Tier, Checked)> {
    let mut seen: Vec<(Tier, Checked)> = Vec::new();
    for (tier, answer) in answers {
        let checked = match answer {
            Peeked::Absent => Checked::Absent,
            Peeked::Refused => Checked::Refused,
            Peeked::Served(row) => served(&row),
        };
        match seen.iter_mut().find(|(of, _)| *of == tier) {
            Some((_, worst)) => *worst = checked.max(*worst),
            None => seen.push((tier, checked)),
        }
    }
    seen
}

fn conclude(shared: &Shared, after: usize, row: &Sample, seen: &[(Tier, Checked)]) {
    for (tier, checked) in seen {
        shared.metrics.monitor.checked(*tier, after, *checked);
        if *checked == Checked::Stale {
            tracing::error!(
                collection = %row.collection.name,
                key = %row.key,
                shard = shared.topology.name(row.shard),
                tier = tier.as_str(),
                seconds_after = AFTER[after].as_secs(),
                "the cache served an older row than the shard has; it is void now. If the row was changed past the \
                 gateway and no change feed is configured, this is bounded by the collection's ttl; otherwise report it"
            );
        }
    }
    if seen.iter().any(|(_, checked)| *checked == Checked::Stale) {
        shared.cache.void(row.shard, &[BucketId::row(row.collection.seed(), &row.key)]);
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
