//! The freshness rule of one gateway, driven against a small model of PostgreSQL's transactions.

mod interleavings;
mod purges;
mod random_walk;
mod support;
