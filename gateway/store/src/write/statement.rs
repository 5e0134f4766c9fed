//! The text of writes. Bodies go through `json_to_recordset` with the catalog's column types, so coercion and
//! its errors are PostgreSQL's and no digit is lost.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use tidegate_types::{
    collection::{Collection, Column},
    key::RowKey,
    problem::{Problem, ProblemKind},
    query::{Filter, Projection},
    request::{IfNoneMatch, Missing, Resolution, RowsBody},
};

use super::images::Declared;
use crate::sql::{Sql, Text};

/// What a statement returns of each row it touched, besides its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output<'a> {
    /// The row's representation.
    pub(super) projection: &'a Projection,
    /// Columns whose values somebody wants.
    pub(super) declared: Option<&'a Declared<'a>>,
}

/// What the column after a returned row's JSON says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// Nothing: every row is new.
    Inserted,
    /// Whether the row is new; where columns are declared, also whether the table is partitioned.
    InsertedOrUpdated,
    /// Whether the body's key values are those of the row.
    SameKey,
    /// Nothing: every row is gone.
    Deleted,
}

/// A statement that returns the key, the JSON, perhaps a flag, and the declared columns of every row it touched.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) params: Vec<Text>,
    pub(super) flag: Flag,
}

/// Locks a row and returns its JSON.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) text: String,
    pub(super) params: Vec<Text>,
}

/// What an insert does about a row that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    Fail,
    Merge,
    Skip,
}

impl From<Resolution> for Conflict {
    fn from(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Fail => Self::Fail,
            Resolution::MergeDuplicates => Self::Merge,
            Resolution::IgnoreDuplicates => Self::Skip,
        }
    }
}

pub(super) fn condition(collection: &Collection, projection: &Projection, key: &RowKey) -> Result<Condition, Problem> {
    let mut sql = Sql::new(collection);
    sql.push("SELECT ").row_json(projection)?.push(" FROM ").relation().push(" t WHERE ");
    sql.key_equals(key).push(" FOR UPDATE OF t");
    let (text, params) = sql.finish();
    Ok(Condition { text, params })
}

/// One statement, or with `missing=default` one per set of columns that rows have: what a row lacks is left
/// out of its statement, so that the database supplies it.
pub(super) fn insert(
    collection: &Collection,
    output: Output<'_>,
    body: &RowsBody,
    conflict: Conflict,
    missing: Missing,
) -> Result<Vec<Statement>, Problem> {
    if body.rows == 0 {
        return Ok(Vec::new());
    }
    let columns = written(collection, body)?;
    if columns.is_empty() {
        return Err(Problem::new(ProblemKind::BadRequest, "PGRST102", "The rows to insert have no columns"));
    }
    let json = json_text(body)?;
    let groups = match missing {
        Missing::Null => vec![(columns.clone(), json.to_owned())],
        Missing::Default => by_present_columns(&columns, json)?,
    };
    groups
        .into_iter()
        .map(|(present, json)| {
            let mut sql = Sql::new(collection);
            sql.insert_into(&present);
            sql.push(" SELECT ").separated(", ", &present, |sql, column| {
                sql.push("x.").push(&column.quoted);
            });
            sql.recordset(json, &present);
            let flag = sql.on_conflict(conflict, &columns);
            sql.returning(output, flag)
        })
        .collect()
}

pub(super) fn put(
    collection: &Collection,
    output: Output<'_>,
    key: &RowKey,
    body: &RowsBody,
    if_none_match: IfNoneMatch,
) -> Result<Statement, Problem> {
    let given: Vec<&Column> = without_key(collection, written(collection, body)?);
    let inserted: Vec<&Column> = collection.key_columns().chain(given.iter().copied()).collect();
    let mut sql = Sql::new(collection);
    sql.insert_into(&inserted).push(" SELECT ");
    sql.key_values(key);
    for column in &given {
        sql.push(", x.").push(&column.quoted);
    }
    if !given.is_empty() {
        sql.recordset(json_text(body)?.to_owned(), &given);
    }
    let conflict = match if_none_match {
        IfNoneMatch::Absent => Conflict::Merge,
        IfNoneMatch::Any => Conflict::Skip,
    };
    // The whole row is replaced: EXCLUDED holds the default, or NULL, of what the body lacks.
    let replaced = collection.columns.iter().filter(|column| !column.generated).collect::<Vec<_>>();
    let flag = sql.on_conflict(conflict, &replaced);
    sql.returning(output, flag)
}

