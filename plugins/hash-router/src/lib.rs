//! Places rows by the hash of their shard key, exactly as the gateway does without a policy:
//! swapping one for the other moves no row. A starting point for policies of your own.
//!
//! With `{"buckets": N}` keys are put into N buckets first, and buckets onto shards: a shard that is
//! added takes whole buckets, 1/n of them, so that rows move bucket by bucket.

use serde::Deserialize;
use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, config, export_policy, topology};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashRouter {
    buckets: Option<u64>,
}

impl Policy for HashRouter {
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {"buckets": {"type": "integer", "minimum": 1, "maximum": 65536}},
        "additionalProperties": false
    }"#;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let router: Self = config::parse(json)?;
        match router.buckets {
            Some(0 | 65537..) => Err(PolicyError::config("config: buckets must be 1 to 65536")),
            _ => Ok(router),
        }
    }

    fn self_test(&self) -> Result<u32, PolicyError> {
        let cases = ["", "1", "42", "a\u{1f}b"];
        for case in cases {
            if topology::shard_for_hash(self.hash(case)) >= topology::shard_count() {
                return Err(PolicyError::config("the gateway placed a key on a shard that does not exist"));
            }
        }
        Ok(cases.len() as u32)
    }
}

impl Router for HashRouter {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        Ok(match request.input(0) {
            Some(shard_key) => Targets::Hash(self.hash(shard_key)),
            None => Targets::AllOfTenant,
        })
    }
}

impl HashRouter {
    fn hash(&self, shard_key: &str) -> u64 {
        let hash = topology::hash_key(shard_key);
        match self.buckets {
            Some(buckets) => topology::hash_key(&(hash % buckets).to_string()),
            None => hash,
        }
    }
}

export_policy!(HashRouter: Router);
