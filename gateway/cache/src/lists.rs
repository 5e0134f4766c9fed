//! Lists: the same rule as for rows, for answers that several shards may have given.
//!
//! # Layout
//! - [`ListKey`], [`ListPlan`], [`FetchedList`], [`ServedList`]: what is asked, kept and served
//! - `shelf`: the byte-bounded map of lists, with a cap for each collection
//! - `doorkeeper`: which lists were asked for lately, so that those asked for once take no place
//! - [`Cache::get_list`], [`Cache::fetch_list`]
//!
//! A list has a part for each shard it was read from: epoch, and stamp of the list's buckets there. It is served
//! only if every part holds, each compared in the request itself. Xids of one shard are never compared with another's.

mod doorkeeper;
mod metrics;
mod shelf;

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use smallvec::SmallVec;
use tidegate_types::{
    answer::{CacheStatus, Collapse, ListBody, NotStored},
    bucket::BucketId,
    collection::CollectionId,
    epoch::Epoch,
    policy::Narrowed,
    problem::Problem,
    request::TenantId,
    route::{ShardId, ShardSet},
    snapshot::Snapshot,
};

use self::{
    doorkeeper::{Doorkeeper, Familiarity},
    metrics::Metrics,
    shelf::{ListEntry, Part, Shelf},
};
use crate::{
    cache::{Cache, Holding, Inner, not_stored, tags},
    entry::Moment,
    flights::{Boarding, Flights},
    floors::{Refusal, Sight, Stamp, Voids},
    metrics::{FlightRole, MissReason},
};

/// Everything a list depends on. Equality of keys is equality of answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListKey {
    /// Whose list.
    pub tenant: TenantId,
    /// Of which collection.
    pub collection: CollectionId,
    /// The shards it is read from, ascending.
    pub shards: ShardSet,
    /// The query in its normal form, as bytes ([`tidegate_types::normal::encode`]).
    pub query: Arc<[u8]>,
    /// For which values of the inputs that a cache policy tells answers apart by.
    pub variant: Option<Arc<[u8]>>,
}

/// How a list may be kept.
#[derive(Debug, Clone, Copy)]
pub struct ListPlan<'a> {
    /// The buckets that every change of the list raises, on each of its shards.
    pub buckets: &'a [BucketId],
    /// How long it may be served.
    pub ttl: Duration,
    /// Bytes that the collection's lists may take, at most what all lists may.
    pub cap: Option<u64>,
    /// What a cache policy narrows these to, and the tags it gives.
    pub bounds: Option<&'a Narrowed>,
}

/// What was read of a list, one statement for each shard.
#[derive(Debug, Clone)]
pub struct FetchedList {
    /// The rows.
    pub body: ListBody,
    /// The statements, one for each shard of the key.
    pub parts: SmallVec<[FetchedPart; 1]>,
}

/// The statement that read a shard's part of a list.
#[derive(Debug, Clone)]
pub struct FetchedPart {
    /// The shard.
    pub shard: ShardId,
    /// The statement's snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The epoch of its connection.
    pub epoch: Epoch,
}

/// A served list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedList {
    /// The rows.
    pub body: ListBody,
    /// How it was served.
    pub status: CacheStatus,
}

/// Everything about lists that a cache holds.
#[derive(Debug)]
pub(crate) struct Lists {
    shelf: Shelf,
    flights: Flights<ListKey, Landing>,
    doorkeeper: Doorkeeper,
    metrics: Metrics,
}

impl Lists {
    pub(crate) fn new(max_bytes: u64, registry: &mut Registry) -> Self {
        let shelf = Shelf::new(max_bytes);
        let metrics = Metrics::register(registry, shelf.clone());
        Self { shelf, flights: Flights::new(), doorkeeper: Doorkeeper::new(), metrics }
    }
}

/// What a flight brings back, for its leader and for whoever waits.
type Landing = Result<Arc<Landed>, Problem>;

#[derive(Debug)]
struct Landed {
    fetched: FetchedList,
    /// The newest voids before the query was sent, in the order of the key's shards.
    began: SmallVec<[Voids; 4]>,
    /// The tags' buckets, as its leader saw them.
    tags: Box<[BucketId]>,
    stored: Result<Duration, NotStored>,
}

