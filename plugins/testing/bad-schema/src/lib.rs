//! Its schema of the configuration is JSON, and no JSON Schema: there is no type `objekt`.

use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, export_policy};

struct BadSchema;

impl Policy for BadSchema {
    const CONFIG_SCHEMA: &'static str = r#"{"type": "objekt"}"#;

    fn configure(_: &str) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Router for BadSchema {
    fn inputs() -> Vec<Input> {
        Vec::new()
    }

    fn route(&self, _: &Request) -> Result<Targets, PolicyError> {
        Ok(Targets::AllOfTenant)
    }
}

export_policy!(BadSchema: Router);
