//! Which shards a request goes to.

use tidegate_policy::RouteQuery;
use tidegate_types::{
    collection::Collection,
    policy::Who,
    problem::{Problem, ProblemKind, codes},
    query::ListQuery,
    request::{Facts, WriteAction, WriteRequest},
    route::{Access, Route, ShardId, ShardSet},
};

use crate::gateway::GatewayParts;

/// The shards for one shard key, or for a request that names none.
pub(crate) fn resolve(
    parts: &GatewayParts,
    facts: &Facts<'_>,
    collection: &Collection,
    access: Access,
    shard_key: Option<&str>,
) -> Result<Route, Problem> {
    let query = RouteQuery { facts, collection, access, shard_key };
    parts.policies.session().route(Who::SHARED, &query).map_err(|error| error.into_problem())
}

/// The shards a list asks: one where equality filters name the shard key.
pub(crate) fn list(
    parts: &GatewayParts,
    facts: &Facts<'_>,
    collection: &Collection,
    query: &ListQuery,
) -> Result<Route, Problem> {
    let shard_key = collection.shard_key_text_from(|column| query.equality(column));
    resolve(parts, facts, collection, Access::Read, shard_key.as_deref())
}

/// The one shard a write goes to.
pub(crate) fn write(parts: &GatewayParts, facts: &Facts<'_>, write: &WriteRequest) -> Result<(ShardId, u64), Problem> {
    let collection = &*write.collection;
    let route = |shard_key: Option<&str>| resolve(parts, facts, collection, Access::Write, shard_key);
    let route = match &write.action {
        WriteAction::Put { key, .. } | WriteAction::Patch { key, .. } | WriteAction::Delete { key } => {
            route(Some(&collection.shard_key_text(key)))?
        }
        WriteAction::PatchWhere { query, .. } | WriteAction::DeleteWhere { query } => {
            route(collection.shard_key_text_from(|column| query.equality(column)).as_deref())?
        }
        WriteAction::Insert { body, .. } => {
            let mut merged: Option<Route> = None;
            for shard_key in &body.shard_keys {
                let next = route(shard_key.as_deref())?;
                match &mut merged {
                    None => merged = Some(next),
                    Some(merged) => join(&mut merged.shards, &next.shards),
                }
            }
            match merged {
                Some(route) => route,
                None => route(None)?,
            }
        }
    };
    match *route.shards {
        [shard] => Ok((shard, route.generation)),
        _ => Err(several_shards(collection, &write.action, route.shards.len())),
    }
}

fn join(shards: &mut ShardSet, more: &ShardSet) {
    for shard in more {
        if !shards.contains(shard) {
            shards.push(*shard);
        }
    }
}

fn several_shards(collection: &Collection, action: &WriteAction, shards: usize) -> Problem {
    let columns: Vec<&str> =
        collection.shard_key.iter().map(|p| collection.columns[collection.key[*p].column].name.as_str()).collect();
    let columns = columns.join(", ");
    let hint = match action {
        WriteAction::Insert { .. } => format!("Give {columns} in every row, and send rows of different shards apart."),
        _ => format!("Add an equality filter on {columns}."),
    };
    Problem::new(
        ProblemKind::BadRequest,
        codes::CROSS_SHARD,
        format!("This write to {} would touch {shards} shards; a write is atomic on one shard only", collection.name),
    )
    .hint(hint)
}
