//! A trait for the plugin, and one for each hook.

use crate::{Action, Classification, Decision, Input, PolicyError, Request, RowChange, Targets};

/// A plugin: what the operator's configuration makes of it. Implement the traits of its hooks
/// besides, and name them in [`export_policy!`](crate::export_policy).
///
/// Answers must depend only on what the hook is asked and on the configuration: the gateway
/// remembers them, and runs several instances at once.
pub trait Policy: Sized + 'static {
    /// A JSON Schema (draft 2020-12) of the configuration. With one, the gateway reports mistakes by
    /// their place before it calls [`Policy::configure`]. Empty: none.
    const CONFIG_SCHEMA: &'static str = "";

    /// Makes the policy from the operator's `config`, as JSON text (`{}` where there is none). See
    /// [`config`](crate::config).
    ///
    /// # Errors
    /// The configuration is wrong: the gateway refuses this version and logs the detail.
    fn configure(config: &str) -> Result<Self, PolicyError>;

    /// Checks the configured policy when it is loaded; returns how many cases were checked.
    ///
    /// # Errors
    /// A case failed: the gateway refuses this version.
    fn self_test(&self) -> Result<u32, PolicyError> {
        Ok(0)
    }
}

/// Says whose a request is.
pub trait Classifier: Policy {
    /// What [`Classifier::classify`] wants to see, in this order.
    fn inputs() -> Vec<Input>;

    /// Those inputs whose values must not appear in logs, recordings or samples.
    fn secret() -> Vec<Input> {
        Vec::new()
    }

    /// Classifies a request.
    ///
    /// # Errors
    /// Nobody's: the request is refused.
    fn classify(&self, request: &Request) -> Result<Classification, PolicyError>;
}

/// Says where rows are.
pub trait Router: Policy {
    /// What [`Router::route`] wants to see, in this order.
    fn inputs() -> Vec<Input>;

    /// Those inputs whose values must not appear in logs, recordings or samples.
    fn secret() -> Vec<Input> {
        Vec::new()
    }

    /// Decides where a request goes. The shard of a row must be the same for reads and writes.
    ///
    /// # Errors
    /// The policy has no answer: writes fail, reads take the operator's fallback.
    fn route(&self, request: &Request) -> Result<Targets, PolicyError>;
}

/// Says how answers are kept.
pub trait CachePolicy: Policy {
    /// What [`CachePolicy::decide`] wants to see, in this order.
    fn inputs() -> Vec<Input>;

    /// Those inputs whose values must not appear in logs, recordings or samples.
    fn secret() -> Vec<Input> {
        Vec::new()
    }

    /// Decides how the answer of a read is kept.
    ///
    /// # Errors
    /// The policy has no answer: the cache is bypassed for the request.
    fn decide(&self, request: &Request) -> Result<Decision, PolicyError>;
}

/// Says what else a change makes outdated.
pub trait Invalidator: Policy {
    /// The columns that [`Invalidator::invalidate`] wants to see, in this order: only
    /// [`Input::column`].
    fn inputs() -> Vec<Input>;

    /// Those columns whose values must not appear in logs, recordings or samples.
    fn secret() -> Vec<Input> {
        Vec::new()
    }

    /// Decides what to purge for the rows one transaction of this tenant changed.
    ///
    /// # Errors
    /// The policy has no answer: everything it might have meant is purged.
    fn invalidate(&self, tenant: u32, class: u32, changes: &[RowChange]) -> Result<Vec<Action>, PolicyError>;
}