impl Landed {
    fn serve(&self, collapse: Collapse) -> ServedList {
        let status = match self.stored {
            Ok(ttl) => CacheStatus::MissStored { collapse, ttl },
            Err(reason) => CacheStatus::MissNotStored { collapse, reason },
        };
        ServedList { body: self.fetched.body.clone(), status }
    }
}

/// Whether a list is worth its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// It was asked for before, or is by others at this moment.
    Wanted,
    /// Once, as far as anybody knows.
    FirstAsked,
}

impl Cache {
    /// The list, if an entry may be served now. Judged in this call, as [`Cache::get`] judges a row, for each
    /// shard it was read from.
    #[must_use]
    pub fn get_list(&self, key: &ListKey, bounds: Option<&Narrowed>) -> Option<ServedList> {
        let lists = &self.0.lists;
        match self.0.look_up_list(key, bounds) {
            Ok(served) => {
                lists.metrics.hits.inc();
                Some(served)
            }
            Err(reason) => {
                lists.metrics.miss(reason);
                None
            }
        }
    }

    /// Fetches a list that [`Cache::get_list`] did not have, sharing the fetch with others who ask for it by the
    /// rule of [`Cache::fetch`]. It is stored if it was asked for before within the last minute or two, or is by
    /// several at once.
    ///
    /// # Errors
    /// What `load` failed with, also for the readers that joined.
    pub async fn fetch_list<F>(
        &self,
        key: &ListKey,
        plan: ListPlan<'_>,
        load: impl Fn() -> F,
    ) -> Result<ServedList, Problem>
    where
        F: Future<Output = Result<FetchedList, Problem>>,
    {
        let inner = &*self.0;
        let Lists { shelf, flights, doorkeeper, metrics } = &inner.lists;
        let arrival = flights.arrive();
        let known = doorkeeper.note(key) == Familiarity::Known || shelf.contains(key);
        loop {
            match flights.board(key) {
                Boarding::Lead(permit) => {
                    // A flight may have landed between the caller's look-up and now.
                    if let Ok(served) = inner.look_up_list(key, plan.bounds) {
                        metrics.flight(FlightRole::Joined);
                        return Ok(served);
                    }
                    metrics.flight(FlightRole::Led);
                    // Before the query is sent: what is voided from here on refuses its result.
                    let began = key.shards.iter().map(|shard| inner.voids(*shard)).collect();
                    let landing = load().await.map(|fetched| {
                        let wanted = known || permit.is_awaited();
                        let admission = if wanted { Admission::Wanted } else { Admission::FirstAsked };
                        Arc::new(inner.store_list(key, plan, began, fetched, admission))
                    });
                    permit.land(landing.clone());
                    return landing.map(|landed| landed.serve(Collapse::Led));
                }
                Boarding::Join(seat) => {
                    let entitled = seat.sent_after(arrival);
                    let Some(landing) = seat.wait().await else { continue };
                    let landed = landing?;
                    if entitled || inner.list_passes_now(key, plan, &landed) {
                        metrics.flight(FlightRole::Joined);
                        return Ok(landed.serve(Collapse::Joined));
                    }
                    metrics.flight(FlightRole::Moved);
                }
            }
        }
    }
}

impl Inner {
    fn look_up_list(&self, key: &ListKey, bounds: Option<&Narrowed>) -> Result<ServedList, MissReason> {
        self.lists
            .shelf
            .with(key, |entry| self.judge_list(key.tenant, bounds, entry))
            .unwrap_or(Err(MissReason::Absent))
    }

