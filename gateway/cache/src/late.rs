//! Rows after their time, and before its end: what bounded consistency allows.
//!
//! Only time is stretched. A row whose floors rose is never served, whatever the grace.

use std::time::Duration;

use tidegate_types::{
    answer::{CacheStatus, StaleReason},
    policy::Narrowed,
    problem::Problem,
};

use crate::{
    cache::{Cache, FillPlan, Served},
    entry::{EntryKey, Fetched},
    flights::Boarding,
};

/// How long after its time a row may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Not at all.
    None,
    /// This long, for this reason.
    For(Duration, StaleReason),
}

impl Grace {
    /// What is said of a row that is `late`, if it may be served.
    pub(crate) fn status(self, age: Duration, late: Duration) -> Option<CacheStatus> {
        match self {
            Self::For(grace, reason) if late < grace => Some(CacheStatus::Stale { age, late, reason }),
            Self::None | Self::For(..) => None,
        }
    }
}

impl Cache {
    /// [`Cache::get`], also up to `grace` after the row's time.
    #[must_use]
    pub fn get_late(&self, key: &EntryKey, bounds: Option<&Narrowed>, grace: Grace) -> Option<Served> {
        let served = self.0.l1.with(key, |entry| self.0.judge(key, bounds, entry, grace))?.ok()?;
        self.0.metrics.late.inc();
        Some(served)
    }

    /// Fetches a row again, unless somebody does already, and keeps it. Nobody waits for it.
    pub async fn refresh<F>(&self, key: &EntryKey, plan: FillPlan<'_>, load: impl Fn() -> F)
    where
        F: Future<Output = Result<Fetched, Problem>>,
    {
        if let Boarding::Lead(permit) = self.0.flights.board(key) {
            permit.land(self.0.ask(key, plan, &load).await);
        }
    }
}
