//! Entries, floors and flights joined.

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tidegate_types::{
    answer::{CacheStatus, Collapse, NotStored, RowBody},
    bucket::BucketId,
    epoch::{Epoch, Epochs},
    policy::Narrowed,
    problem::Problem,
    route::ShardId,
    settings::CacheSettings,
    snapshot::{Snapshot, Xid},
};
use tokio::time::Instant;

use crate::{
    entry::{Entry, EntryKey, Fetched, Moment},
    flights::{Boarding, Flights},
    floors::{FloorTable, Refusal, Sight, Stamp, Voids},
    l1::L1,
    metrics::{FlightRole, Metrics, MissReason},
};

/// The cache. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    l1: L1,
    floors: Box<[FloorTable]>,
    flights: Flights<Landing>,
    epochs: Epochs,
    max_entry_bytes: usize,
    ttl_jitter: f64,
    start: Instant,
    metrics: Metrics,
}

/// How what is fetched may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillPlan<'a> {
    /// How long a row may be served.
    pub ttl: Duration,
    /// How long the knowledge that there is none may be.
    pub negative_ttl: Duration,
    /// What a cache policy narrows them to, and the tags it gives.
    pub bounds: Option<&'a Narrowed>,
}

impl FillPlan<'_> {
    fn ttl_of(&self, row: Option<&RowBody>) -> Duration {
        let configured = if row.is_some() { self.ttl } else { self.negative_ttl };
        self.bounds.and_then(|bounds| bounds.ttl).map_or(configured, |bound| bound.min(configured))
    }

    /// The buckets that tags add to an entry's own.
    fn tags(&self, key: &EntryKey) -> Box<[BucketId]> {
        match self.bounds {
            Some(bounds) if !bounds.tags.is_empty() => {
                bounds.tags.iter().copied().chain([BucketId::tagged(key.tenant)]).collect()
            }
            _ => Box::default(),
        }
    }
}

/// A served row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The row, or `None` where there is none.
    pub row: Option<RowBody>,
    /// How it was served.
    pub status: CacheStatus,
}

/// What a flight brings back, for its leader and for whoever waits.
type Landing = Result<Arc<Landed>, Problem>;

#[derive(Debug)]
struct Landed {
    row: Option<RowBody>,
    snapshot: Arc<Snapshot>,
    epoch: Epoch,
    /// The newest void before the query was sent.
    began: Voids,
    /// The tags' buckets, as its leader saw them.
    tags: Box<[BucketId]>,
    stored: Result<Duration, NotStored>,
}

impl Landed {
    fn sight(&self) -> Sight<'_> {
        Sight { began: self.began, epoch: self.epoch, snapshot: &self.snapshot }
    }

    fn serve(&self, collapse: Collapse) -> Served {
        let status = match self.stored {
            Ok(ttl) => CacheStatus::MissStored { collapse, ttl },
            Err(reason) => CacheStatus::MissNotStored { collapse, reason },
        };
        Served { row: self.row.clone(), status }
    }
}

impl Cache {
    /// An empty cache for this many shards.
    pub fn new(settings: &CacheSettings, shards: usize, epochs: Epochs, registry: &mut Registry) -> Self {
        let l1 = L1::new(settings.l1_bytes);
        let metrics = Metrics::register(registry, l1.clone());
        Self(Arc::new(Inner {
            l1,
            floors: (0..shards).map(|_| FloorTable::new(settings.buckets)).collect(),
            flights: Flights::new(),
            epochs,
            max_entry_bytes: settings.max_entry_bytes,
            ttl_jitter: settings.ttl_jitter.clamp(0.0, 0.9),
            start: Instant::now(),
            metrics,
        }))
    }

