//! Pure data shared by every layer of Tidegate. No I/O, no clocks, no locks.
//!
//! # Layout
//! - [`epoch`]: when xids stop being comparable
//! - [`key`]: typed row keys whose equality is SQL equality
//! - [`collection`]: a REST collection resolved against the catalog
//! - [`track`]: columns by whose values lists are told apart
//! - [`member`]: gateways in front of the same shards
//! - [`mutation`]: what was acknowledged before its shard has it
//! - [`snapshot`], [`floor`], [`bucket`]: the freshness rule (ARCHITECTURE.md, "Freshness")
//! - [`standby`]: the same rule for what is read on standbys
//! - [`query`]: the REST dialect as a tree, before it meets SQL
//! - [`mod@normal`]: one form for list queries that mean the same
//! - [`request`], [`answer`]: what the HTTP front asks of the pipelines and what it gets back
//! - [`route`]: shards, placement, what a routing policy answers
//! - [`policy`]: what policies decide about a request, bounded
//! - [`tenant`]: whose requests there are, and the shards their rows may be on
//! - [`settings`]: validated configuration
//! - [`problem`]: the error a client sees

pub mod answer;
pub mod bucket;
pub mod collection;
pub mod epoch;
pub mod floor;
pub mod key;
pub mod member;
pub mod mutation;
pub mod normal;
pub mod policy;
pub mod problem;
pub mod purge;
pub mod query;
pub mod request;
pub mod route;
pub mod settings;
pub mod snapshot;
pub mod standby;
pub mod tenant;
pub mod track;
