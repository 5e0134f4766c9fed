//! Gateways that know each other, over real connections: a table in memory, floors that are only remembered.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not recognised as tests")]

mod faults;
mod floors;
mod world;
