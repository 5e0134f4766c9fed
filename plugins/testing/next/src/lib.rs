//! The hash router again, with the same placement under another name and version: a swap to it is
//! visible to operators and to no client. It declares five inputs, the number that the cost of a call
//! is measured with.

use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, export_router, topology};

struct Next;

impl Policy for Next {
    fn configure(_: &str) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Router for Next {
    fn inputs() -> Vec<Input> {
        vec![
            Input::Method,
            Input::ShardKey,
            Input::Collection,
            Input::Header("X-Region".into()),
            Input::Query("region".into()),
        ]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        Ok(match request.input(1) {
            Some(shard_key) => Targets::Shards(vec![topology::shard_for_hash(topology::hash_key(shard_key))]),
            None => Targets::AllOfTenant,
        })
    }
}

export_router!(Next);
