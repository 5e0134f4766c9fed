//! Which shards a request goes to, and what else policies decide about it.

use tidegate_policy::{PolicyError, RouteQuery, Session};
use tidegate_types::{
    collection::{Collection, Mode},
    policy::{Keep, Who},
    problem::{Problem, ProblemKind, codes},
    request::{Facts, WriteAction, WriteRequest},
    route::{Access, Route, ShardId, ShardSet},
};

/// What policies decided about a read. Taken from one generation.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) who: Who,
    pub(crate) shards: ShardSet,
    pub(crate) keep: Keep,
    pub(crate) generation: u64,
}

/// Whose read it is, where it goes, how its answer is kept.
pub(crate) fn read(
    session: &Session,
    facts: &Facts<'_>,
    collection: &Collection,
    shard_key: Option<&str>,
) -> Result<Decided, Problem> {
    let who = session.classify(facts, collection, Access::Read).map_err(problem)?;
    read_as(session, who, facts, collection, shard_key)
}

/// [`read`] for somebody who is known.
pub(crate) fn read_as(
    session: &Session,
    who: Who,
    facts: &Facts<'_>,
    collection: &Collection,
    shard_key: Option<&str>,
) -> Result<Decided, Problem> {
    let query = RouteQuery { facts, collection, access: Access::Read, shard_key };
    let shards = session.route(who, &query).map_err(problem)?.shards;
    let keep = match collection.mode {
        Mode::CacheAside | Mode::WriteThrough | Mode::WriteBehind => session.keep(who, &query),
        // There is nothing to narrow.
        Mode::Bypass => Keep::AsConfigured,
    };
    Ok(Decided { who, shards, keep, generation: session.generation() })
}

/// Whose write it is, and the one shard it goes to.
pub(crate) fn write(session: &Session, facts: &Facts<'_>, write: &WriteRequest) -> Result<(Who, ShardId), Problem> {
    let collection = &*write.collection;
    let who = session.classify(facts, collection, Access::Write).map_err(problem)?;
    let route = |shard_key: Option<&str>| {
        session.route(who, &RouteQuery { facts, collection, access: Access::Write, shard_key }).map_err(problem)
    };
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
        [shard] => Ok((who, shard)),
        _ => Err(several_shards(collection, &write.action, route.shards.len())),
    }
}

/// How the rows that a write touches may be kept, for a collection that it fills: as the same client's reads of
/// them would be.
pub(crate) fn refill(session: &Session, facts: &Facts<'_>, who: Who, write: &WriteRequest) -> Keep {
    let collection = &*write.collection;
    if collection.mode != Mode::WriteThrough {
        return Keep::Bypass;
    }
    let shard_key = match &write.action {
        WriteAction::Put { key, .. } | WriteAction::Patch { key, .. } | WriteAction::Delete { key } => {
            Some(collection.shard_key_text(key))
        }
        WriteAction::PatchWhere { .. } | WriteAction::DeleteWhere { .. } | WriteAction::Insert { .. } => None,
    };
    session.keep(who, &RouteQuery { facts, collection, access: Access::Read, shard_key: shard_key.as_deref() })
}

fn problem(error: PolicyError) -> Problem {
    error.into_problem()
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