pub(super) fn patch(
    collection: &Collection,
    output: Output<'_>,
    key: &RowKey,
    body: &RowsBody,
) -> Result<Statement, Problem> {
    let mut sql = update(collection, body)?;
    sql.push(" WHERE ").key_equals(key);
    returning_same_key(sql, output, body)
}

pub(super) fn patch_where(
    collection: &Collection,
    output: Output<'_>,
    filters: &[Filter],
    body: &RowsBody,
) -> Result<Statement, Problem> {
    let mut sql = update(collection, body)?;
    sql.filters(filters)?;
    returning_same_key(sql, output, body)
}

pub(super) fn delete(collection: &Collection, output: Output<'_>, key: &RowKey) -> Result<Statement, Problem> {
    let mut sql = Sql::new(collection);
    sql.push("DELETE FROM ").relation().push(" AS t WHERE ").key_equals(key);
    sql.returning(output, Flag::Deleted)
}

pub(super) fn delete_where(
    collection: &Collection,
    output: Output<'_>,
    filters: &[Filter],
) -> Result<Statement, Problem> {
    let mut sql = Sql::new(collection);
    sql.push("DELETE FROM ").relation().push(" AS t").filters(filters)?;
    sql.returning(output, Flag::Deleted)
}

/// `UPDATE ... SET ... FROM body x`. Key columns are never set; `RETURNING` tells whether the body would have.
fn update<'a>(collection: &'a Collection, body: &RowsBody) -> Result<Sql<'a>, Problem> {
    let columns = written(collection, body)?;
    let set = without_key(collection, columns.clone());
    let mut sql = Sql::new(collection);
    sql.push("UPDATE ").relation().push(" AS t SET ");
    if set.is_empty() {
        // Nothing to change, but the row is to be found, locked and returned.
        sql.separated(", ", collection.key_columns().take(1), |sql, column| {
            sql.push(&column.quoted).push(" = ").column(column);
        });
    }
    sql.separated(", ", &set, |sql, column| {
        sql.push(&column.quoted).push(" = x.").push(&column.quoted);
    });
    if !columns.is_empty() {
        sql.recordset(json_text(body)?.to_owned(), &columns);
    }
    Ok(sql)
}

fn returning_same_key(mut sql: Sql<'_>, output: Output<'_>, body: &RowsBody) -> Result<Statement, Problem> {
    let collection = sql.collection;
    sql.push(" RETURNING ").key_columns(", ").push(", ").row_json(output.projection)?.push(", (true");
    for column in collection.key_columns().filter(|column| body.columns.contains(&column.name)) {
        sql.push(" AND ").column(column).push(" IS NOT DISTINCT FROM x.").push(&column.quoted);
    }
    sql.push(")");
    output.push_declared(&mut sql);
    let (text, params) = sql.finish();
    Ok(Statement { text, params, flag: Flag::SameKey })
}

impl Output<'_> {
    fn push_declared(self, sql: &mut Sql<'_>) {
        if let Some(declared) = self.declared {
            declared.push_values(sql);
        }
    }
}

