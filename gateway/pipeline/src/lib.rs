//! The pipelines: the only crate that joins cache, store and policy.
//!
//! # Layout
//! - [`gateway`]: the handle the HTTP front and the admin API hold
//! - [`mod@route`]: which shards a request goes to
//! - [`mod@read`]: keyed reads and lists
//! - [`mod@write`]: writes, and the order that keeps the cache right: statements, floors, COMMIT, reply
//! - [`touch`]: which buckets a write raises

pub mod gateway;
pub mod metrics;
pub mod read;
pub mod route;
pub mod touch;
pub mod write;

pub use gateway::{Gateway, GatewayParts};
