//! The cache: entries, floors and flights. Knows shards, snapshots and buckets; never sees SQL.
//!
//! # Layout
//! - [`floors`]: the floor table of a shard, the only judge of what may be served
//! - [`entry`]: what is kept, and the key it is kept under
//! - [`l1`]: the byte-bounded map of entries
//! - [`flights`]: one fetch per key, decided at delivery
//! - [`cache`]: the three joined: [`Cache::get`], [`Cache::fetch`], [`Cache::raise`], [`Cache::void`]
//!
//! # Invariant
//! An entry is served only if no floor of a bucket it depends on rose since its snapshot was
//! checked against it, in the same epoch. The check is made in the request itself.

pub mod cache;
pub mod entry;
pub mod flights;
pub mod floors;
pub mod l1;
pub mod metrics;

pub use cache::{Cache, FillPlan, Served};
pub use entry::{EntryKey, Fetched};
