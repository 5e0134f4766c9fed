//! A simulation of gateways in front of PostgreSQL: the real cache against a model of the database, by seed.
//!
//! # Layout
//! - [`executor`]: the seeded scheduler: time, tasks, nodes that pause and crash
//! - [`trace`]: what happened, as a hash and in words
//! - [`postgres`], [`session`]: a shard's primary, and connections to it
//! - [`network`]: messages between gateways
//! - [`gateway`], [`identity`], [`mod@write`], [`lease`]: a gateway process around the real cache
//! - [`shared`]: the shared tier
//! - [`standby`]: reads on a standby that lags
//! - [`shape`], [`world`]: what a seed's world is like, and a run of it
//! - [`judge`]: whether what clients saw was allowed
//! - [`bugs`]: deliberate errors that the simulation must find
//!
//! A run is its seed: [`run`] twice with the same [`Plan`] gives the same [`trace::Trace::hash`].

pub mod bugs;
pub mod executor;
pub mod gateway;
pub mod identity;
pub mod judge;
pub mod lease;
pub mod network;
pub mod postgres;
pub mod session;
pub mod shape;
pub mod shared;
pub mod standby;
pub mod trace;
pub mod world;
pub mod write;

pub use bugs::Bug;
pub use shape::{Disasters, Focus, Shape};
pub use trace::Trace;
pub use world::{Plan, Report, run, run_in};
