//! The hash router as it was long ago, version 0.0.1: it must not replace a newer one unless the
//! operator forces it.

use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, config, export_policy, topology};

struct OldVersion;

impl Policy for OldVersion {
    fn configure(json: &str) -> Result<Self, PolicyError> {
        config::none(json).map(|()| Self)
    }
}

impl Router for OldVersion {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        Ok(request.input(0).map_or(Targets::AllOfTenant, |key| Targets::Hash(topology::hash_key(key))))
    }
}

export_policy!(OldVersion: Router);
