//! The operator's listener: liveness, readiness, metrics, and what policies, shards and pools are
//! doing. It has its own address, answers while the public one starts and drains, and never waits
//! for a shard.
//!
//! # Layout
//! - [`state`]: what the process is doing; the server moves it, this listener shows it
//! - [`server`]: the listener and its limits
//! - `routes`: every path, in one match
//! - `access`: who may see `/admin/*`
//! - `reply`: bodies, and errors in the gateway's one shape

mod access;
mod reply;
mod routes;
pub mod server;
pub mod state;

#[cfg(test)]
mod tests;

pub use server::{AdminError, Server};
pub use state::{AdminState, Phase};
