//! How long answers are kept, by the class of who asks and by collection; some classes see the
//! database itself.
//!
//! ```toml
//! [policies.cache-policy.config]
//! ttl_ms = { free = 60000, enterprise = 5000 }         # by class
//! default_ttl_ms = 30000                               # other classes; without it: the collection's `ttl`
//! bypass_classes = ["admin"]                           # nothing is kept for these
//!
//! [policies.cache-policy.config.collections.prices]    # goes before what stands above
//! ttl_ms = { free = 10000 }
//! default_ttl_ms = 1000
//! ```
//!
//! Times only shorten the collection's `ttl`; longer ones have no effect.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_policy_sdk::{CachePolicy, Decision, Input, Mode, Policy, PolicyError, Request, config, export_policy};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TtlPolicy {
    #[serde(default)]
    ttl_ms: BTreeMap<String, u32>,
    default_ttl_ms: Option<u32>,
    #[serde(default)]
    bypass_classes: Vec<String>,
    #[serde(default)]
    collections: BTreeMap<String, Times>,
}

/// What holds for one collection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    #[serde(default)]
    ttl_ms: BTreeMap<String, u32>,
    default_ttl_ms: Option<u32>,
}

/// Positions of the declared inputs.
const CLASS: usize = 0;
const COLLECTION: usize = 1;

impl Policy for TtlPolicy {
    const CONFIG_SCHEMA: &'static str = r##"{
        "type": "object",
        "properties": {
            "ttl_ms": {"$ref": "#/$defs/by_class"},
            "default_ttl_ms": {"$ref": "#/$defs/time"},
            "bypass_classes": {"type": "array", "items": {"type": "string"}},
            "collections": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "ttl_ms": {"$ref": "#/$defs/by_class"},
                        "default_ttl_ms": {"$ref": "#/$defs/time"}
                    },
                    "additionalProperties": false
                }
            }
        },
        "additionalProperties": false,
        "$defs": {
            "time": {"type": "integer", "minimum": 0, "maximum": 4294967295},
            "by_class": {"type": "object", "additionalProperties": {"$ref": "#/$defs/time"}}
        }
    }"##;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let policy: Self = config::parse(json)?;
        let has_time = |class: &String| {
            policy.ttl_ms.contains_key(class) || policy.collections.values().any(|of| of.ttl_ms.contains_key(class))
        };
        match policy.bypass_classes.iter().find(|class| has_time(class)) {
            Some(class) => Err(PolicyError::config(format!(
                "config: the class {class:?} has a time, and is in bypass_classes: remove one"
            ))),
            None => Ok(policy),
        }
    }

    /// Classes that see the database itself do so in every collection.
    fn self_test(&self) -> Result<u32, PolicyError> {
        for class in &self.bypass_classes {
            for collection in self.collections.keys().map(|name| Some(name.as_str())).chain([None]) {
                if self.decide(&Request::read([Some(class.as_str()), collection]))?.mode != Mode::Bypass {
                    return Err(PolicyError::config(format!("the class {class:?} would get answers that are kept")));
                }
            }
        }
        Ok((self.bypass_classes.len() * (self.collections.len() + 1)) as u32)
    }
}

impl CachePolicy for TtlPolicy {
    fn inputs() -> Vec<Input> {
        vec![Input::Class, Input::Collection]
    }

    fn decide(&self, request: &Request) -> Result<Decision, PolicyError> {
        let class = request.input(CLASS);
        if class.is_some_and(|class| self.bypass_classes.iter().any(|of| of == class)) {
            return Ok(Decision::bypass());
        }
        let by_class = |ttls: &BTreeMap<String, u32>| class.and_then(|class| ttls.get(class).copied());
        let own = request.input(COLLECTION).and_then(|collection| self.collections.get(collection));
        let own = own.and_then(|times| by_class(&times.ttl_ms).or(times.default_ttl_ms));
        let ttl_ms = own.or_else(|| by_class(&self.ttl_ms)).or(self.default_ttl_ms);
        Ok(Decision { ttl_ms, ..Decision::as_configured() })
    }
}

export_policy!(TtlPolicy: CachePolicy);
