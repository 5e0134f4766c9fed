//! The HTTP front: hyper in, requests of `tidegate_types` out, answers back as responses.
//!
//! It never names a cache type or a shard's connection: everything goes through
//! [`Backend`], which is `tidegate_pipeline::Gateway`.
//!
//! # Layout
//! - [`server`]: the listener, connections, their limits, draining
//! - `router`: the whole public surface in one match
//! - `handler`: one request from head to response
//! - `parse`: the dialect, from text to trees; `limits`: bounds on heads and bodies
//! - [`dialect`]: the same for query strings that a purge names
//! - `response`: answers and problems as HTTP; `status`: the only map from problem to status
//! - `span`, [`metrics`]: what operators see

mod backend;
pub mod dialect;
mod drain;
mod handler;
mod limits;
pub mod metrics;
mod parse;
mod response;
mod router;
pub mod server;
mod span;
mod status;

#[cfg(test)]
mod fixture;

pub use backend::Backend;
pub use dialect::RestDialect;
pub use drain::{Drain, DrainPhase};
pub use server::{Server, ServerError};
