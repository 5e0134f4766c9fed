//! The journal's log: what a caller sees of it, what crashes leave of it, what it makes of damage.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not recognised as tests")]

mod appending;
mod arbitrary_logs;
mod crash_matrix;
mod damage;
mod log_model;
mod real_disk;
mod support;
