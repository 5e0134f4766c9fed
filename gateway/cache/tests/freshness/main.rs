//! The freshness rule of one gateway, driven against a small model of PostgreSQL's transactions.

mod interleavings;
mod list_walk;
mod lists;
mod named;
mod peeks;
mod purges;
mod random_walk;
mod shared;
mod support;
