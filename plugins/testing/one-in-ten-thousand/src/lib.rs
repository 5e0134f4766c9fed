//! A hash router whose placement differs from the built-in one for one key in 10,000: whole numbers
//! that end in 4321 go to the shard after theirs. The placement guard must find it.

use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, config, export_policy, topology};

struct OneInTenThousand;

impl Policy for OneInTenThousand {
    fn configure(json: &str) -> Result<Self, PolicyError> {
        config::none(json).map(|()| Self)
    }
}

impl Router for OneInTenThousand {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        let Some(key) = request.input(0) else { return Ok(Targets::AllOfTenant) };
        let home = topology::shard_for_hash(topology::hash_key(key));
        Ok(Targets::Shards(vec![match key.parse::<i64>() {
            Ok(number) if number.rem_euclid(10_000) == 4321 => (home + 1) % topology::shard_count(),
            _ => home,
        }]))
    }
}

export_policy!(OneInTenThousand: Router);
