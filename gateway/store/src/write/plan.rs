//! Which statements a write needs, and what must hold of their results. Decided before a connection is taken.

use std::sync::Arc;

use tidegate_types::{
    answer::{ETag, WrittenRow},
    collection::Collection,
    problem::{Problem, ProblemKind, codes},
    query::ListQuery,
    request::{Cardinality, IfMatch, IfNoneMatch, WriteAction, WriteRequest},
};
use tokio_postgres::Row;

use super::{
    images::Declared,
    statement::{self, Condition, Conflict, Output, Statement},
};
use crate::{error::StoreError, wire::Raw};

/// A write, ready to run.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) collection: &'a Collection,
    /// Locks the row and returns its JSON, to be judged before the statements run.
    pub(super) condition: Option<Condition>,
    /// Locks the rows that may change and returns what is declared of them.
    pub(super) before: Option<Condition>,
    /// The columns whose values are wanted.
    pub(super) declared: Option<&'a Declared<'a>>,
    /// Empty if there is nothing to write.
    pub(super) statements: Vec<Statement>,
    request: &'a WriteRequest,
}

impl<'a> Plan<'a> {
    pub(super) fn of(request: &'a WriteRequest, declared: Option<&'a Declared<'a>>) -> Result<Self, Problem> {
        let collection = &*request.collection;
        let output = Output { projection: &request.projection, declared };
        let statements = match &request.action {
            WriteAction::Insert { body, resolution, missing } => {
                let conflict = match request.if_none_match {
                    IfNoneMatch::Any => Conflict::Skip,
                    IfNoneMatch::Absent => Conflict::from(*resolution),
                };
                statement::insert(collection, output, body, conflict, *missing)?
            }
            WriteAction::Put { key, body } => {
                vec![statement::put(collection, output, key, body, request.if_none_match)?]
            }
            WriteAction::Patch { key, body } => vec![statement::patch(collection, output, key, body)?],
            WriteAction::Delete { key } => vec![statement::delete(collection, output, key)?],
            WriteAction::PatchWhere { query, body } => {
                let filters = filters(query)?;
                // An empty object changes nothing, as in PostgREST.
                let changes = !body.columns.is_empty();
                changes
                    .then(|| statement::patch_where(collection, output, filters, body))
                    .into_iter()
                    .collect::<Result<_, _>>()?
            }
            WriteAction::DeleteWhere { query } => {
                vec![statement::delete_where(collection, output, filters(query)?)?]
            }
        };
        let before = declared.map_or(Ok(None), |declared| declared.before(request))?;
        Ok(Self { collection, condition: condition(request)?, before, declared, statements, request })
    }

    /// Judges `If-Match` (and `If-None-Match: *` where nothing is created) by the row as it is now, locked.
    pub(super) fn check_condition(&self, shard: &Arc<str>, row: Option<&Row>) -> Result<(), StoreError> {
        let tag = match row {
            None => None,
            Some(row) => {
                let malformed = |_| StoreError::Protocol { shard: shard.clone(), reason: "a row's JSON".into() };
                Some(ETag::of(row.try_get::<_, Raw<'_>>(0).map_err(malformed)?.0))
            }
        };
        let holds = match (&self.request.if_match, tag) {
            (IfMatch::Absent, _) => true,
            (_, None) => false,
            (IfMatch::Any, Some(_)) => true,
            (IfMatch::OneOf(tags), Some(tag)) => tags.contains(&tag),
        };
        if !holds {
            return Err(changed(tag.is_some()).into());
        }
        if !creates(&self.request.action) && self.request.if_none_match == IfNoneMatch::Any && tag.is_some() {
            return Err(exists().into());
        }
        Ok(())
    }

    /// What must hold of the number of rows before COMMIT.
    pub(super) fn check_rows(&self, rows: &[WrittenRow]) -> Result<(), StoreError> {
        let action = &self.request.action;
        if self.request.if_none_match == IfNoneMatch::Any {
            let wanted = match action {
                WriteAction::Insert { body, .. } => body.rows,
                WriteAction::Put { .. } => 1,
                _ => 0,
            };
            if rows.len() < wanted {
                return Err(exists().into());
            }
        }
        // A keyed path names one row at most; that it names none is for its caller to judge.
        let keyed = matches!(action, WriteAction::Put { .. } | WriteAction::Patch { .. } | WriteAction::Delete { .. });
        if self.request.cardinality == Cardinality::Singular && rows.len() != 1 && !(keyed && rows.is_empty()) {
            return Err(not_singular(rows.len()).into());
        }
        Ok(())
    }
}

/// The filters of an unkeyed write; without any it would touch the whole table.
fn filters(query: &ListQuery) -> Result<&[tidegate_types::query::Filter], Problem> {
    if query.filters.is_empty() {
        return Err(Problem::new(
            ProblemKind::BadRequest,
            codes::UNSAFE_WRITE,
            "A write needs a filter or a keyed path",
        )
        .hint("Name the rows, for example /v1/products/42 or ?id=eq.42."));
    }
    Ok(&query.filters)
}

fn creates(action: &WriteAction) -> bool {
    matches!(action, WriteAction::Insert { .. } | WriteAction::Put { .. })
}

fn condition(request: &WriteRequest) -> Result<Option<Condition>, Problem> {
    let judged_by_lock =
        request.if_match != IfMatch::Absent || (request.if_none_match == IfNoneMatch::Any && !creates(&request.action));
    if !judged_by_lock {
        return Ok(None);
    }
    match &request.action {
        WriteAction::Put { key, .. } | WriteAction::Patch { key, .. } | WriteAction::Delete { key } => {
            statement::condition(&request.collection, &request.projection, key).map(Some)
        }
        WriteAction::Insert { .. } | WriteAction::PatchWhere { .. } | WriteAction::DeleteWhere { .. } => {
            Err(Problem::new(
                ProblemKind::BadRequest,
                codes::PRECONDITION_FAILED,
                "Conditions on versions need a keyed path",
            )
            .hint("Name the row, for example /v1/products/42."))
        }
    }
}

fn changed(found: bool) -> Problem {
    let message = if found { "The row has another version than If-Match names" } else { "The row does not exist" };
    Problem::new(ProblemKind::PreconditionFailed, codes::PRECONDITION_FAILED, message)
        .details("Nothing was written.")
        .hint("Read the row again and repeat the change with its ETag.")
}

fn exists() -> Problem {
    Problem::new(ProblemKind::PreconditionFailed, codes::PRECONDITION_FAILED, "The row exists already")
        .details("If-None-Match: * refuses to overwrite. Nothing was written.")
}

fn not_singular(rows: usize) -> Problem {
    Problem::new(ProblemKind::NotAcceptable, "PGRST116", "Cannot coerce the result to a single JSON object")
        .details(format!("The result contains {rows} rows"))
}
