//! The REST dialect: from a request to the trees of `tidegate_types::query`.
//!
//! [`call`] is the entrance; every other module parses one part of a request. What cannot be parsed
//! is a 400 that names the part ([`problems`]).

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod column;
pub(crate) mod condition;
mod cursor;
pub(crate) mod filter;
pub(crate) mod idempotency;
pub(crate) mod key;
pub(crate) mod logic;
mod order;
pub(crate) mod params;
pub(crate) mod prefer;
pub(crate) mod problems;
mod range;
mod select;
pub(crate) mod text;

#[cfg(test)]
mod corpus;
