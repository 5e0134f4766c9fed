//! The policy host: WebAssembly components that decide which shards a request goes to.
//!
//! # Layout
//! - [`host`]: the handle the pipelines call, and what it answers when a policy fails
//! - [`guard`]: refuses a version that would look for existing rows on other shards
//! - [`status`]: what the admin API shows
//! - [`error`]: why a call or a version was refused
//! - [`metrics`]: names of what is counted
//!
//! This crate never sees hyper or PostgreSQL.

pub mod error;
pub mod guard;
pub mod host;
pub mod metrics;
pub mod status;

pub use error::PolicyError;
pub use guard::{PlacedKey, PlacementProbe};
pub use host::{PolicyHost, RouteQuery};
pub use status::PluginStatus;
