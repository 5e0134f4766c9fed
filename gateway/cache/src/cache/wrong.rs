//! What a cache does that has an error of the bug bank.

use super::*;
use crate::bugs::Bug;

impl Inner {
    pub(super) fn unchecked(&self, key: &EntryKey, plan: FillPlan<'_>) -> Option<Stamp> {
        let table = self.floors.get(usize::from(key.shard.0))?;
        Some(table.unchecked(&key.buckets(plan.seed)))
    }

    pub(super) fn noted(&self, key: &EntryKey, began: Voids) -> Voids {
        if self.bug.is(Bug::VoidNotedLate) { self.voids(key.shard) } else { began }
    }

    pub(super) async fn store_wrongly(
        &self,
        key: &EntryKey,
        plan: FillPlan<'_>,
        landing: Landing,
        dispatched: Option<Stamp>,
    ) -> Landing {
        let mut landed = landing?;
        if self.bug.is(Bug::JoinByFloorUnchanged)
            && let Some(landed) = Arc::get_mut(&mut landed)
        {
            landed.dispatched = dispatched;
        }
        if self.bug.is(Bug::CheckAndInsertApart) && matches!(landed.came, Came::FromShard(Ok(_))) {
            tokio::time::sleep(Duration::from_micros(300)).await;
            let fetched = Moment::now(self.start);
            if let Some(stamp) = self.unchecked(key, plan) {
                let expires = fetched.after(plan.ttl);
                let entry = Entry { row: landed.row.clone(), epoch: landed.epoch, stamp, fetched, expires };
                self.l1.insert(key.clone(), entry);
            }
        }
        Ok(landed)
    }

    pub(super) fn joins_wrongly(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) -> bool {
        let table = self.floors.get(usize::from(key.shard.0));
        let unchanged = || landed.dispatched.as_ref().is_some_and(|then| table.is_some_and(|table| table.holds(then)));
        (self.bug.is(Bug::AnyFlightJoinable))
            || (self.bug.is(Bug::JoinByFloorUnchanged) && unchanged())
            || (self.bug.is(Bug::JoinWithoutLease)
                && self.pass(key.shard, &key.buckets(plan.seed), &landed.tags, landed.sight()).is_ok())
    }

    pub(super) fn serve_wrongly(&self, key: &EntryKey, entry: &Entry) -> Option<Served> {
        let current = entry.epoch == self.epochs.current(key.shard);
        let holds = self.floors.get(usize::from(key.shard.0)).is_some_and(|table| table.holds(&entry.stamp));
        let wrong = (self.bug.is(Bug::HitUnchecked) && current)
            || (self.bug.is(Bug::AbsenceUnchecked) && current && entry.row.is_none())
            || (self.bug.is(Bug::EpochUnchecked) && holds);
        let now = Moment::now(self.start);
        let (age, ttl) = (now.since(entry.fetched), entry.expires.since(now));
        (wrong && !ttl.is_zero()).then(|| Served { row: entry.row.clone(), status: CacheStatus::Hit { age, ttl } })
    }

    pub(super) fn blurred<'a>(&self, shard: ShardId, sight: Sight<'a>) -> Sight<'a> {
        if self.bug.is(Bug::EpochUnchecked) { Sight { epoch: self.epochs.current(shard), ..sight } } else { sight }
    }

    pub(crate) fn held_wrongly(&self, holding: Holding) -> Holding {
        if self.bug.is(Bug::TierWithoutLease) { Holding::Held } else { holding }
    }

    pub(crate) fn claimed(&self, kept: u64, own: u64) -> u64 {
        if self.bug.is(Bug::TierLineageIgnored) { kept } else { own }
    }

    pub(crate) fn misjudged(&self, key: &EntryKey, landed: Landed) -> Landed {
        if self.bug.is(Bug::TierVoidsIgnored) { Landed { began: self.voids(key.shard), ..landed } } else { landed }
    }

    pub(crate) fn admit_wrongly(
        &self,
        key: &EntryKey,
        plan: FillPlan<'_>,
        landed: &Landed,
        ttl: Duration,
    ) -> Option<Landed> {
        let passes = || self.pass(key.shard, &key.buckets(plan.seed), &landed.tags, landed.sight()).is_ok();
        let wrong = self.bug.is(Bug::TierTrusted) || (self.bug.is(Bug::TierWithoutLease) && passes());
        if !wrong {
            return None;
        }
        self.insert_unchecked(key, plan, landed, ttl);
        let (snapshot, tags) = (landed.snapshot.clone(), landed.tags.clone());
        let (row, came) = (landed.row.clone(), Came::FromTier { age: Duration::ZERO, ttl });
        Some(Landed { row, snapshot, epoch: landed.epoch, began: landed.began, tags, came, dispatched: None })
    }

    pub(crate) async fn store_arrival_late(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed) {
        if self.bug.is(Bug::TierCheckedThenStored) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.insert_unchecked(key, plan, landed, plan.ttl);
        }
    }

    fn insert_unchecked(&self, key: &EntryKey, plan: FillPlan<'_>, landed: &Landed, ttl: Duration) {
        let fetched = Moment::now(self.start);
        if let Some(stamp) = self.unchecked(key, plan) {
            let expires = fetched.after(ttl);
            let entry = Entry { row: landed.row.clone(), epoch: landed.epoch, stamp, fetched, expires };
            self.l1.insert(key.clone(), entry);
        }
    }
}
