//! Where changed rows are noted: a few of all, so that following them costs the same whatever the load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_types::{
    collection::{Collection, Mode},
    key::RowKey,
    request::TenantId,
    route::ShardId,
};
use tokio::{sync::mpsc, time::Instant};

use super::metrics::Source;

/// Rows that are followed, at most one in this time: of those changed here, and of those that other gateways tell of.
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// Rows noted and not yet taken up.
const NOTED: usize = 16;

/// A row that changed.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) collection: Arc<Collection>,
    pub(crate) shard: ShardId,
    /// Who changed it, where that is known.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) key: RowKey,
}

impl Sample {
    /// `None` where nothing is kept of the collection.
    pub(crate) fn of(
        collection: &Arc<Collection>,
        shard: ShardId,
        tenant: Option<TenantId>,
        key: RowKey,
    ) -> Option<Self> {
        match collection.mode {
            Mode::CacheAside | Mode::WriteThrough | Mode::WriteBehind => {
                Some(Self { collection: collection.clone(), shard, tenant, key })
            }
            Mode::Bypass => None,
        }
    }
}

/// Where changed rows are told. Never waits.
#[derive(Debug)]
pub(crate) struct Notes {
    start: Instant,
    /// When the next row is wanted, in milliseconds since `start`: one that changed here, one told by another gateway.
    wanted_ms: [AtomicU64; 2],
    sender: mpsc::Sender<(Source, Sample)>,
}

impl Notes {
    pub(crate) fn new() -> (Self, mpsc::Receiver<(Source, Sample)>) {
        let (sender, receiver) = mpsc::channel(NOTED);
        (Self { start: Instant::now(), wanted_ms: Default::default(), sender }, receiver)
    }

    /// Follows a row, if it is time for another one.
    pub(crate) fn note(&self, source: Source, row: impl FnOnce() -> Option<Sample>) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wanted_ms = match source {
            Source::Write | Source::Feed => &self.wanted_ms[0],
            Source::Gateway => &self.wanted_ms[1],
        };
        let (now, wanted) = (millis(self.start.elapsed()), wanted_ms.load(Ordering::Relaxed));
        if now < wanted {
            return;
        }
        // A change of which no row is known leaves the turn to the next one.
        let Some(row) = row() else { return };
        let next = now.saturating_add(millis(EVERY));
        if wanted_ms.compare_exchange(wanted, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // A monitor that lags behind follows fewer rows.
            let _ = self.sender.try_send((source, row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::sample, *};
    use crate::fixture::collection;

    #[tokio::test(start_paused = true)]
    async fn a_few_of_the_changed_rows_are_followed_and_a_few_of_those_told() {
        let (notes, mut noted) = Notes::new();
        let note = |source, id| notes.note(source, || Some(sample(id)));
        notes.note(Source::Write, || None);
        for id in 0..100 {
            note(Source::Write, id);
            note(Source::Feed, id);
            note(Source::Gateway, 1000 + id);
        }
        tokio::time::advance(EVERY).await;
        note(Source::Feed, 100);
        note(Source::Write, 101);
        let followed: Vec<_> =
            std::iter::from_fn(|| noted.try_recv().ok()).map(|(s, r)| (s, r.key.to_string())).collect();
        let expected = [(Source::Write, "0,en"), (Source::Gateway, "1000,en"), (Source::Feed, "100,en")];
        assert_eq!(followed, expected.map(|(source, key)| (source, key.to_owned())));
    }

    #[test]
    fn what_is_never_kept_is_not_followed() {
        let bypassed = Collection { mode: Mode::Bypass, ..collection(0, "written") };
        let sample = sample(1);
        assert!(Sample::of(&Arc::new(bypassed), sample.shard, None, sample.key).is_none());
    }
}
