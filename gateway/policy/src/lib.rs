//! The policy host: WebAssembly components that decide whose a request is, where it goes, how its answer is
//! kept, and what a change makes outdated.
//!
//! # Layout
//! A request: [`host`] (the handle) -> [`set`] (the policies in use, held by a [`Session`]) -> `version` (one
//! plugin's answers to one [`hook`]) -> `inputs` (what it declared) -> `memo` (earlier answers) -> `pool` (warm
//! instances) -> `guest` (one call, its deadline, its failure) -> `verdict` (the answer, bounded).
//!
//! A new version: [`control`] -> `loader` (bytes to versions, on `engine`, `bindings`, `exports`, `description`) ->
//! [`guard`] (existing keys must stay where they are) -> another set.
//!
//! Beside the requests: `shadow` (a candidate compared), `recorder` (decisions written down), `recent` (keys for the
//! guard). For authors: [`offline`]. In words: [`question`], `phrase`.
//!
//! What lasts: [`vault`] (plugins' bytes, what is in use, compiled code), [`recording`] (decisions, for replays).
//! Who made a plugin: [`signature`].
//!
//! What is seen of it: [`control::report`], [`metrics`], `custom`, `stats`, `patience` (with a policy that runs out of time); [`error`] says what to change.
//!
//! This crate never sees hyper or PostgreSQL.

mod bindings;
pub mod control;
mod custom;
pub mod description;
mod engine;
pub mod error;
mod exports;
pub mod guard;
mod guest;
pub mod hook;
pub mod host;
mod inputs;
mod loader;
mod memo;
pub mod metrics;
pub mod offline;
mod patience;
mod phrase;
mod pool;
pub mod question;
mod recent;
mod recorder;
pub mod recording;
pub mod set;
mod shadow;
pub mod signature;
mod stats;
pub mod vault;
mod verdict;
mod version;
mod watch;

pub use bindings::WIT_VERSION;
pub use control::{
    DirectorySource,
    follow::Reload,
    orders::{Age, Order, Upload},
    refused::{ControlError, ControlErrorKind},
    report::{PluginReport, PluginState},
};
pub use error::PolicyError;
pub use guard::{PlacedKey, Placement, PlacementProbe, Stillness};
pub use hook::Hook;
pub use host::{Keeping, PolicyHost, Setup};
pub use set::{RouteQuery, Session};
