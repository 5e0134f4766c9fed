//! What the gateway offers to its policies.

/// The shards of this gateway. Needs the grant `topology`.
pub mod topology {
    pub use crate::bindings::base::tidegate::policy::host_topology::{
        hash_key, shard_count, shard_for_hash, shard_named, shards_in_region,
    };
}

/// Small tables that the gateway keeps a copy of. Needs the grant `directory`.
pub mod directory {
    pub use crate::bindings::base::tidegate::policy::host_directory::lookup;
}

/// Counters of the plugin's own. Needs the grant `metrics`.
pub mod metrics {
    pub use crate::bindings::base::tidegate::policy::host_metrics::add;
}

/// The gateway's log. Needs the grant `log`.
pub mod log {
    use crate::bindings::base::tidegate::policy::host_log::{Level, log};

    /// Detail for developers.
    pub fn debug(message: &str) {
        log(Level::Debug, message);
    }

    /// Normal events.
    pub fn info(message: &str) {
        log(Level::Info, message);
    }

    /// Something is odd and the policy copes.
    pub fn warn(message: &str) {
        log(Level::Warn, message);
    }

    /// Something is wrong.
    pub fn error(message: &str) {
        log(Level::Error, message);
    }
}
