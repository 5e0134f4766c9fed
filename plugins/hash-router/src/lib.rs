//! Places rows by the hash of their shard key, exactly as the gateway does without a policy:
//! swapping one for the other moves no row. A starting point for policies of your own.

use tidegate_policy_sdk::{Input, PolicyError, Request, Router, Targets, export_router, topology};

struct HashRouter;

impl Router for HashRouter {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn configure(config: &str) -> Result<Self, PolicyError> {
        match config.trim() {
            "{}" | "null" | "" => Ok(Self),
            _ => Err(PolicyError::config("hash-router takes no configuration: remove `config`")),
        }
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        Ok(match request.input(0) {
            Some(shard_key) => Targets::Hash(topology::hash_key(shard_key)),
            None => Targets::AllOfTenant,
        })
    }

    fn self_test(&self) -> Result<u32, PolicyError> {
        let cases = ["", "1", "42", "a\u{1f}b"];
        for case in cases {
            if topology::shard_for_hash(topology::hash_key(case)) >= topology::shard_count() {
                return Err(PolicyError::config("the gateway placed a key on a shard that does not exist"));
            }
        }
        Ok(cases.len() as u32)
    }
}

export_router!(HashRouter);
