//! Write-behind: rows that are acknowledged when the journal has them, and brought to their shard afterwards (ADR 0015).
//!
//! # Layout
//! - `Behind`: what its parts share
//! - `accept`: a write of one row, up to its acknowledgement; `judge`: conditions; `render`: the row as it will be
//! - `through`: writes that go to the shard themselves, and what they wait for; `still`: what waits before rows move
//! - `read`: what readers see first, and what lists wait for
//! - `flush`: what waits for a shard, brought there; `batch`: what one transaction takes; `commit`: floors and COMMIT;
//!   `claim`: what the shard has
//! - `start`: what the journal held when the process began, and the end
//! - `lane`: what waits for one shard; `dirty`: rows by key; `locks`: who may write when
//! - `repeats`: requests sent again; `token` and `status`: what became of a write
//! - `pressure`: when no more is taken
//! - `report`: what operators see and order; `metrics`
//!
//! # What makes it right
//! - Under a row's lock: a look at the row, its next image, its place in the journal and in the lane, all in one order.
//! - Nobody is told of an image before it is durable: neither its writer nor a reader.
//! - An image is let go of after the COMMIT of a transaction whose floors were raised before it: who does not find it
//!   any more reads what is not older.
//! - A write that goes to the shard itself and may touch any row of a collection has the collection alone, and begins
//!   when nothing of it waits.
//! - What the shard's note says is applied is applied; nothing else says so.

mod accept;
mod batch;
mod claim;
mod commit;
mod dirty;
mod flush;
mod judge;
mod lane;
mod locks;
mod metrics;
mod pressure;
pub(crate) mod read;
mod render;
mod repeats;
mod report;
mod start;
mod status;
mod still;
mod through;
mod token;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use tidegate_journal::Journal;
use tidegate_store::values::ImagePlan;
use tidegate_types::{
    mutation::Sequence,
    problem::{Problem, ProblemKind, codes},
    route::ShardId,
    settings::JournalSettings,
};
use tokio::sync::mpsc;

use self::{
    lane::{Lane, LaneState},
    locks::{Gates, RowLocks},
    metrics::Metrics,
    repeats::Repeats,
    report::Order,
    token::Tokens,
};

pub(crate) use accept::write;
pub(crate) use locks::Held;
pub use report::{Decision, JournalReport, LetterReport, OrderError, ShardReport};
pub use start::{Flushers, Setup, StartError};
pub(crate) use status::status;
pub(crate) use through::hold_reached;

/// How rows of each write-behind collection are rendered, by its name.
pub type Plans = HashMap<Arc<str>, Arc<ImagePlan>>;

/// When to come again where a shard is not ready or too much waits.
const RETRY_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

/// Everything that write-behind collections share. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Behind(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    /// The journal as shards know it.
    number: u64,
    settings: JournalSettings,
    lanes: Box<[Arc<Lane>]>,
    orders: Box<[mpsc::Sender<Order>]>,
    rows: RowLocks,
    gates: Gates,
    repeats: Repeats,
    tokens: Tokens,
    plans: ArcSwap<Plans>,
    metrics: Metrics,
}

impl Behind {
    fn lane(&self, shard: ShardId) -> Result<&Arc<Lane>, Problem> {
        let missing = || Problem::new(ProblemKind::Internal, "XX000", "The request was routed to an unknown shard");
        self.0.lanes.get(usize::from(shard.0)).ok_or_else(missing)
    }

    /// The lane, if it is known what of the journal its shard has.
    fn open_lane(&self, shard: ShardId) -> Result<&Arc<Lane>, Problem> {
        let lane = self.lane(shard)?;
        match lane.state() {
            LaneState::Flowing | LaneState::Failing => Ok(lane),
            LaneState::Claiming => Err(unavailable(
                &lane.name,
                "The gateway does not know yet which acknowledged writes the shard has; it asks it as soon as it answers.",
            )),
            LaneState::Lost => {
                Err(unavailable(&lane.name, "Another process has taken over this gateway's journal on the shard."))
            }
        }
    }

    fn plan(&self, collection: &str) -> Option<Arc<ImagePlan>> {
        self.0.plans.load().get(collection).cloned()
    }

    /// Renders by these from now on.
    pub(crate) fn replace_plans(&self, plans: Plans) {
        self.0.plans.store(Arc::new(plans));
    }

    /// Lets the journal forget what every shard has and no repeated request asks for. Not to be called before what it
    /// held at the start is in the lanes.
    ///
    /// In this order: what is durable first, or a record that becomes so meanwhile would be forgotten before it is seen
    /// in its lane; keys after lanes, because both are told under the lane's lock.
    fn release(&self) {
        let durable = self.0.journal.durable();
        let waiting = self.0.lanes.iter().filter_map(|lane| lane.first()).min();
        let needed = waiting.into_iter().chain(self.0.repeats.oldest()).min();
        self.0.journal.release(needed.map_or(durable, |first| durable.min(Sequence(first.0.saturating_sub(1)))));
    }
}

fn unavailable(shard: &str, details: &str) -> Problem {
    let message = format!("Shard {shard} cannot be reached at the moment");
    Problem::new(ProblemKind::ShardUnavailable, codes::SHARD_UNAVAILABLE, message)
        .details(details)
        .retry_after(RETRY_DELAY)
}
