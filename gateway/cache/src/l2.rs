//! The shared tier as the cache uses it: what arrives is judged like a fill, what was filled is handed over.
//!
//! An arrival differs from a fill in what is known of it. Nobody here knows when its query was sent, so it counts as
//! older than every void ([`Voids::default`]); and its snapshot is of the server it names, so it is compared only if
//! that is the shard's server of this epoch. Everything else is the rule: it passes the floors of its own buckets, of
//! its tags and of the tags that the policy gives now, sees everything up to the epoch's base, and is stored under the
//! stamp of that check. So the tier may lose, delay and resurrect what it likes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidegate_types::{answer::RowBody, bucket::BucketId, epoch::Epoch, route::ShardId};
use tokio::time::Instant;

use crate::{
    cache::{FillPlan, Holding, Inner, tags},
    entry::{Entry, EntryKey, Moment},
    floors::{Refusal, Stamp, Voids},
    landed::{Came, Landed},
    tier::{
        CacheTier, Put,
        codec::{Codec, Kept, Payload},
        key::{Place, TierKey},
        metrics::{GetOutcome, RefusedArrival, TierMetrics},
    },
};

/// How far the clocks of two gateways may be apart before an entry from the future is refused.
const CLOCK_SKEW_MS: u64 = 1_000;

/// A tier with what it takes to use it.
#[derive(Debug)]
pub struct L2 {
    tier: Arc<dyn CacheTier>,
    codec: Codec,
    /// By shard.
    places: Box<[Place]>,
    metrics: TierMetrics,
}

impl L2 {
    /// A tier for entries of these shards. It must end its calls in time
    /// ([`Guarded`](crate::tier::guard::Guarded)): requests wait for it.
    #[must_use]
    pub fn new(tier: Arc<dyn CacheTier>, codec: Codec, places: Vec<Place>, metrics: TierMetrics) -> Self {
        Self { tier, codec, places: places.into(), metrics }
    }

    pub(crate) fn place(&self, shard: ShardId) -> Option<&Place> {
        self.places.get(usize::from(shard.0))
    }

    async fn get(&self, key: &TierKey) -> Option<Kept> {
        let start = Instant::now();
        let found = self.look(key).await;
        self.metrics.seconds.observe(start.elapsed().as_secs_f64());
        found.map_err(|outcome| self.metrics.get(outcome)).ok()
    }

    /// What is kept under a key, or how the look-up ended instead. Not counted.
    pub(crate) async fn look(&self, key: &TierKey) -> Result<Kept, GetOutcome> {
        match self.tier.get(key.short()).await {
            Ok(Some(bytes)) => self.codec.decode(key, &bytes).map_err(|_| GetOutcome::Unreadable),
            Ok(None) => Err(GetOutcome::Miss),
            Err(error) => Err(GetOutcome::of(&error)),
        }
    }
}

impl Inner {
    /// Looks into the shared tier. What it gives was stored, and may be served to whoever leads the flight: it passed
    /// after that reader came.
    pub(crate) async fn arrive(&self, key: &EntryKey, plan: FillPlan<'_>) -> Option<Landed> {
        let (l2, definition) = (self.l2.get()?, plan.shared?);
        let epoch = self.epochs.current(key.shard);
        let lineage = self.epochs.lineage(key.shard, epoch)?;
        // Nothing would pass: spare the call.
        let holding = self.holding(key.shard);
        #[cfg(feature = "bug-bank")]
        let holding = self.held_wrongly(holding);
        if self.epochs.base(key.shard, epoch).is_none() || holding == Holding::Lapsed {
            return None;
        }
        let tier_key = TierKey::row(definition, l2.place(key.shard)?, key);
        let kept = l2.get(&tier_key).await?;
        match self.admit(key, plan, kept, epoch, lineage) {
            Ok(landed) => {
                l2.metrics.get(GetOutcome::Hit);
                #[cfg(feature = "bug-bank")]
                self.store_arrival_late(key, plan, &landed).await;
                Some(landed)
            }
            Err(refused) => {
                l2.metrics.refused(refused);
                None
            }
        }
    }

