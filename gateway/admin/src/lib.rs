//! The operator's listener: liveness, readiness, metrics, what policies, shards and pools are doing,
//! and orders: new versions of policies, another configuration. It has its own address, answers while
//! the public one starts and drains, and never waits for a shard to show something.
//!
//! # Layout
//! - [`state`]: what the process is doing; the server moves it, this listener shows it
//! - [`control`]: what is shown and ordered; the server implements it
//! - [`server`]: the listener and its limits
//! - `routes`: every path, in one match
//! - `access`: who may see `/admin/*`; `origin`: why no web page can give orders
//! - `orders`: what an order says, and carrying it out; `body`: its body
//! - `reply`: bodies, and errors in the gateway's one shape; `console`: the page at `/`

mod access;
mod body;
mod console;
pub mod control;
mod letter;
mod orders;
mod origin;
mod purge;
mod reply;
mod routes;
pub mod server;
pub mod state;

#[cfg(test)]
mod tests;

pub use control::Control;
pub use server::{AdminError, Server};
pub use state::{AdminState, Phase};
