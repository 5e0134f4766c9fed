//! Entries, floors and flights joined.

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tidegate_types::{
    answer::{CacheStatus, Collapse, NotStored, RowBody},
    bucket::BucketId,
    epoch::{Epoch, Epochs},
    problem::Problem,
    route::ShardId,
    settings::CacheSettings,
    snapshot::{Snapshot, Xid},
};
use tokio::time::Instant;

use crate::{
    entry::{Entry, EntryKey, Fetched, Moment},
    flights::{Boarding, Flights},
    floors::{FloorTable, Refusal, Stamp},
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

/// How long what is fetched may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillPlan {
    /// A row.
    pub ttl: Duration,
    /// The knowledge that there is none.
    pub negative_ttl: Duration,
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
    stored: Result<Duration, NotStored>,
}

impl Landed {
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
    #[must_use]
    pub fn get(&self, key: &EntryKey) -> Option<Served> {
        match self.0.look_up(key) {
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
    pub async fn fetch<F>(&self, key: &EntryKey, plan: FillPlan, load: impl Fn() -> F) -> Result<Served, Problem>
    where
        F: Future<Output = Result<Fetched, Problem>>,
    {
        let inner = &*self.0;
        let arrival = inner.flights.arrive();
        loop {
            match inner.flights.board(key) {
                Boarding::Lead(permit) => {
                    // A flight may have landed between the caller's look-up and now.
                    if let Ok(served) = inner.look_up(key) {
                        inner.metrics.flight(FlightRole::Joined);
                        return Ok(served);
                    }
                    inner.metrics.flight(FlightRole::Led);
                    let landing = load().await.map(|fetched| Arc::new(inner.store(key, plan, fetched)));
                    permit.land(landing.clone());
                    return landing.map(|landed| landed.serve(Collapse::Led));
                }
                Boarding::Join(seat) => {
                    let entitled = seat.sent_after(arrival);
                    let Some(landing) = seat.wait().await else { continue };
                    let landed = landing?;
                    if entitled || inner.passes_now(key, &landed) {
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

    /// Fetches under way.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.0.flights.len()
    }
}

impl Inner {
    fn look_up(&self, key: &EntryKey) -> Result<Served, MissReason> {
        self.l1.with(key, |entry| self.judge(key, entry)).unwrap_or(Err(MissReason::Absent))
    }

    fn judge(&self, key: &EntryKey, entry: &Entry) -> Result<Served, MissReason> {
        let table = self.floors.get(usize::from(key.shard.0)).ok_or(MissReason::Absent)?;
        if entry.epoch != self.epochs.current(key.shard) || !table.holds(&entry.stamp) {
            return Err(MissReason::Outdated);
        }
        let now = Moment::now(self.start);
        let ttl = entry.expires.since(now);
        if ttl.is_zero() {
            return Err(MissReason::Expired);
        }
        Ok(Served { row: entry.row.clone(), status: CacheStatus::Hit { age: now.since(entry.fetched), ttl } })
    }

    fn store(&self, key: &EntryKey, plan: FillPlan, fetched: Fetched) -> Landed {
        let Fetched { json, snapshot, epoch } = fetched;
        let row = json.map(RowBody::new);
        let stored = self.try_store(key, plan, row.as_ref(), &snapshot, epoch);
        if let Err(reason) = stored {
            self.metrics.not_stored(reason);
        } else {
            self.metrics.stored.inc();
        }
        Landed { row, snapshot, epoch, stored }
    }

    fn try_store(
        &self,
        key: &EntryKey,
        plan: FillPlan,
        row: Option<&RowBody>,
        snapshot: &Snapshot,
        epoch: Epoch,
    ) -> Result<Duration, NotStored> {
        if row.is_some_and(|row| row.json.len() > self.max_entry_bytes) {
            return Err(NotStored::TooLarge);
        }
        let stamp = self.pass(key, snapshot, epoch).map_err(|refusal| match refusal {
            Refusal::Floor => NotStored::Floor,
            Refusal::Epoch => NotStored::Epoch,
        })?;
        let ttl = self.jitter(if row.is_some() { plan.ttl } else { plan.negative_ttl });
        let fetched = Moment::now(self.start);
        let entry = Entry { row: row.cloned(), epoch, stamp, fetched, expires: fetched.after(ttl) };
        self.l1.insert(key.clone(), entry);
        Ok(ttl)
    }

    fn passes_now(&self, key: &EntryKey, landed: &Landed) -> bool {
        self.pass(key, &landed.snapshot, landed.epoch).is_ok()
    }

    fn pass(&self, key: &EntryKey, snapshot: &Snapshot, epoch: Epoch) -> Result<Stamp<2>, Refusal> {
        if epoch != self.epochs.current(key.shard) {
            return Err(Refusal::Epoch);
        }
        let table = self.floors.get(usize::from(key.shard.0)).ok_or(Refusal::Epoch)?;
        table.pass(&key.buckets(), epoch, snapshot)
    }

    fn jitter(&self, ttl: Duration) -> Duration {
        ttl.mul_f64(1.0 - self.ttl_jitter * fastrand::f64())
    }
}
