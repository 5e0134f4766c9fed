//! The cache: entries, floors and flights. Knows shards, snapshots and buckets; never sees SQL.
//!
//! # Layout
//! - [`floors`]: the floor table of a shard, the only judge of what may be served
//! - [`entry`]: what is kept, and the key it is kept under
//! - [`l1`]: the byte-bounded map of entries
//! - [`late`]: rows after their time
//! - [`flights`]: one fetch per key, decided at delivery
//! - [`lists`]: lists, kept beside the rows by the same rule
//! - [`mod@peek`]: what the tiers would serve, for whoever compares them with the shards
//! - [`tier`]: the shared tier behind it, untrusted; [`l2`]: how what comes from it is judged
//! - `purges`: what is forgotten without a transaction, softly
//! - `tenants`: what was purged of tenants
//! - [`cache`]: all joined: [`Cache::get`], [`Cache::fetch`], [`Cache::raise`], [`Cache::void`]
//!
//! # Invariant
//! An entry is served only if no floor of a bucket it depends on rose since its snapshot was
//! checked against it, in the same epoch. The check is made in the request itself.

#[cfg(feature = "bug-bank")]
pub mod bugs;
pub mod cache;
pub mod entry;
pub mod flights;
pub mod floors;
pub mod l1;
pub mod l2;
mod landed;
pub mod late;
pub mod lists;
pub mod metrics;
pub mod peek;
mod purges;
mod tenants;
pub mod tier;

pub use cache::{Cache, FillPlan, Holding, Served, Validity};
pub use entry::{EntryKey, Fetched};
pub use floors::{Raised, Voids};
pub use l2::L2;
pub use late::Grace;
pub use lists::{FetchedList, FetchedPart, ListKey, ListPlan, ServedList};
pub use peek::Peeked;
