//! The policy host: WebAssembly components that decide which shards a request goes to.
//!
//! # Layout
//! A request: [`host`] (the handle) -> `plugin` (the generation in use, the fallback) ->
//! `generation` -> `inputs` (what the plugin declared) -> `memo` (earlier answers) ->
//! `pool` (warm instances) -> `guest` (one call, its deadline, its failure).
//!
//! A new file: `watch` -> `plugin` -> `loader` (bytes to generation, on `engine` and `bindings`) ->
//! [`guard`] (existing keys must stay where they are) -> swap.
//!
//! What lasts of it: [`vault`] (plugins' bytes, what is in use, compiled code), [`recording`] (decisions, for
//! replays). Who made a plugin: [`signature`].
//!
//! What is seen of it: [`status`], [`metrics`], `stats`; [`error`] says what to change.
//!
//! This crate never sees hyper or PostgreSQL.

mod bindings;
mod engine;
pub mod error;
mod generation;
pub mod guard;
mod guest;
pub mod host;
mod inputs;
mod loader;
mod memo;
pub mod metrics;
mod plugin;
mod pool;
pub mod recording;
pub mod signature;
mod stats;
pub mod status;
pub mod vault;
mod watch;

pub use error::PolicyError;
pub use guard::{PlacedKey, Placement, PlacementProbe};
pub use host::{PolicyHost, RouteQuery};
pub use plugin::Reload;
pub use status::PluginStatus;
