//! The body of `POST /admin/cache/purge`.

use serde::Deserialize;
use tidegate_types::purge::{MAX_TARGETS, PurgeTarget, Softness};

use crate::{control::Refused, reply};

/// What is to be forgotten. At least one thing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    queries: Vec<Query>,
    #[serde(default)]
    collections: Vec<String>,
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default)]
    everything: bool,
    #[serde(default)]
    soft: bool,
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    collection: String,
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tag {
    tenant: Option<String>,
    tag: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    tenant: Option<String>,
    collection: String,
    query: String,
}

impl Words {
    /// Reads them.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(body).map_err(|error| invalid(format!("The body cannot be taken: {error}")))
    }

    /// What may be done with them until they are fetched again.
    pub(crate) const fn softness(&self) -> Softness {
        if self.soft { Softness::Soft } else { Softness::Hard }
    }

    /// The targets, checked for number.
    pub(crate) fn targets(self) -> Result<Vec<PurgeTarget>, Refused> {
        let Self { keys, tags, queries, collections, tenants, everything, soft: _, reason: _ } = self;
        let keys = keys.into_iter().map(|Key { collection, key }| PurgeTarget::Row { collection, key });
        let tags = tags.into_iter().map(|Tag { tenant, tag }| PurgeTarget::Tag { tenant, tag });
        let queries = queries.into_iter().map(|Query { tenant, collection, query }| PurgeTarget::Query {
            tenant,
            collection,
            query,
        });
        let targets: Vec<PurgeTarget> = keys
            .chain(tags)
            .chain(queries)
            .chain(collections.into_iter().map(PurgeTarget::Collection))
            .chain(tenants.into_iter().map(PurgeTarget::Tenant))
            .chain(everything.then_some(PurgeTarget::Everything))
            .collect();
        match targets.len() {
            0 => Err(invalid("The body names nothing to purge".to_owned())),
            1..=MAX_TARGETS => Ok(targets),
            named => Err(invalid(format!("The body names {named} things, the most is {MAX_TARGETS}"))),
        }
    }
}

fn invalid(message: String) -> Refused {
    reply::invalid(
        message,
        "It is a JSON object of lists: keys of {\"collection\", \"key\"}, tags of {\"tenant\", \"tag\"}, queries of \
         {\"tenant\", \"collection\", \"query\"}, collections, tenants; or \"everything\": true. \"soft\": true and a reason may be in it.",
    )
}
