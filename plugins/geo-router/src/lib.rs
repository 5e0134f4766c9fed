//! Keeps rows in a region: that of the tenant, else that of the token. Within it, rows are placed by
//! the hash of their shard key.
//!
//! ```toml
//! [policies.route.config]
//! shards = { eu = ["eu-1", "eu-2"], us = ["us-1"] }    # every shard of these regions
//! tenants = { acme = "eu" }                            # for tenants without a home region
//! aliases = { europe = "eu", "eu-west" = "eu" }        # other names of regions
//! ```
//!
//! A request whose region is not known is refused, never guessed, and no answer leaves the region:
//! `shards` must agree with the regions of the gateway's shards. (They are repeated here because rows
//! are placed by the shards' names; so a shard elsewhere, or in another order, moves nothing, and
//! one more in the region takes its share of the keys.)

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, config, export_policy, topology};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    shards: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    tenants: BTreeMap<String, String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

struct GeoRouter {
    /// Names and numbers of the shards of each region.
    regions: BTreeMap<String, Vec<(String, u32)>>,
    tenants: BTreeMap<String, String>,
    aliases: BTreeMap<String, String>,
}

/// Positions of the declared inputs.
const SHARD_KEY: usize = 0;
const TENANT: usize = 1;
const REGION: usize = 2;
const CLAIM_REGION: usize = 3;

impl Policy for GeoRouter {
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "shards": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": true}
            },
            "tenants": {"type": "object", "additionalProperties": {"type": "string"}},
            "aliases": {"type": "object", "additionalProperties": {"type": "string"}}
        },
        "required": ["shards"],
        "additionalProperties": false
    }"#;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let Config { shards, tenants, aliases } = config::parse(json)?;
        if shards.is_empty() {
            return Err(PolicyError::config("config: shards names no region: every request would be refused"));
        }
        let mut regions = BTreeMap::new();
        for (region, names) in shards {
            let shards = shards_of(&region, names)
                .map_err(|detail| PolicyError::config(format!("config: shards.{region}: {detail}")))?;
            regions.insert(region, shards);
        }
        let router = Self { regions, tenants, aliases };
        for (what, names) in [("tenants", &router.tenants), ("aliases", &router.aliases)] {
            if let Some((name, region)) = names.iter().find(|(_, region)| router.shards(region).is_none()) {
                return Err(PolicyError::config(format!("config: {what}.{name}: {region:?} is no region of `shards`")));
            }
        }
        Ok(router)
    }

    /// A key stays in every region it is asked for.
    fn self_test(&self) -> Result<u32, PolicyError> {
        for (region, shards) in &self.regions {
            let at = shard_of("42", shards);
            if at.is_none_or(|at| !topology::shards_in_region(region).contains(&at)) {
                return Err(PolicyError::config(format!("a row of the region {region:?} would leave it")));
            }
        }
        Ok(self.regions.len() as u32)
    }
}

/// The shards of these names, if they are those of the region.
fn shards_of(region: &str, names: Vec<String>) -> Result<Vec<(String, u32)>, String> {
    let inside = topology::shards_in_region(region);
    let mut shards = Vec::with_capacity(names.len());
    for name in names {
        let shard = topology::shard_named(&name).ok_or_else(|| format!("no shard {name:?}"))?;
        if !inside.contains(&shard) {
            return Err(format!("the shard {name:?} is not in the region {region:?}"));
        }
        if shards.iter().any(|(_, listed)| *listed == shard) {
            return Err(format!("it names the shard {name:?} twice"));
        }
        shards.push((name, shard));
    }
    match inside.len() - shards.len() {
        0 => Ok(shards),
        missing => Err(format!("{missing} more of the gateway's shards are in this region: list them")),
    }
}

/// Rendezvous hashing: the shard that wins this key. It depends on the shards' names only.
fn shard_of(key: &str, shards: &[(String, u32)]) -> Option<u32> {
    let weight = |(name, _): &&(String, u32)| topology::hash_key(&format!("{name}\u{1f}{key}"));
    shards.iter().max_by_key(weight).map(|(_, shard)| *shard)
}

impl Router for GeoRouter {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey, Input::Tenant, Input::Region, Input::claim("region")]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        let configured = || self.tenants.get(request.input(TENANT)?).map(String::as_str);
        let region = request.input(REGION).or_else(configured).or(request.input(CLAIM_REGION));
        let region = region.ok_or_else(|| PolicyError::no_match("neither the tenant nor the token has a region"))?;
        let shards =
            self.shards(region).ok_or_else(|| PolicyError::no_match(format!("{region:?} is no region of `shards`")))?;
        let chosen = match request.input(SHARD_KEY) {
            Some(key) => shard_of(key, shards).into_iter().collect(),
            None => shards.iter().map(|(_, shard)| *shard).collect(),
        };
        Ok(Targets::Shards(chosen))
    }
}

impl GeoRouter {
    /// The shards of a region, by its name or an alias.
    fn shards(&self, region: &str) -> Option<&Vec<(String, u32)>> {
        self.regions.get(region).or_else(|| self.regions.get(self.aliases.get(region)?))
    }
}

export_policy!(GeoRouter: Router);