    /// The row, if an entry may be served now. Judged by the versions of the entry's floors and its
    /// epoch, in this call: a write acknowledged before the call is never missed.
    ///
    /// An entry may have been kept under wider bounds than this request's, by another version of the
    /// cache policy: it is served no longer than these allow, and only if purging their tags reaches it.
    #[must_use]
    pub fn get(&self, key: &EntryKey, bounds: Option<&Narrowed>) -> Option<Served> {
        match self.0.look_up(key, bounds) {
            Ok(served) => {
                self.0.metrics.hits.inc();
                Some(served)
            }
            Err(reason) => {
                self.0.metrics.miss(reason);
                None
            }
        }
    }

    /// Fetches a row that [`Cache::get`] did not have, sharing the fetch with other readers of it.
    ///
    /// The reader that leads always gets what it fetched. A reader that joins gets it if the flight
    /// was sent after the reader arrived, or if the snapshot passes the floors now; otherwise it
    /// moves to the next flight, which was sent after it arrived. So nobody waits for more than two
    /// flights, and nobody gets a row older than a write acknowledged before it asked.
    ///
    /// # Errors
    /// What `load` failed with, also for the readers that joined.
    pub async fn fetch<F>(&self, key: &EntryKey, plan: FillPlan<'_>, load: impl Fn() -> F) -> Result<Served, Problem>
    where
        F: Future<Output = Result<Fetched, Problem>>,
    {
        let inner = &*self.0;
        let arrival = inner.flights.arrive();
        loop {
            match inner.flights.board(key) {
                Boarding::Lead(permit) => {
                    // A flight may have landed between the caller's look-up and now.
                    if let Ok(served) = inner.look_up(key, plan.bounds) {
                        inner.metrics.flight(FlightRole::Joined);
                        return Ok(served);
                    }
                    inner.metrics.flight(FlightRole::Led);
                    // Before the query is sent: what is voided from here on refuses its result.
                    let began = inner.voids(key.shard);
                    let landing = load().await.map(|fetched| Arc::new(inner.store(key, plan, began, fetched)));
                    permit.land(landing.clone());
                    return landing.map(|landed| landed.serve(Collapse::Led));
                }
                Boarding::Join(seat) => {
                    let entitled = seat.sent_after(arrival);
                    let Some(landing) = seat.wait().await else { continue };
                    let landed = landing?;
                    if entitled || inner.passes_now(key, plan, &landed) {
                        inner.metrics.flight(FlightRole::Joined);
                        return Ok(landed.serve(Collapse::Joined));
                    }
                    inner.metrics.flight(FlightRole::Moved);
                }
            }
        }
    }

    /// Raises the floors of `buckets` by a write's transaction. To be called after the write's
    /// statements and before its COMMIT; nothing is to be undone if it aborts.
    pub fn raise(&self, shard: ShardId, epoch: Epoch, xid: Xid, buckets: &[BucketId]) {
        if let Some(table) = self.0.floors.get(usize::from(shard.0)) {
            for bucket in buckets {
                table.raise(*bucket, epoch, xid);
            }
            self.0.metrics.raises.inc_by(buckets.len() as u64);
        }
    }

    /// Voids entries of `buckets` on one shard, where no transaction of that shard says since when they are
    /// outdated: a purge for rows that changed on another shard, or rows that moved. To be called after the
    /// change is done and before anybody is told of it.
    ///
    /// When this returns, nothing that was asked of the shard before the call is served to a request that comes
    /// after it: entries are void, and a fetch under way is given to its own reader and to those that came
    /// before, but neither stored nor shared with later ones. Its query may have run before the change. Fetches
    /// sent from now on are stored at once: there is no transaction to wait for.
    pub fn void(&self, shard: ShardId, buckets: &[BucketId]) {
        if let Some(table) = self.0.floors.get(usize::from(shard.0)) {
            table.void(buckets);
            self.0.metrics.voids.inc_by(buckets.len() as u64);
        }
    }

    /// [`Cache::void`] on every shard but one, or on all.
    pub fn void_beside(&self, spared: Option<ShardId>, buckets: &[BucketId]) {
        for shard in (0..self.0.floors.len()).filter_map(|i| u16::try_from(i).ok()).map(ShardId) {
            if Some(shard) != spared {
                self.void(shard, buckets);
            }
        }
    }

    /// Fetches under way.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.0.flights.len()
    }
}

