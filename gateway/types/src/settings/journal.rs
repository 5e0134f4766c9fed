//! `[journal]`

use std::{path::PathBuf, time::Duration};

/// What an acknowledgement of a write-behind collection survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DurabilityClass {
    /// The end of the process and of the machine's power: it is on this machine's disk. Not the loss of the disk.
    Local,
}

impl DurabilityClass {
    /// The name used in configuration and in `Tidegate-Durability`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
        }
    }
}

/// `[journal]`: where write-behind collections keep what was acknowledged and is not on its shard yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// What an acknowledgement survives.
    pub class: DurabilityClass,
    /// The folder of its segments; one gateway at a time.
    pub dir: PathBuf,
    /// Bytes of its segments. Default 4 GiB.
    pub max_bytes: u64,
    /// Bytes of acknowledged rows in memory that are not on their shard yet. Default 256 MiB.
    pub max_dirty_bytes: u64,
    /// Age of the oldest of them at which writes are slowed down; at twice that they are refused. Default 60 s.
    pub max_age: Duration,
    /// How long a repeated `Idempotency-Key` is recognised. Default 10 min.
    pub idempotency_window: Duration,
    /// `Idempotency-Key`s remembered. Default 1000000.
    pub max_idempotency_keys: usize,
}