impl Sql<'_> {
    /// `OVERRIDING SYSTEM VALUE`: an identity key is given all the same, because it places the row.
    pub(crate) fn insert_into(&mut self, columns: &[&Column]) -> &mut Self {
        self.push("INSERT INTO ").relation().push(" AS t (");
        self.separated(", ", columns, |sql, column| {
            sql.push(&column.quoted);
        });
        self.push(") OVERRIDING SYSTEM VALUE")
    }

    /// ` FROM json_to_recordset(body) AS x (column type, ...)`.
    pub(super) fn recordset(&mut self, json: String, columns: &[&Column]) -> &mut Self {
        self.push(" FROM json_to_recordset(").bind(json).push("::json) AS x (");
        self.separated(", ", columns, |sql, column| {
            sql.push(&column.quoted).push(" ").push(&column.type_name);
        });
        self.push(")")
    }

    fn on_conflict(&mut self, conflict: Conflict, updated: &[&Column]) -> Flag {
        if conflict == Conflict::Fail {
            return Flag::Inserted;
        }
        let collection = self.collection;
        self.push(" ON CONFLICT (").separated(", ", collection.key_columns(), |sql, column| {
            sql.push(&column.quoted);
        });
        if conflict == Conflict::Skip {
            self.push(") DO NOTHING");
            return Flag::Inserted;
        }
        let mut set = without_key(collection, updated.to_vec());
        if set.is_empty() {
            // An update that changes nothing, so that the row comes back.
            set.extend(collection.key_columns().take(1));
        }
        self.push(") DO UPDATE SET ").separated(", ", &set, |sql, column| {
            sql.push(&column.quoted).push(" = EXCLUDED.").push(&column.quoted);
        });
        Flag::InsertedOrUpdated
    }

    /// `t."a" = $1::int8 AND ...`
    pub(super) fn key_equals(&mut self, key: &RowKey) -> &mut Self {
        let collection = self.collection;
        let columns = collection.key.iter().zip(collection.key_columns()).zip(key.values());
        self.separated(" AND ", columns, |sql, ((k, column), value)| {
            sql.column(column).push(" = ").bind(value.to_string()).push("::").push(k.key_type.pg_name());
        })
    }

    fn key_values(&mut self, key: &RowKey) -> &mut Self {
        let collection = self.collection;
        self.separated(", ", collection.key.iter().zip(key.values()), |sql, (k, value)| {
            sql.bind(value.to_string()).push("::").push(k.key_type.pg_name());
        })
    }

    fn returning(mut self, output: Output<'_>, flag: Flag) -> Result<Statement, Problem> {
        self.push(" RETURNING ").key_columns(", ").push(", ").row_json(output.projection)?;
        if flag == Flag::InsertedOrUpdated {
            self.push(", ").is_new();
            if output.declared.is_some() {
                self.push(", ").is_partitioned();
            }
        }
        output.push_declared(&mut self);
        let (text, params) = self.finish();
        Ok(Statement { text, params, flag })
    }

    /// Whether an upserted row was not there before. A tuple that nobody locked or replaced is new. Partitioned
    /// tables do not show system columns of inserted rows (0A000), so there the statement's snapshot is asked:
    /// a row that another transaction inserted meanwhile counts as new.
    fn is_new(&mut self) -> &mut Self {
        let collection = self.collection;
        self.push("CASE WHEN ").is_partitioned().push(" THEN NOT EXISTS (SELECT FROM ");
        self.relation().push(" o WHERE ").separated(" AND ", collection.key_columns(), |sql, column| {
            sql.push("o.").push(&column.quoted).push(" = ").column(column);
        });
        self.push(") ELSE t.xmax = 0 END")
    }

    fn is_partitioned(&mut self) -> &mut Self {
        let collection = self.collection;
        self.push("(SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = ");
        self.bind(collection.relation.as_str()).push("::regclass)")
    }
}

/// The columns a body writes, resolved.
fn written<'a>(collection: &'a Collection, body: &RowsBody) -> Result<Vec<&'a Column>, Problem> {
    body.columns
        .iter()
        .map(|name| match collection.column(name) {
            None => Err(Problem::new(
                ProblemKind::BadRequest,
                "PGRST204",
                format!("Could not find the '{name}' column of '{}' in the schema cache", collection.table),
            )),
            Some(column) if column.generated => Err(Problem::new(
                ProblemKind::BadRequest,
                "428C9",
                format!("cannot write column \"{name}\": the database generates it"),
            )),
            Some(column) => Ok(column),
        })
        .collect()
}

fn without_key<'a>(collection: &Collection, columns: Vec<&'a Column>) -> Vec<&'a Column> {
    columns.into_iter().filter(|column| collection.key_position(&column.name).is_none()).collect()
}

pub(super) fn json_text(body: &RowsBody) -> Result<&str, Problem> {
    std::str::from_utf8(&body.json).map_err(|_| invalid_json())
}

/// Rows grouped by which of `columns` they have. Objects are passed on as they came.
fn by_present_columns<'a>(columns: &[&'a Column], json: &str) -> Result<Vec<(Vec<&'a Column>, String)>, Problem> {
    let rows: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| invalid_json())?;
    let mut groups: BTreeMap<Vec<usize>, String> = BTreeMap::new();
    for row in rows {
        let members: IndexMap<String, &RawValue> = serde_json::from_str(row.get()).map_err(|_| invalid_json())?;
        let has = |position: &usize| members.contains_key(&columns[*position].name);
        let group = groups.entry((0..columns.len()).filter(has).collect()).or_insert_with(|| "[".to_owned());
        if group.len() > 1 {
            group.push(',');
        }
        group.push_str(row.get());
    }
    let columns = |present: Vec<usize>| present.into_iter().map(|position| columns[position]).collect();
    Ok(groups.into_iter().map(|(present, json)| (columns(present), json + "]")).collect())
}

fn invalid_json() -> Problem {
    Problem::new(ProblemKind::BadRequest, "PGRST102", "Empty or invalid json")
}
