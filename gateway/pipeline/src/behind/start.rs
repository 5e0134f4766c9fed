//! What the journal held when the process began; and the end.

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tidegate_journal::{Journal, OpenError, Recovered};
use tidegate_types::{
    collection::Mode,
    mutation::{DecodeError, Entry, Sequence},
    settings::JournalSettings,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Behind, Inner, Plans, claim, flush,
    lane::{Lane, LaneState},
    locks::{Gates, RowLocks},
    metrics::Metrics,
    repeats::{Answered, Repeats},
    token::Tokens,
};
use crate::{Gateway, gateway::Shared};

/// How long the start waits for shards to say what they have. Those that do not are asked on.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);
/// How long a batch under way may take once everything ends.
const LAST_BATCH: Duration = Duration::from_millis(500);
/// Orders of operators that wait for a flusher.
const ORDERS: usize = 16;

/// What write-behind is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The opened journal.
    pub journal: Journal,
    /// What it held.
    pub recovered: Recovered,
    /// `[journal]`
    pub settings: JournalSettings,
    /// What status tokens are signed with; the same in every life of the journal.
    pub secret: [u8; 32],
    /// How rows are rendered.
    pub plans: Plans,
    /// For metrics.
    pub registry: &'a mut Registry,
}

/// Why the gateway does not start. Nothing was dropped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal is damaged.
    #[error("{0}")]
    Journal(#[from] OpenError),
    /// A record is not understood.
    #[error("the journal's record {sequence}: {source}. A newer version of the gateway may have written it")]
    Record {
        /// Its place.
        sequence: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The journal has writes for what is not served.
    #[error(
        "the journal has acknowledged writes (the first is record {sequence}) {of}, which is not served as write-behind. \
         Serve it as before until GET /admin/journal says that its depth is 0, then change it"
    )]
    NotServed {
        /// The first of them.
        sequence: u64,
        /// What they are for.
        of: String,
    },
}

/// The flushers, to be ended.
#[derive(Debug)]
pub struct Flushers {
    behind: Behind,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Takes up write-behind: asks the shards what they have of the journal, shows readers the rest, and begins to flush
    /// it. To be called once, before the first request.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_behind(&self, setup: Setup<'_>) -> Result<Flushers, StartError> {
        let Setup { journal, recovered, settings, secret, plans, registry } = setup;
        let shared = &self.0;
        let lanes: Box<[Arc<Lane>]> = shared
            .topology
            .all()
            .into_iter()
            .map(|shard| Arc::new(Lane::new(shard, shared.topology.name(shard))))
            .collect();
        let (orders, inboxes): (Vec<_>, Vec<_>) = lanes.iter().map(|_| mpsc::channel(ORDERS)).unzip();
        let metrics = Metrics::register(registry, &journal, &lanes);
        let behind = Behind(Arc::new(Inner {
            number: low_half(journal.id().0),
            repeats: Repeats::new(settings.idempotency_window, settings.max_idempotency_keys),
            tokens: Tokens::new(&secret),
            plans: arc_swap::ArcSwap::from_pointee(plans),
            rows: RowLocks::new(),
            gates: Gates::default(),
            orders: orders.into(),
            journal,
            settings,
            lanes,
            metrics,
        }));
        // Shards that answer say first what they have, so that only the rest is taken up.
        let asked = behind.0.lanes.iter().map(|lane| timeout(CLAIM_PATIENCE, claim::try_claim(shared, &behind, lane)));
        for (lane, answer) in behind.0.lanes.iter().zip(futures_util::future::join_all(asked).await) {
            if let Ok(Err(tidegate_store::flush::FlushError::Fenced { .. })) = answer {
                lane.failed(LaneState::Lost, "another process has claimed the journal");
            }
        }
        let kept = restore(shared, &behind, recovered)?;
        tracing::info!(waiting = kept, "the journal is open");
        behind.release();
        let started = shared.behind.set(behind.clone()).is_ok();
        debug_assert!(started, "write-behind is started once");
        let stop = CancellationToken::new();
        let tasks = behind.0.lanes.iter().zip(inboxes).map(|(lane, inbox)| {
            tokio::spawn(flush::run(shared.clone(), behind.clone(), lane.clone(), inbox, stop.clone()))
        });
        Ok(Flushers { tasks: tasks.collect(), behind, stop })
    }

    /// Renders rows of write-behind collections by these from now on.
    pub fn replace_plans(&self, plans: Plans) {
        if let Some(behind) = self.0.behind.get() {
            behind.replace_plans(plans);
        }
    }
}

/// The journal's number on shards.
fn low_half(id: u128) -> u64 {
    // Always fits.
    u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default()
}

/// Takes up what the shards do not have. How much that is.
fn restore(shared: &Shared, behind: &Behind, recovered: Recovered) -> Result<usize, StartError> {
    let edition = shared.live.hold();
    let mut kept = 0;
    for record in recovered {
        let record = record?;
        let Sequence(sequence) = record.sequence;
        let entry = Entry::decode(record.payload).map_err(|source| StartError::Record { sequence, source })?;
        let Entry { mutation, change, idempotency } = entry;
        let lane = behind.0.lanes.iter().find(|lane| lane.name == mutation.shard);
        if let (Some(idempotency), Some(lane)) = (&idempotency, lane) {
            let (key, image) = (mutation.key.clone(), mutation.image.clone());
            let answered = Answered { sequence: record.sequence, shard: lane.shard, key, change, image };
            behind.0.repeats.restore(mutation.tenant, idempotency, answered);
        }
        if lane.is_some_and(|lane| record.sequence <= *lane.applied.borrow()) {
            continue;
        }
        let not_served = |of: String| StartError::NotServed { sequence, of };
        let lane = lane.ok_or_else(|| not_served(format!("for the shard {}", mutation.shard)))?;
        let served = edition.collections.get(&mutation.collection);
        if served.is_none_or(|collection| collection.mode != Mode::WriteBehind) {
            return Err(not_served(format!("of the collection {}", mutation.collection)));
        }
        lane.restore(record.sequence, mutation);
        kept += 1;
    }
    Ok(kept)
}

impl Flushers {
    /// Waits until every shard that answers has everything, at most `grace`, and ends. What is left is in the journal.
    /// To be called when nothing is acknowledged any more.
    pub async fn drain(self, grace: Duration) {
        let lanes = &self.behind.0.lanes;
        let last = self.behind.0.journal.last();
        let drained = lanes.iter().filter(|lane| lane.state() == LaneState::Flowing).map(|lane| async move {
            // A shard that stops answering meanwhile is not waited for.
            while lane.first().is_some_and(|first| first <= last) && lane.state() == LaneState::Flowing {
                let mut applied = lane.applied.subscribe();
                if lane.first().is_some() {
                    let _ = timeout(Duration::from_millis(100), applied.changed()).await;
                }
            }
        });
        let _ = timeout(grace, futures_util::future::join_all(drained)).await;
        self.stop.cancel();
        for mut task in self.tasks {
            match timeout(LAST_BATCH, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a flusher failed"),
                // Its transaction ends with its connection, or was committed: the next start asks the shard.
                Err(_) => task.abort(),
            }
        }
        let left: usize = lanes.iter().map(|lane| lane.report().depth).sum();
        if left > 0 {
            tracing::warn!(left, "acknowledged writes stay in the journal; the next start brings them to their shards");
        }
        let journal = self.behind.0.journal.clone();
        // Blocks until what was taken is durable.
        if let Err(error) = tokio::task::spawn_blocking(move || journal.close()).await {
            tracing::error!(%error, "the journal was not closed");
        }
    }
}
