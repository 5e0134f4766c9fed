//! Gateways in front of the same shards, as rows of a table on each shard's primary.

use std::{sync::Arc, time::Duration};

/// A gateway's row in a shard's member table: who must hear of a write before it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Unique to a process.
    pub id: Arc<str>,
    /// How often the process joined at this shard.
    pub incarnation: i64,
    /// How often it renewed its lease in this incarnation. Two looks at a row that show the same count show that
    /// no renewal came in between, whatever the clocks say.
    pub beat: i64,
    /// The time a renewal is good for, counted by the process from before it was sent.
    pub lease: Duration,
    /// Where other gateways reach it: host and port.
    pub address: Arc<str>,
}
