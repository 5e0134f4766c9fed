//! Entries, floors and flights joined.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::registry::Registry;
use tidegate_types::{
    answer::{CacheStatus, Collapse, NotStored, RowBody},
    bucket::{BucketId, RelationSeed},
    epoch::{self, Epoch, Epochs},
    policy::Narrowed,
    problem::Problem,
    request::TenantId,
    route::ShardId,
    settings::CacheSettings,
    snapshot::Xid,
};
use tokio::time::Instant;

use crate::{
    entry::{Entry, EntryKey, Fetched, Moment},
    flights::{Boarding, Flights},
    floors::{FloorTable, Heard, Raised, Refusal, Sight, Stamp, Standing, Voids},
    l1::L1,
    l2::L2,
    landed::{Came, Landed, Landing, Patience},
    late::Grace,
    lists::Lists,
    metrics::{FlightRole, Metrics, MissReason},
};

/// The cache. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) l1: L1,
    floors: Box<[FloorTable]>,
    pub(crate) flights: Flights<EntryKey, Landing>,
    pub(crate) lists: Lists,
    pub(crate) epochs: Epochs,
    pub(crate) max_entry_bytes: usize,
    ttl_jitter: f64,
    pub(crate) start: Instant,
    /// The time of the newest purge of a tenant.
    pub(crate) purged: AtomicU64,
    validity: OnceLock<Arc<dyn Validity>>,
    pub(crate) l2: OnceLock<L2>,
    pub(crate) metrics: Metrics,
    #[cfg(feature = "bug-bank")]
    bug: crate::bugs::Chosen,
}

/// Whether this process is told of the writes of other gateways. Asked in every request that would be served
/// from the cache; where there are no other gateways there is nobody to ask.
pub trait Validity: Send + Sync + std::fmt::Debug {
    /// Whether the lease on this shard's floors holds now. A gateway that lost its lease voids what it kept
    /// ([`Cache::rebase`]) before it holds it again.
    fn holds(&self, shard: ShardId) -> Holding;
}

/// An answer of [`Validity::holds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Every writer waits for this process before it commits.
    Held,
    /// Writers may have gone on without it.
    Lapsed,
}

/// How what is fetched may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillPlan<'a> {
    /// What the row's own buckets begin with.
    pub seed: RelationSeed,
    /// The digest of the collection's definition, where its entries are shared with other gateways.
    pub shared: Option<u64>,
    /// How long a row may be served.
    pub ttl: Duration,
    /// How long the knowledge that there is none may be.
    pub negative_ttl: Duration,
    /// What a cache policy narrows them to, and the tags it gives.
    pub bounds: Option<&'a Narrowed>,
}

impl FillPlan<'_> {
    pub(crate) fn ttl_of(&self, row: Option<&RowBody>) -> Duration {
        let configured = if row.is_some() { self.ttl } else { self.negative_ttl };
        self.bounds.and_then(|bounds| bounds.ttl).map_or(configured, |bound| bound.min(configured))
    }
}

/// The buckets that tags add to an entry's own.
pub(crate) fn tags(tenant: TenantId, bounds: Option<&Narrowed>) -> Box<[BucketId]> {
    match bounds {
        Some(bounds) if !bounds.tags.is_empty() => {
            bounds.tags.iter().copied().chain([BucketId::tagged(tenant)]).collect()
        }
        _ => Box::default(),
    }
}

