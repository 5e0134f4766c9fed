//! Rows as a client sent them.

use indexmap::IndexMap;
use serde_json::value::RawValue;
use tidegate_types::{
    problem::{Problem, ProblemKind},
    request::{Missing, RowsBody},
};

/// A row as a client sent it.
#[derive(Debug, Clone)]
pub struct Sent<'a> {
    members: IndexMap<String, &'a RawValue>,
    columns: &'a [String],
    missing: Missing,
}

/// What was sent of a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a> {
    Nothing,
    Null,
    Value(&'a RawValue),
}

impl<'a> Sent<'a> {
    /// The rows of a body, in order.
    ///
    /// # Errors
    /// The body is not an array of objects.
    pub fn rows(body: &'a RowsBody, missing: Missing) -> Result<Vec<Self>, Problem> {
        let rows: Vec<IndexMap<String, &RawValue>> = serde_json::from_slice(&body.json)
            .map_err(|_| Problem::new(ProblemKind::BadRequest, "PGRST102", "Empty or invalid json"))?;
        Ok(rows.into_iter().map(|members| Self { members, columns: &body.columns, missing }).collect())
    }

    /// What this row gives a column. One that the body lists and the row lacks is NULL, or left to its default.
    pub(super) fn given(&self, column: &str) -> Given<'a> {
        if !self.columns.iter().any(|listed| listed == column) {
            return Given::Nothing;
        }
        match (self.members.get(column), self.missing) {
            (Some(raw), _) if raw.get() == "null" => Given::Null,
            (Some(raw), _) => Given::Value(raw),
            (None, Missing::Null) => Given::Null,
            (None, Missing::Default) => Given::Nothing,
        }
    }
}
