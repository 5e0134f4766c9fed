//! A hash router whose placement differs from the built-in one: the placement guard must refuse it.

use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, export_router, topology};

struct Moves;

impl Policy for Moves {
    fn configure(_: &str) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Router for Moves {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        Ok(match request.input(0) {
            Some(shard_key) => Targets::Hash(topology::hash_key(shard_key).rotate_left(17)),
            None => Targets::AllOfTenant,
        })
    }
}

export_router!(Moves);
