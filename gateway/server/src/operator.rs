//! The gateway as the admin listener shows and steers it.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_admin::{
    Control,
    control::{Age, Decision, Letter, Order, Outcome, Refused, Step, Upload, Why},
};
use tidegate_pipeline::{
    Gateway,
    behind::{self, OrderError},
};
use tidegate_policy::{ControlError, ControlErrorKind, PluginReport};
use tidegate_types::purge::{PurgeError, PurgeTarget, Purged, Softened, Softness};

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

    fn members(&self) -> Vec<Value> {
        self.gateway.cluster().map(|cluster| cluster.members().iter().map(shown).collect()).unwrap_or_default()
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

    fn purge(&self, targets: Vec<PurgeTarget>, softness: Softness, _: Order) -> BoxFuture<'static, Outcome> {
        let gateway = self.gateway.clone();
        async move {
            match gateway.purge(&targets, softness).await {
                Ok(Purged { buckets, gateways, softened: None }) => {
                    Ok(json!({ "buckets": buckets, "gateways": gateways }))
                }
                Ok(Purged { buckets, gateways, softened: Some(Softened { soft, hard }) }) => {
                    Ok(json!({ "buckets": buckets, "gateways": gateways, "soft": soft, "hard": hard }))
                }
                Err(error) => Err(not_purged(&error)),
            }
        }
        .boxed()
    }

    fn journal(&self) -> BoxFuture<'static, Option<Value>> {
        let gateway = self.gateway.clone();
        async move { gateway.journal().await.as_ref().map(shown) }.boxed()
    }

    fn decide(&self, letter: Letter, decision: Decision, _: Order) -> BoxFuture<'static, Outcome> {
        let gateway = self.gateway.clone();
        let decision = match decision {
            Decision::Requeue => behind::Decision::Requeue,
            Decision::Discard => behind::Decision::Discard,
        };
        async move {
            let decided = gateway.decide(&letter.shard, letter.sequence, decision).await;
            decided.map(|sequences| json!({ "shard": letter.shard, "sequences": sequences })).map_err(undecided)
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

fn undecided(error: OrderError) -> Refused {
    let (why, hint) = match &error {
        OrderError::NoJournal | OrderError::UnknownShard(_) | OrderError::NoLetter(_) => {
            (Why::NoLetter, "GET /admin/journal lists what there is.")
        }
        OrderError::StillDead { .. } => (Why::StillDead, "Mend what it refers to or violates first, or discard it."),
        OrderError::Unavailable(_) => (Why::ShardDown, "Repeat it; GET /admin/journal says what became of it."),
    };
    Refused { why, message: error.to_string(), details: None, hint: Some(hint.to_owned()) }
}

fn not_purged(error: &PurgeError) -> Refused {
    let (why, hint) = match error {
        PurgeError::Unheard(_) => (Why::Unheard, "Repeat it; it is safe to."),
        PurgeError::UnknownCollection(_)
        | PurgeError::UnknownTenant(_)
        | PurgeError::BadKey { .. }
        | PurgeError::BadQuery { .. } => (
            Why::Invalid,
            "Nothing was purged. Names are those of the configuration, keys those of paths, queries those of lists.",
        ),
    };
    Refused { why, message: error.to_string(), details: None, hint: Some(hint.to_owned()) }
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