/// What a refused fill is called.
pub(crate) const fn not_stored(refusal: Refusal) -> NotStored {
    match refusal {
        Refusal::Floor | Refusal::Base => NotStored::Floor,
        Refusal::Epoch => NotStored::Epoch,
        Refusal::Void => NotStored::Purged,
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

impl Cache {
    /// An empty cache for this many shards.
    pub fn new(settings: &CacheSettings, shards: usize, epochs: Epochs, registry: &mut Registry) -> Self {
        let l1 = L1::new(settings.l1_bytes.saturating_sub(settings.list_bytes));
        let metrics = Metrics::register(registry, l1.clone());
        #[cfg(feature = "bug-bank")]
        let bug = crate::bugs::Chosen::default();
        let table = || {
            let table = FloorTable::new(settings.buckets);
            #[cfg(feature = "bug-bank")]
            let table = table.having(&bug);
            table
        };
        Self(Arc::new(Inner {
            l1,
            floors: (0..shards).map(|_| table()).collect(),
            flights: Flights::new(),
            lists: Lists::new(settings.list_bytes, registry),
            epochs,
            max_entry_bytes: settings.max_entry_bytes,
            ttl_jitter: settings.ttl_jitter.clamp(0.0, 0.9),
            start: Instant::now(),
            purged: AtomicU64::new(0),
            validity: OnceLock::new(),
            l2: OnceLock::new(),
            metrics,
            #[cfg(feature = "bug-bank")]
            bug,
        }))
    }

    /// Gives this cache an error.
    #[cfg(feature = "bug-bank")]
    pub fn choose(&self, bug: crate::bugs::Bug) {
        self.0.bug.choose(bug);
    }

    /// Serves from here on only while `validity` says so. To be called before the first request; the first guard
    /// stays.
    pub fn guard(&self, validity: Arc<dyn Validity>) {
        self.0.validity.get_or_init(|| validity);
    }

    /// Looks into the shared tier before a shard is asked, and keeps there what was read. To be called before the
    /// first request; the first tier stays.
    pub fn share(&self, l2: L2) {
        self.0.l2.get_or_init(|| l2);
    }

    /// Whether there is a shared tier.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.l2.get().is_some()
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

    /// Fetches a row that [`Cache::get`] did not have, sharing the fetch with other readers of it: from the shared
    /// tier, if there is one and what it has passes, else by `load`.
    ///
    /// The reader that leads always gets what it fetched. A reader that joins gets it if the flight
    /// was sent after the reader arrived, or if the snapshot passes the floors now; otherwise it
    /// moves to the next flight, which was sent after it arrived. So nobody waits for more than two
    /// flights, and nobody gets a row older than a write acknowledged before it asked.
    ///
    /// What a flight brings from the shared tier passed the floors when it arrived. It may be older than the flight,
    /// so a reader that joins gets it only if it passes now too, and goes on to a shard's answer otherwise.
    ///
    /// # Errors
    /// What `load` failed with, also for the readers that joined.
    pub async fn fetch<F>(&self, key: &EntryKey, plan: FillPlan<'_>, load: impl Fn() -> F) -> Result<Served, Problem>
    where
        F: Future<Output = Result<Fetched, Problem>>,
    {
        let inner = &*self.0;
        let arrival = inner.flights.arrive();
        let mut patience = Patience::Fresh;
        loop {
            match inner.flights.board(key) {
                Boarding::Lead(permit) => {
                    // A flight may have landed between the caller's look-up and now.
                    if let Ok(served) = inner.look_up(key, plan.bounds) {
                        inner.metrics.flight(FlightRole::Joined);
                        return Ok(served);
                    }
                    inner.metrics.flight(FlightRole::Led);
                    let found = match patience {
                        Patience::Fresh => inner.arrive(key, plan).await,
                        Patience::Moved => None,
                    };
                    let landing = match found {
                        Some(landed) => Ok(Arc::new(landed)),
                        None => inner.ask(key, plan, &load).await,
                    };
                    permit.land(landing.clone());
                    return landing.map(|landed| landed.serve(Collapse::Led));
                }
                Boarding::Join(seat) => {
                    let sent_after = seat.sent_after(arrival);
                    let Some(landing) = seat.wait().await else { continue };
                    let landed = landing?;
                    // A reader that has moved once is served by any flight that began after it came: what is from
                    // the shared tier passed at a moment after that. So it waits for two flights at most.
                    let entitled = sent_after && (landed.is_from_shard() || patience == Patience::Moved);
                    #[cfg(feature = "bug-bank")]
                    let entitled = entitled || inner.joins_wrongly(key, plan, &landed);
                    if entitled || inner.passes_now(key, plan, &landed) {
                        inner.metrics.flight(FlightRole::Joined);
                        return Ok(landed.serve(Collapse::Joined));
                    }
                    inner.metrics.flight(FlightRole::Moved);
                    patience = Patience::Moved;
                }
            }
        }
    }

    /// The newest void of a shard: to be noted before a query is sent whose result goes to [`Cache::keep`].
    #[must_use]
    pub fn voids(&self, shard: ShardId) -> Voids {
        self.0.voids(shard)
    }

    /// Keeps a row that was read besides: as the result of a fetch, by the same rule, but nobody waits for it.
    /// `began` is [`Cache::voids`] from before its query was sent.
    ///
    /// # Errors
    /// Why it was not stored.
    pub fn keep(
        &self,
        key: &EntryKey,
        plan: FillPlan<'_>,
        began: Voids,
        fetched: Fetched,
    ) -> Result<Duration, NotStored> {
        match self.0.store(key, plan, began, fetched).came {
            Came::FromShard(stored) => stored,
            Came::FromTier { ttl, .. } => Ok(ttl),
        }
    }

    /// Raises the floors of `buckets` by a write's transaction. To be called after the write's
    /// statements and before its COMMIT, with the epoch of its connection; nothing is to be undone if it aborts.
    ///
    /// A connection may outlive its epoch: the server lives on and shows itself otherwise (another role's eyes), or
    /// another was promoted in its place. Then the floors that were raised are void, or were never looked at.
    pub fn raise(&self, shard: ShardId, epoch: Epoch, xid: Xid, buckets: &[BucketId]) -> Raised {
        // Of a shard that does not exist nothing is kept.
        let Some(table) = self.0.floors.get(usize::from(shard.0)) else { return Raised::Held };
        for bucket in buckets {
            table.raise(*bucket, epoch, xid);
        }
        self.0.metrics.raises.inc_by(buckets.len() as u64);
        // After the floors: an epoch that begins from here on voids them, and has a base that this transaction is
        // below.
        match self.0.epochs.standing(shard, epoch) {
            epoch::Standing::Current => Raised::Held,
            epoch::Standing::Over => Raised::EpochOver,
        }
    }

    /// [`Cache::raise`] for a transaction that committed, told by the change feed. What is known to see it stays,
    /// so a gateway's own write does not void what it read after it. It may be told before it is visible.
    pub fn hear(&self, shard: ShardId, epoch: Epoch, xid: Xid, buckets: &[BucketId]) {
        if let Some(table) = self.0.floors.get(usize::from(shard.0)) {
            let raised = buckets.iter().filter(|bucket| table.hear(**bucket, epoch, xid) == Heard::Raised).count();
            self.0.metrics.raises.inc_by(raised as u64);
        }
    }

    /// Voids everything kept of a shard, and keeps from here on only what sees every transaction up to `base`: an
    /// xid of one's own, taken after the other gateways knew of this one. For a gateway that may have missed
    /// floors. Those that were raised stay: their writes may still be under way.
    ///
    /// # Errors
    /// The epoch that has begun meanwhile, of which `base` says nothing.
    pub fn rebase(&self, shard: ShardId, epoch: Epoch, base: Xid) -> Result<(), Epoch> {
        // The base first: what is stamped after the table was voided is judged by it.
        self.0.epochs.raise_base(shard, epoch, base)?;
        if let Some(table) = self.0.floors.get(usize::from(shard.0)) {
            table.void_all();
        }
        Ok(())
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

    /// [`Cache::void`] of everything kept of a shard.
    pub fn void_every_bucket(&self, shard: ShardId) {
        if let Some(table) = self.0.floors.get(usize::from(shard.0)) {
            table.void_every_bucket();
        }
    }

    /// [`Cache::void`] on every shard but one, or on all.
    pub fn void_beside(&self, spared: Option<ShardId>, buckets: &[BucketId]) {
        for shard in self.0.shards().filter(|shard| Some(*shard) != spared) {
            self.void(shard, buckets);
        }
    }

    /// Fetches under way.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.0.flights.len()
    }
}

impl Inner {
    pub(crate) fn look_up(&self, key: &EntryKey, bounds: Option<&Narrowed>) -> Result<Served, MissReason> {
        self.l1.with(key, |entry| self.judge(key, bounds, entry, Grace::None)).unwrap_or(Err(MissReason::Absent))
    }

    /// Whether an entry may be served, up to `grace` after its time.
    pub(crate) fn judge(
        &self,
        key: &EntryKey,
        bounds: Option<&Narrowed>,
        entry: &Entry,
        grace: Grace,
    ) -> Result<Served, MissReason> {
        let table = self.table(key.shard).ok_or(MissReason::Absent)?;
        // The lease first, then the epoch: a gateway that lost its lease and joined again in between has
        // another epoch.
        if self.holding(key.shard) == Holding::Lapsed {
            return Err(MissReason::Lapsed);
        }
        #[cfg(feature = "bug-bank")]
        if let Some(served) = self.serve_wrongly(key, entry) {
            return Ok(served);
        }
        let standing = table.standing(&entry.stamp).with(table.tenants.since(key.tenant, entry.fetched));
        if entry.epoch != self.epochs.current(key.shard) || standing == Standing::Over {
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
        let late = || {
            let over = bounds.and_then(|bounds| bounds.ttl).map_or(Duration::ZERO, |bound| age.saturating_sub(bound));
            now.since(entry.expires).max(over)
        };
        let status = match standing {
            Standing::LateSince(since) => {
                grace.status(age, late().max(now.since(since))).ok_or(MissReason::Outdated)?
            }
            _ if ttl.is_zero() => grace.status(age, late()).ok_or(MissReason::Expired)?,
            _ => CacheStatus::Hit { age, ttl },
        };
        Ok(Served { row: entry.row.clone(), status })
    }

    pub(crate) fn holding(&self, shard: ShardId) -> Holding {
        self.validity.get().map_or(Holding::Held, |validity| validity.holds(shard))
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.floors.len()).filter_map(|i| u16::try_from(i).ok()).map(ShardId)
    }

    pub(crate) fn table(&self, shard: ShardId) -> Option<&FloorTable> {
        self.floors.get(usize::from(shard.0))
    }

    pub(crate) fn voids(&self, shard: ShardId) -> Voids {
        self.table(shard).map(FloorTable::voids).unwrap_or_default()
    }

    /// Asks the shard.
    pub(crate) async fn ask<F>(&self, key: &EntryKey, plan: FillPlan<'_>, load: &impl Fn() -> F) -> Landing
    where
        F: Future<Output = Result<Fetched, Problem>>,
    {
        // Before the query is sent: what is voided from here on refuses its result.
        let began = self.voids(key.shard);
        #[cfg(feature = "bug-bank")]
        let dispatched = self.unchecked(key, plan);
        let loaded = load().await;
        #[cfg(feature = "bug-bank")]
        let began = self.noted(key, began);
        let landing = loaded.map(|fetched| Arc::new(self.store(key, plan, began, fetched)));
        #[cfg(feature = "bug-bank")]
        let landing = self.store_wrongly(key, plan, landing, dispatched).await;
        landing
    }

    fn store(&self, key: &EntryKey, plan: FillPlan<'_>, began: Voids, fetched: Fetched) -> Landed {
        let Fetched { json, snapshot, epoch } = fetched;
        let row = json.map(RowBody::new);
        let mut landed = Landed {
            row,
            snapshot,
            epoch,
            began,
            tags: tags(key.tenant, plan.bounds),
            came: Came::FromShard(Ok(Duration::ZERO)),
            #[cfg(feature = "bug-bank")]
            dispatched: None,
        };
        let stored = self.try_store(key, plan, &landed);
        match stored {
            Ok(ttl) => {
                self.metrics.stored.inc();
                self.share(key, plan, &landed, ttl);
            }
            Err(reason) => self.metrics.not_stored(reason),
        }
        landed.came = Came::FromShard(stored);
        landed
    }

    fn try_store(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) -> Result<Duration, NotStored> {
        let row = landed.row.as_ref();
        if row.is_some_and(|row| row.json.len() > self.max_entry_bytes) {
            return Err(NotStored::TooLarge);
        }
        let buckets = key.buckets(plan.seed);
        // Before it is judged: a purge of the tenant that comes after that must find the entry older.
        let fetched = self.stored_at(key, Moment::now(self.start));
        let stamp = self.pass_for(key, &buckets, &landed.tags, landed.sight()).map_err(not_stored)?;
        let ttl = self.jitter(plan.ttl_of(row));
        let entry = Entry { row: row.cloned(), epoch: landed.epoch, stamp, fetched, expires: fetched.after(ttl) };
        self.l1.insert(key.clone(), entry);
        Ok(ttl)
    }

    /// Whether a reader that came after the flight had left may have its result: it must be as fresh as an
    /// entry of this moment, under the tags of both.
    fn passes_now(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) -> bool {
        let tags = tags(key.tenant, plan.bounds);
        let of_both = if tags == landed.tags { tags } else { landed.tags.iter().chain(&tags).copied().collect() };
        self.holding(key.shard) == Holding::Held
            && self.pass_for(key, &key.buckets(plan.seed), &of_both, landed.sight()).is_ok()
    }

    /// [`Inner::pass`], and no purge of the tenant came after it was asked for.
    pub(crate) fn pass_for(
        &self,
        key: &EntryKey,
        own: &[BucketId],
        tags: &[BucketId],
        sight: Sight<'_>,
    ) -> Result<Stamp, Refusal> {
        let stamp = self.pass(key.shard, own, tags, sight)?;
        self.table(key.shard).ok_or(Refusal::Epoch)?.tenants.pass(key.tenant, sight)?;
        Ok(stamp)
    }

    /// The time that an entry has which was read then. To be asked before [`Inner::pass_for`].
    pub(crate) fn stored_at(&self, key: &EntryKey, fetched: Moment) -> Moment {
        self.table(key.shard).map_or(fetched, |table| table.tenants.not_before(key.tenant, fetched))
    }

    /// Whether what was read may be kept, or shared with a reader that came later: its stamp, or why not.
    pub(crate) fn pass(
        &self,
        shard: ShardId,
        own: &[BucketId],
        tags: &[BucketId],
        sight: Sight<'_>,
    ) -> Result<Stamp, Refusal> {
        #[cfg(feature = "bug-bank")]
        let sight = self.blurred(shard, sight);
        if sight.epoch != self.epochs.current(shard) {
            return Err(Refusal::Epoch);
        }
        let stamp = self.table(shard).ok_or(Refusal::Epoch)?.pass(own, tags, sight)?;
        // Of the transactions below the base nobody here knows what they change. After the stamp was given: a
        // base that rises from here on ends the stamp.
        #[cfg(feature = "bug-bank")]
        if self.bug.is(crate::bugs::Bug::BaseUnchecked) || self.bug.is(crate::bugs::Bug::EpochUnchecked) {
            return Ok(stamp);
        }
        if self.epochs.base(shard, sight.epoch).is_none_or(|base| base >= sight.snapshot.xmin) {
            return Err(Refusal::Base);
        }
        Ok(stamp)
    }

    pub(crate) fn jitter(&self, ttl: Duration) -> Duration {
        ttl.mul_f64(1.0 - self.ttl_jitter * fastrand::f64())
    }
}

#[cfg(feature = "bug-bank")]
mod wrong;
