//! Rows that an invalidation policy wants fetched again, so that nobody has to wait for them: after their purge, and
//! for each as a client without header fields would ask for it.
//!
//! Nobody depends on it. What does not fit is dropped, what fails or is refused by a floor is not tried again: the next
//! reader fetches it.

use std::sync::Arc;

use tidegate_types::{answer::CacheStatus, policy::Who, query::Projection, request::RowRead};
use tokio::sync::Semaphore;

use crate::{gateway::Shared, invalidate::Again, metrics::RefreshEnd, read};

/// Rows that may wait, those being fetched included.
const WAITING: usize = 1024;
/// Rows fetched at once.
const AT_ONCE: usize = 16;

/// Places for rows to be fetched again.
#[derive(Debug)]
pub(crate) struct Refreshes {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Refreshes {
    fn default() -> Self {
        Self { waiting: Arc::new(Semaphore::new(WAITING)), running: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// Has rows fetched. To be called when they are purged, and whatever outdated them is committed. Waits for nothing.
pub(crate) fn fetch(shared: &Arc<Shared>, who: Who, rows: Vec<Again>) {
    for row in rows {
        let Ok(place) = shared.refreshes.waiting.clone().try_acquire_owned() else {
            shared.metrics.refreshed(RefreshEnd::Dropped);
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let end = fetch_one(&shared, who, row).await;
            shared.metrics.refreshed(end);
            drop(place);
        });
    }
}

async fn fetch_one(shared: &Arc<Shared>, who: Who, Again { collection, key }: Again) -> RefreshEnd {
    let Ok(_turn) = shared.refreshes.running.acquire().await else { return RefreshEnd::Dropped };
    let read = RowRead { collection, key, projection: Projection::Whole };
    match read::row_for(shared, who, &read).await {
        Ok(statuses) if statuses.iter().all(|status| is_kept(*status)) => RefreshEnd::Kept,
        Ok(_) => RefreshEnd::NotKept,
        Err(problem) => {
            tracing::debug!(collection = %read.collection.name, problem = %problem.message, "a refresh failed");
            RefreshEnd::Failed
        }
    }
}

/// Somebody may have been faster.
const fn is_kept(status: CacheStatus) -> bool {
    matches!(status, CacheStatus::MissStored { .. } | CacheStatus::Hit { .. })
}