impl Inner {
    fn look_up(&self, key: &EntryKey, bounds: Option<&Narrowed>) -> Result<Served, MissReason> {
        self.l1.with(key, |entry| self.judge(key, bounds, entry)).unwrap_or(Err(MissReason::Absent))
    }

    fn judge(&self, key: &EntryKey, bounds: Option<&Narrowed>, entry: &Entry) -> Result<Served, MissReason> {
        let table = self.floors.get(usize::from(key.shard.0)).ok_or(MissReason::Absent)?;
        if entry.epoch != self.epochs.current(key.shard) || !table.holds(&entry.stamp) {
            return Err(MissReason::Outdated);
        }
        let now = Moment::now(self.start);
        let age = now.since(entry.fetched);
        let mut ttl = entry.expires.since(now);
        if let Some(bounds) = bounds {
            if !table.covers(&entry.stamp, &bounds.tags) {
                return Err(MissReason::Unbounded);
            }
            ttl = bounds.ttl.map_or(ttl, |bound| ttl.min(bound.saturating_sub(age)));
        }
        if ttl.is_zero() {
            return Err(MissReason::Expired);
        }
        Ok(Served { row: entry.row.clone(), status: CacheStatus::Hit { age, ttl } })
    }

    fn voids(&self, shard: ShardId) -> Voids {
        self.floors.get(usize::from(shard.0)).map(FloorTable::voids).unwrap_or_default()
    }

    fn store(&self, key: &EntryKey, plan: FillPlan<'_>, began: Voids, fetched: Fetched) -> Landed {
        let Fetched { json, snapshot, epoch } = fetched;
        let row = json.map(RowBody::new);
        let mut landed = Landed { row, snapshot, epoch, began, tags: plan.tags(key), stored: Ok(Duration::ZERO) };
        landed.stored = self.try_store(key, plan, &landed);
        match landed.stored {
            Ok(_) => {
                self.metrics.stored.inc();
            }
            Err(reason) => self.metrics.not_stored(reason),
        }
        landed
    }

    fn try_store(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) -> Result<Duration, NotStored> {
        let row = landed.row.as_ref();
        if row.is_some_and(|row| row.json.len() > self.max_entry_bytes) {
            return Err(NotStored::TooLarge);
        }
        let stamp = self.pass(key, &landed.tags, landed.sight()).map_err(|refusal| match refusal {
            Refusal::Floor => NotStored::Floor,
            Refusal::Epoch => NotStored::Epoch,
            Refusal::Void => NotStored::Purged,
        })?;
        let ttl = self.jitter(plan.ttl_of(row));
        let fetched = Moment::now(self.start);
        let entry = Entry { row: row.cloned(), epoch: landed.epoch, stamp, fetched, expires: fetched.after(ttl) };
        self.l1.insert(key.clone(), entry);
        Ok(ttl)
    }

    /// Whether a reader that came after the flight had left may have its result: it must be as fresh as an
    /// entry of this moment, under the tags of both.
    fn passes_now(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) -> bool {
        let tags = plan.tags(key);
        let of_both = if tags == landed.tags { tags } else { landed.tags.iter().chain(&tags).copied().collect() };
        self.pass(key, &of_both, landed.sight()).is_ok()
    }

    fn pass(&self, key: &EntryKey, tags: &[BucketId], sight: Sight<'_>) -> Result<Stamp, Refusal> {
        if sight.epoch != self.epochs.current(key.shard) {
            return Err(Refusal::Epoch);
        }
        let table = self.floors.get(usize::from(key.shard.0)).ok_or(Refusal::Epoch)?;
        table.pass(&key.buckets(), tags, sight)
    }

    fn jitter(&self, ttl: Duration) -> Duration {
        ttl.mul_f64(1.0 - self.ttl_jitter * fastrand::f64())
    }
}
