//! What the listener shows and steers. The server implements it over the gateway.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tidegate_types::{
    purge::{PurgeTarget, Softness},
    settings::Moves,
};

/// What an order comes to: its report as JSON, or why nothing changed.
pub type Outcome = Result<Value, Refused>;

/// The gateway as its operators see it.
///
/// What shows something is in memory and does not wait. Orders may take as long as compiling a large
/// plugin takes; they run to their end whether or not anybody waits for them.
pub trait Control: Send + Sync + 'static {
    /// Every shard: an object with `name` and `pools`, each of these with `class`.
    fn shards(&self) -> Vec<Value>;

    /// The gateways in front of each shard: an object with `shard` and `id` for each. None where there is only one.
    fn members(&self) -> Vec<Value>;

    /// The number of the policy set in use.
    fn generation(&self) -> u64;

    /// Every plugin: an object with `name`.
    fn plugins(&self) -> Vec<Value>;

    /// One plugin, by the name that the configuration gives it.
    fn plugin(&self, name: &str) -> Option<Value>;

    /// The settings in effect. Holds no secrets.
    fn settings(&self) -> Value;

    /// Loads and proves a version, and keeps it ready.
    fn stage(&self, plugin: String, upload: Upload, order: Order) -> BoxFuture<'static, Outcome>;

    /// Moves a plugin's version a step forward or back.
    fn steer(&self, plugin: String, step: Step, order: Order) -> BoxFuture<'static, Outcome>;

    /// Forgets what is kept of these, on every gateway, before it answers.
    fn purge(&self, targets: Vec<PurgeTarget>, softness: Softness, order: Order) -> BoxFuture<'static, Outcome>;

    /// The journal of write-behind collections, and what its shards refuse; `None` without one. Asks the shards.
    fn journal(&self) -> BoxFuture<'static, Option<Value>>;

    /// Decides about an acknowledged write that its shard refuses, and all others of its row.
    fn decide(&self, letter: Letter, decision: Decision, order: Order) -> BoxFuture<'static, Outcome>;

    /// Reads the configuration again.
    fn reload(&self, order: Order) -> BoxFuture<'static, Outcome>;
}

/// An acknowledged write that its shard refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The shard's name.
    pub shard: String,
    /// Its place in the journal.
    pub sequence: u64,
}

/// What becomes of a dead letter and all others of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They are applied again.
    Requeue,
    /// They are forgotten.
    Discard,
}

/// A version to be staged.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// The module or component.
    pub wasm: Bytes,
    /// Its configuration, an object; `None`: the one of the configuration file.
    pub config: Option<Value>,
    /// The signature, as it was sent.
    pub signature: Option<String>,
    /// Whether it may be older than the version in use.
    pub age: Age,
}

/// Which versions may be staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// None that is older than one in use before.
    NotOlder,
    /// Older ones too (`force=true`).
    Any,
}

/// A step of a plugin's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the staged version beside the one in use, and compare.
    Shadow,
    /// Ask it for this part of the tenants.
    Canary {
        /// Of a hundred.
        percent: u8,
    },
    /// Take it into use.
    Promote,
    /// Use the version before.
    RollBack,
}

/// Who gives an order, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// As they call themselves, else their address.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether existing rows may be looked for on other shards. If so, there is a reason.
    pub moves: Moves,
}

/// Why an order changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Decides status and code.
    pub why: Why,
    /// What is wrong.
    pub message: String,
    /// Everything that is wrong, one a line, where that is more than the message.
    pub details: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Reasons why an order changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// No hook of the configuration names this plugin.
    UnknownPlugin,
    /// There is no staged version to take a step with.
    NothingStaged,
    /// There is no version to go back to.
    NothingBefore,
    /// The version cannot be used.
    Refused,
    /// It would look for existing rows on other shards.
    Moves,
    /// Its signature is missing or not one of a trusted key.
    Signature,
    /// It is older than the one in use.
    Downgrade,
    /// The order itself makes no sense.
    Invalid,
    /// What must survive a restart could not be written.
    Disk,
    /// The configuration file, or the databases it names, have mistakes.
    Configuration,
    /// There is no such dead letter.
    NoLetter,
    /// The database refuses the dead letter again.
    StillDead,
    /// A shard does not answer.
    ShardDown,
    /// It was carried out here, but not on every gateway.
    Unheard,
    /// The gateway is at fault.
    Internal,
}
