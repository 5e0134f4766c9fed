//! Tidegate policies in Rust: implement [`Policy`] and the traits of the hooks you want, name them
//! in [`export_policy!`], build for `wasm32-unknown-unknown`. The README has a complete policy.
//!
//! | trait | the question it answers |
//! |---|---|
//! | [`Classifier`] | whose request is this? |
//! | [`Router`] | which shards does it go to? |
//! | [`CachePolicy`] | how long may the answer be kept, under which tags? |
//! | [`Invalidator`] | what else does this change make outdated? |
//!
//! Layout
//! - `bindings`: what `wit-bindgen` makes of the WIT package
//! - `hooks`: the traits
//! - `values`: constructors and accessors of questions and answers
//! - `config`: from the operator's JSON to a type of yours
//! - `host`: the gateway's functions: [`topology`], [`directory`], [`log`], [`metrics`]
//! - `export`: [`export_policy!`]

pub mod bindings;
pub mod config;

mod export;
mod hooks;
mod host;
mod values;

pub use bindings::base::exports::tidegate::policy::lifecycle::Input;
pub use bindings::base::tidegate::policy::types::{ErrorCode, Op, PolicyError, Request};
pub use bindings::cache_policy::exports::tidegate::policy::cache_policy::{Decision, Mode};
pub use bindings::classify::exports::tidegate::policy::classify::Classification;
pub use bindings::invalidate::exports::tidegate::policy::invalidate::{
    Action, Kind, QueryRef, RowChange, RowRef, Target, Verb,
};
pub use bindings::route::exports::tidegate::policy::route::Targets;
#[doc(hidden)]
pub use export::hook_inputs as __hook_inputs;
pub use hooks::{CachePolicy, Classifier, Invalidator, Policy, Router};
pub use host::{directory, log, metrics, topology};
