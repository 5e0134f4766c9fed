//! `[cluster]`

use std::{net::SocketAddr, time::Duration};

use super::Secret;

/// `[cluster]`: this gateway is one of several in front of the same shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// What this gateway is called among the others; each process adds a number of its own. Default `gateway`.
    pub id: String,
    /// Where to listen for other gateways.
    pub listen: SocketAddr,
    /// Where others reach it, host and port. `None`: at `listen`.
    pub advertise: Option<String>,
    /// What all gateways know.
    pub secret: Secret,
    /// How long a renewal is good for. Default 1 s.
    pub lease: Duration,
}
