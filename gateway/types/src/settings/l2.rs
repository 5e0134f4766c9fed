//! `[cache] l2...`: the shared tier.

use std::time::Duration;

use super::Secret;

/// The shared tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2Settings {
    /// Where it is.
    pub servers: L2Servers,
    /// How long a request waits for it at most. Default 5 ms.
    pub timeout: Duration,
    /// Entries above this size are compressed. Default 1 KiB.
    pub compress_above: usize,
}

/// Redis or Valkey servers: what the URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2Servers {
    /// How they belong together.
    pub layout: L2Layout,
    /// Hosts and ports, at least one.
    pub nodes: Vec<(String, u16)>,
    /// The user to authenticate as, where there is a password; the default user without a name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The number of the database. 0 for a cluster.
    pub database: u16,
}

/// How servers of the shared tier belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum L2Layout {
    /// One server: `redis://`.
    Single,
    /// The nodes are sentinels, which know the primary of a service: `redis+sentinel://`.
    Sentinel {
        /// The service's name.
        service: String,
    },
    /// The nodes are some of a cluster's: `redis+cluster://`.
    Cluster,
}