    fn judge_list(
        &self,
        tenant: TenantId,
        bounds: Option<&Narrowed>,
        entry: &ListEntry,
    ) -> Result<ServedList, MissReason> {
        for part in &entry.parts {
            let table = self.table(part.shard).ok_or(MissReason::Absent)?;
            // The lease before the epoch, as for rows.
            if self.holding(part.shard) == Holding::Lapsed {
                return Err(MissReason::Lapsed);
            }
            let purged = table.tenants.since(tenant, entry.fetched).is_some();
            if purged || part.epoch != self.epochs.current(part.shard) || !table.holds(&part.stamp) {
                return Err(MissReason::Outdated);
            }
            if bounds.is_some_and(|bounds| !table.covers(&part.stamp, &bounds.tags)) {
                return Err(MissReason::Unbounded);
            }
        }
        let now = Moment::now(self.start);
        let age = now.since(entry.fetched);
        let left = entry.expires.since(now);
        let bound = bounds.and_then(|bounds| bounds.ttl);
        let ttl = bound.map_or(left, |bound| left.min(bound.saturating_sub(age)));
        if ttl.is_zero() {
            return Err(MissReason::Expired);
        }
        Ok(ServedList { body: entry.body.clone(), status: CacheStatus::Hit { age, ttl } })
    }

    fn store_list(
        &self,
        key: &ListKey,
        plan: ListPlan<'_>,
        began: SmallVec<[Voids; 4]>,
        fetched: FetchedList,
        admission: Admission,
    ) -> Landed {
        let tags = tags(key.tenant, plan.bounds);
        let mut landed = Landed { fetched, began, tags, stored: Err(NotStored::FirstAsked) };
        if admission == Admission::Wanted {
            landed.stored = self.try_store_list(key, plan, &landed);
        }
        match landed.stored {
            Ok(_) => {
                self.lists.metrics.stored.inc();
            }
            Err(reason) => self.lists.metrics.not_stored(reason),
        }
        landed
    }

    fn try_store_list(&self, key: &ListKey, plan: ListPlan<'_>, landed: &Landed) -> Result<Duration, NotStored> {
        let body = &landed.fetched.body;
        if body.json.len() > self.max_entry_bytes {
            return Err(NotStored::TooLarge);
        }
        // Before it is judged, as for rows.
        let now = Moment::now(self.start);
        let tables = key.shards.iter().filter_map(|shard| self.table(*shard));
        let fetched = tables.fold(now, |at, table| table.tenants.not_before(key.tenant, at));
        let parts = self.list_parts(key, plan.buckets, &landed.tags, landed).map_err(not_stored)?;
        let bound = plan.bounds.and_then(|bounds| bounds.ttl);
        let ttl = self.jitter(bound.map_or(plan.ttl, |bound| bound.min(plan.ttl)));
        let entry = ListEntry { body: body.clone(), parts, fetched, expires: fetched.after(ttl) };
        self.lists.shelf.insert(key.clone(), entry, plan.cap)?;
        Ok(ttl)
    }

    /// As for rows: a reader that came after the flight had left needs what an entry of this moment would be,
    /// under the tags of both.
    fn list_passes_now(&self, key: &ListKey, plan: ListPlan<'_>, landed: &Landed) -> bool {
        let tags = tags(key.tenant, plan.bounds);
        let of_both = if tags == landed.tags { tags } else { landed.tags.iter().chain(&tags).copied().collect() };
        key.shards.iter().all(|shard| self.holding(*shard) == Holding::Held)
            && self.list_parts(key, plan.buckets, &of_both, landed).is_ok()
    }

    /// The parts of what was read, if every statement passes its shard's floors.
    fn list_parts(
        &self,
        key: &ListKey,
        buckets: &[BucketId],
        tags: &[BucketId],
        landed: &Landed,
    ) -> Result<SmallVec<[Part; 1]>, Refusal> {
        let part = |(shard, began): (&ShardId, &Voids)| {
            // A shard that did not answer would never be compared again.
            let read = landed.fetched.parts.iter().find(|part| part.shard == *shard).ok_or(Refusal::Epoch)?;
            let sight = Sight { began: *began, epoch: read.epoch, snapshot: &read.snapshot };
            let stamp: Stamp = self.pass(*shard, buckets, tags, sight)?;
            self.table(*shard).ok_or(Refusal::Epoch)?.tenants.pass(key.tenant, sight)?;
            Ok(Part { shard: *shard, epoch: read.epoch, stamp })
        };
        key.shards.iter().zip(&landed.began).map(part).collect()
    }
}
