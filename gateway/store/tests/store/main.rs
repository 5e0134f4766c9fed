//! The store against real PostgreSQL servers.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not recognised as tests")]

mod catalog;
mod directories;
mod faults;
mod feed;
mod flush;
mod guard;
mod images;
mod journal;
mod lists;
mod members;
mod pools;
mod reads;
mod standby;
mod values;
mod world;
mod writes;
