//! The pipelines over real shards and real policies, without HTTP.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not recognised as tests")]

mod epochs;
mod policies;
mod replacement;
mod world;
