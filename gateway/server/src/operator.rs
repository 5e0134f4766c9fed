//! The gateway as the admin listener shows and steers it.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde_json::Value;
use tidegate_admin::{
    Control,
    control::{Age, Order, Outcome, Refused, Step, Upload, Why},
};
use tidegate_pipeline::Gateway;
use tidegate_policy::{ControlError, ControlErrorKind, PluginReport};

use crate::reload::{ReloadError, Reloader};

/// A gateway and its configuration.
pub(crate) struct Operator {
    pub(crate) gateway: Gateway,
    pub(crate) reloader: Arc<Reloader>,
}

impl Control for Operator {
    fn shards(&self) -> Vec<Value> {
        self.gateway.store().shards().iter().map(shown).collect()
    }

    fn generation(&self) -> u64 {
        self.gateway.policies().generation()
    }

    fn plugins(&self) -> Vec<Value> {
        self.gateway.policies().plugins().iter().map(shown).collect()
    }

    fn plugin(&self, name: &str) -> Option<Value> {
        self.gateway.policies().plugin(name).as_ref().map(shown)
    }

    fn settings(&self) -> Value {
        self.reloader.shown()
    }

    fn stage(&self, plugin: String, upload: Upload, order: Order) -> BoxFuture<'static, Outcome> {
        let policies = self.gateway.policies().clone();
        let upload = tidegate_policy::Upload {
            wasm: upload.wasm,
            config: upload.config,
            signature: upload.signature,
            age: match upload.age {
                Age::NotOlder => tidegate_policy::Age::NotOlder,
                Age::Any => tidegate_policy::Age::Any,
            },
        };
        async move { outcome(policies.stage(&plugin, upload, of(order)).await) }.boxed()
    }

    fn steer(&self, plugin: String, step: Step, order: Order) -> BoxFuture<'static, Outcome> {
        let policies = self.gateway.policies().clone();
        async move {
            let order = of(order);
            outcome(match step {
                Step::Shadow => policies.shadow(&plugin, order).await,
                Step::Canary { percent } => policies.canary(&plugin, percent, order).await,
                Step::Promote => policies.promote(&plugin, order).await,
                Step::RollBack => policies.rollback(&plugin, order).await,
            })
        }
        .boxed()
    }

    fn reload(&self, _: Order) -> BoxFuture<'static, Outcome> {
        let (reloader, policies) = (self.reloader.clone(), self.gateway.policies().clone());
        async move {
            match reloader.reload().await {
                Ok(reloaded) => {
                    reloaded.log();
                    Ok(reloaded.report(policies.generation()))
                }
                Err(error) => Err(not_reloaded(&error)),
            }
        }
        .boxed()
    }
}

fn shown(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn of(order: Order) -> tidegate_policy::Order {
    let Order { actor, reason, moves } = order;
    tidegate_policy::Order { actor, reason, moves }
}

fn outcome(done: Result<PluginReport, ControlError>) -> Outcome {
    match done {
        Ok(report) => Ok(shown(&report)),
        Err(ControlError { kind, message, hint }) => {
            Err(Refused { why: why(kind), message, details: None, hint: Some(hint) })
        }
    }
}

const fn why(kind: ControlErrorKind) -> Why {
    match kind {
        ControlErrorKind::UnknownPlugin => Why::UnknownPlugin,
        ControlErrorKind::NothingStaged => Why::NothingStaged,
        ControlErrorKind::NothingBefore => Why::NothingBefore,
        ControlErrorKind::Refused => Why::Refused,
        ControlErrorKind::Moves => Why::Moves,
        ControlErrorKind::Signature => Why::Signature,
        ControlErrorKind::Downgrade => Why::Downgrade,
        ControlErrorKind::Invalid => Why::Invalid,
        ControlErrorKind::Disk => Why::Disk,
    }
}

fn not_reloaded(error: &ReloadError) -> Refused {
    let why = match error {
        ReloadError::Stopped(_) => Why::Internal,
        _ => Why::Configuration,
    };
    let hint = match error {
        ReloadError::Config(_) | ReloadError::Mismatch(_) | ReloadError::Tenants(_) => {
            "Nothing changed. Correct the file; `tidegate check` tells the same without a reload."
        }
        ReloadError::NoShard(_) => "Nothing changed. Repeat it when a shard is back.",
        ReloadError::Policy(_) | ReloadError::Stopped(_) => "Nothing changed.",
    };
    Refused { why, message: error.headline(), details: error.details(), hint: Some(hint.to_owned()) }
}
