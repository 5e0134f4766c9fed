//! What a journal may take.

use std::{fmt, process, sync::Arc};

use crate::{
    error::{Fatal, OpenError},
    format::{MAX_PAYLOAD, RECORD_HEAD, SEGMENT_HEAD},
};

/// What is done when the disk fails. What it returns from, the journal is ended after: nothing is acknowledged any more.
pub type OnFatal = Arc<dyn Fn(&Fatal) + Send + Sync>;

/// Bounds of a journal.
#[derive(Clone)]
pub struct Settings {
    /// The size of a segment's file, taken in advance. From 4 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// What all segments may take, the one in reserve included. At least two segments.
    pub max_bytes: u64,
    /// What may wait for the disk, and so the largest record. At most half a segment less its head.
    pub max_queued_bytes: u64,
    /// What is done when the disk fails. In production: log and abort.
    pub fatal: OnFatal,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_bytes: 8 << 30,
            max_queued_bytes: 16 << 20,
            fatal: Arc::new(|fatal| {
                tracing::error!(error = %fatal.0.source, file = fatal.0.file, "{fatal}");
                process::abort();
            }),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("segment_bytes", &self.segment_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("max_queued_bytes", &self.max_queued_bytes)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The smallest and the largest segment.
    const SEGMENTS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if !Self::SEGMENTS.contains(&self.segment_bytes) {
            return Err(OpenError::Settings("a segment has from 4 KiB to 1 GiB"));
        }
        if self.max_bytes < 2 * self.segment_bytes {
            return Err(OpenError::Settings("the journal needs room for two segments"));
        }
        // A queue that fits into half a segment never waits for more than the segment in use and the one in reserve.
        if self.max_queued_bytes > self.segment_bytes / 2 - SEGMENT_HEAD as u64 {
            return Err(OpenError::Settings("what may wait for the disk is at most half a segment less 64 bytes"));
        }
        if self.max_queued_bytes < 2 * RECORD_HEAD as u64 {
            return Err(OpenError::Settings("at least 128 bytes must be able to wait for the disk"));
        }
        Ok(())
    }

    /// The largest record, its head included.
    pub(crate) fn max_record(&self) -> u64 {
        self.max_queued_bytes.min(MAX_PAYLOAD as u64 + RECORD_HEAD as u64)
    }
}
