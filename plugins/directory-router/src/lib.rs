//! Places rows where a table of the operator's says: a directory of tenants or of shard keys, of
//! which the gateway keeps a copy. Needs the grant `directory`.
//!
//! ```toml
//! [policies.directories.tenants]                       # which table: see the gateway's CONFIG.md
//!
//! [policies.route.config]
//! directory = "tenants"
//! key = "tenant"                                       # or "shard-key": what is looked up
//! default = "a"                                        # for keys it does not list; without it they are refused
//! ```
//!
//! The directory's values are names of shards. Once a key that the directory did not list has rows on
//! the default shard, listing it elsewhere means moving them.

use serde::Deserialize;
use tidegate_policy_sdk::{
    ErrorCode, Input, Policy, PolicyError, Request, Router, Targets, config, directory, export_policy, topology,
};

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Key {
    ShardKey,
    Tenant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryRouter {
    directory: String,
    key: Key,
    default: Option<String>,
}

/// Positions of the declared inputs.
const SHARD_KEY: usize = 0;
const TENANT: usize = 1;

impl Policy for DirectoryRouter {
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "directory": {"type": "string", "minLength": 1},
            "key": {"enum": ["shard-key", "tenant"]},
            "default": {"type": "string"}
        },
        "required": ["directory", "key"],
        "additionalProperties": false
    }"#;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let router: Self = config::parse(json)?;
        if let Some(name) = &router.default {
            topology::shard_named(name)
                .ok_or_else(|| PolicyError::config(format!("config: default: no shard {name:?}")))?;
        }
        Ok(router)
    }

    /// A request without a key goes everywhere, or is refused where the tenant is the key.
    fn self_test(&self) -> Result<u32, PolicyError> {
        match (self.key, self.route(&Request::read([None, None]))) {
            (Key::ShardKey, Ok(Targets::AllOfTenant))
            | (Key::Tenant, Err(PolicyError { code: ErrorCode::NoMatch, .. })) => Ok(1),
            _ => Err(PolicyError::config("a request without a key was sent somewhere")),
        }
    }
}

impl Router for DirectoryRouter {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey, Input::Tenant]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        let shard = match self.key {
            Key::ShardKey => match request.input(SHARD_KEY) {
                Some(key) => self.shard(key)?,
                None => return Ok(Targets::AllOfTenant),
            },
            Key::Tenant => {
                self.shard(request.input(TENANT).ok_or_else(|| PolicyError::no_match("the request has no tenant"))?)?
            }
        };
        Ok(Targets::Shards(vec![shard]))
    }
}

impl DirectoryRouter {
    fn shard(&self, key: &str) -> Result<u32, PolicyError> {
        let listed = directory::lookup(&self.directory, key);
        let name = listed.or_else(|| self.default.clone()).ok_or_else(|| {
            PolicyError::no_match(format!("the directory {:?} does not list {key:?}", self.directory))
        })?;
        topology::shard_named(&name).ok_or_else(|| {
            PolicyError::config(format!("the directory {:?} puts {key:?} on {name:?}, no shard", self.directory))
        })
    }
}

export_policy!(DirectoryRouter: Router);