    /// Judges an arrival, and stores it.
    fn admit(
        &self,
        key: &EntryKey,
        plan: FillPlan<'_>,
        kept: Kept,
        epoch: Epoch,
        lineage: u64,
    ) -> Result<Landed, RefusedArrival> {
        let landed = self.assess(key, plan, kept, epoch, lineage)?;
        let Came::FromTier { age, ttl } = landed.came else { return Err(RefusedArrival::Kind) };
        #[cfg(feature = "bug-bank")]
        if let Some(landed) = self.admit_wrongly(key, plan, &landed, ttl) {
            return Ok(landed);
        }
        let now = Moment::now(self.start);
        let fetched = self.stored_at(key, now.before(age));
        let stamp = self.stamp(key, plan, &landed)?;
        let entry = Entry { row: landed.row.clone(), epoch, stamp, fetched, expires: now.after(ttl) };
        self.l1.insert(key.clone(), entry);
        Ok(landed)
    }

    /// What an arrival holds, if it is of this shard's server and its time is not over. Floors are not looked at.
    pub(crate) fn assess(
        &self,
        key: &EntryKey,
        plan: FillPlan<'_>,
        kept: Kept,
        epoch: Epoch,
        lineage: u64,
    ) -> Result<Landed, RefusedArrival> {
        #[cfg(feature = "bug-bank")]
        let lineage = self.claimed(kept.lineage, lineage);
        if kept.lineage != lineage {
            return Err(RefusedArrival::Lineage);
        }
        let Payload::Row(json) = kept.payload else { return Err(RefusedArrival::Kind) };
        if json.as_ref().is_some_and(|json| json.len() > self.max_entry_bytes) {
            return Err(RefusedArrival::TooLarge);
        }
        let row = json.map(RowBody::new);
        let longest = plan.ttl_of(row.as_ref()).min(Duration::from_millis(kept.ttl_ms));
        let now_ms = unix_ms();
        if kept.fetched_unix_ms > now_ms.saturating_add(CLOCK_SKEW_MS) {
            return Err(RefusedArrival::Expired);
        }
        let age = Duration::from_millis(now_ms.saturating_sub(kept.fetched_unix_ms));
        let ttl = longest.saturating_sub(age);
        if ttl.is_zero() {
            return Err(RefusedArrival::Expired);
        }
        let landed = Landed {
            row,
            snapshot: Arc::new(kept.snapshot),
            epoch,
            began: Voids::default(),
            tags: union(&kept.tags, &tags(key.tenant, plan.bounds)),
            came: Came::FromTier { age, ttl },
            #[cfg(feature = "bug-bank")]
            dispatched: None,
        };
        #[cfg(feature = "bug-bank")]
        let landed = self.misjudged(key, landed);
        Ok(landed)
    }

    /// Whether an arrival may be served: the stamp to store it with.
    pub(crate) fn stamp(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) -> Result<Stamp, RefusedArrival> {
        // The lease first, as in a look-up.
        if self.holding(key.shard) == Holding::Lapsed {
            return Err(RefusedArrival::Lapsed);
        }
        let passed = self.pass_for(key, &key.buckets(plan.seed), &landed.tags, landed.sight());
        passed.map_err(|refusal| match refusal {
            Refusal::Floor => RefusedArrival::Floor,
            Refusal::Epoch => RefusedArrival::Lineage,
            Refusal::Void => RefusedArrival::Void,
            Refusal::Base => RefusedArrival::Base,
        })
    }

    /// Hands over what was stored.
    pub(crate) fn share(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed, ttl: Duration) {
        let (Some(l2), Some(definition)) = (self.l2.get(), plan.shared) else { return };
        let (Some(place), Some(lineage)) = (l2.place(key.shard), self.epochs.lineage(key.shard, landed.epoch)) else {
            return;
        };
        let tier_key = TierKey::row(definition, place, key);
        let kept = Kept {
            lineage,
            snapshot: (*landed.snapshot).clone(),
            tags: landed.tags.iter().copied().collect(),
            fetched_unix_ms: unix_ms(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            payload: Payload::Row(landed.row.as_ref().map(|row| row.json.clone())),
        };
        if let Some(value) = l2.codec.encode(&tier_key, &kept) {
            // Dropped where there is no room, and counted there.
            let _ = l2.tier.put(Put { key: tier_key.short().clone(), value, ttl });
        }
    }
}

fn union(kept: &[BucketId], now: &[BucketId]) -> Box<[BucketId]> {
    let new = now.iter().filter(|tag| !kept.contains(tag));
    kept.iter().chain(new).copied().collect()
}

/// By the wall clock: several gateways must agree on it, and a suspended one must notice.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
