//! The store against real PostgreSQL servers.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not recognised as tests")]

mod catalog;
mod directories;
mod faults;
mod images;
mod lists;
mod pools;
mod reads;
mod world;
mod writes;
