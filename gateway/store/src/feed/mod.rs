//! What changed in a shard, whoever changed it, told by logical replication.
//!
//! # Layout
//! - [`event`]: what is told
//! - [`health`]: how far it has come
//! - `follow`: one reader: connect, publish, take the slot, stream, begin again
//! - `channel`: the replication connection; `decode`: `pgoutput`'s messages; `collect`: transactions of them
//! - `examine`: what it needs of a server
//! - `control`: publication, slot, heartbeat and fingerprint, over an ordinary connection
//!
//! # Invariants
//! - Events are told in the order of the log; a heartbeat comes after everything committed before it was sent.
//! - Where something may be missing between two events, a [`FeedEvent::Flush`] stands between them.
//! - A position is confirmed only after everything before it was handed over.
//! - No message, transaction or queue is unbounded.

mod channel;
mod collect;
mod control;
mod decode;
pub mod event;
mod examine;
mod follow;
pub mod health;
pub mod metrics;

use std::sync::Arc;

use tidegate_types::settings::FeedSettings;
use tokio::sync::{mpsc, watch};

pub use event::{
    Beat, Changed, Changes, FeedEvent, FeedTable, FeedTables, FlushReason, RowChange, RowImage, TableChanges, Told,
    Transaction, Watched, Whole,
};
pub(crate) use examine::examine;
pub use examine::{Finding, Severity};
pub use follow::Follower;
pub use health::{FeedHealth, FeedRole};

use crate::shard::{Link, Shard};

/// Events that may wait for whoever obeys them.
const QUEUE: usize = 1024;

/// A shard's feed.
#[derive(Debug)]
pub struct Feed {
    /// To be run; ends when its events are no longer received.
    pub follower: Follower,
    /// What it tells.
    pub events: mpsc::Receiver<Told>,
    /// How far it has come.
    pub health: FeedHealth,
}

/// A feed of this shard. `gateway` is a number drawn by this process, the same for all shards.
pub(crate) fn of(shard: &Shard, settings: &FeedSettings, gateway: u64, tables: watch::Receiver<FeedTables>) -> Feed {
    let (sender, events) = mpsc::channel(QUEUE);
    let health = FeedHealth::new(gateway);
    let link: Arc<Link> = shard.link.clone();
    let follower = Follower::new(link, &shard.config, settings, tables, sender, health.clone());
    Feed { follower, events, health }
}
