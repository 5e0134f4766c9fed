//! Rows as PostgreSQL would render them, without asking it: may a row be acknowledged before its shard has it, and what
//! would a read of it answer (ADR 0015)?
//!
//! # Layout
//! - [`ImagePlan`]: what the catalog says of a collection's columns, or why it cannot be planned ([`Unfit`])
//! - [`Sent`]: a row as a client sent it
//! - `rows`: images of PUT, PATCH and POST
//! - `kind`: the types there are; `number`, `time`, `text`, `json`: what PostgreSQL makes of their input
//! - `default`: defaults that are constants
//! - `check`: CHECKs that can be evaluated for certain
//! - [`project()`]: parts of an image
//!
//! # Invariants
//! - What PostgreSQL would refuse by type, length, range, NOT NULL or label is refused, with its SQLSTATE.
//! - What is accepted is rendered with the bytes that PostgreSQL would render. A form of which that is not certain is
//!   refused, and the refusal says which form to send.
//! - A CHECK that is not understood is left to the shard.

mod check;
mod default;
mod json;
mod kind;
mod number;
mod plan;
mod project;
mod rows;
mod sent;
mod text;
mod time;
mod wrong;

pub use plan::{ImagePlan, Unfit, UnfitReason};
pub use project::project;
pub use sent::Sent;
