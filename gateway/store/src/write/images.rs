//! What rows held before and after a write, for an invalidation policy that declares columns.
//!
//! New values come with `RETURNING`, and so do a deleted row's old ones. The old values of rows that are changed in
//! place are read first, under the rows' locks, by a statement of the same transaction that is sent along with
//! the write: it costs no round trip. What another transaction commits between the two statements is written to
//! without having been read; such a row's old values are [`Before::Unknown`], never guessed.

use std::{collections::HashMap, sync::Arc};

use futures_util::TryStreamExt;
use tidegate_types::{
    answer::{RowChange, WrittenRow},
    collection::{Collection, Column},
    key::RowKey,
    problem::Problem,
    request::{IfNoneMatch, Resolution, WriteAction, WriteRequest},
};
use tokio_postgres::{Client, Error, Row};

use super::statement::Condition;
use crate::{
    sql::{Sql, inferred},
    wire::{self, Malformed, Raw},
};

/// Rows whose values are kept; of a write of more, none are.
pub const MAX_IMAGES: usize = 1024;
/// Bytes of their values.
const MAX_BYTES: usize = 16 << 20;

/// Values of the declared columns, in the order of their declaration; `None` is NULL, or a column that the
/// collection does not have.
pub type Values = Vec<Option<String>>;

/// What the rows of a write held before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Images {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// One for each row written, in their order.
    Each(Vec<Image>),
    /// More than [`MAX_IMAGES`] rows, or too many bytes.
    TooMany,
}

/// What a row held before and after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Before it.
    pub before: Before,
    /// After it; empty for a deleted row.
    pub after: Values,
}

/// What a row held before a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// It was not there.
    Nothing,
    /// These values.
    Values(Values),
    /// It may have held anything: it appeared, or came to match, between being looked for and being written.
    Unknown,
}

/// The columns that somebody wants the values of.
#[derive(Debug)]
pub(super) struct Declared<'a> {
    /// `None` for one that the collection does not have.
    columns: Vec<Option<&'a Column>>,
}

impl<'a> Declared<'a> {
    pub(super) fn new(collection: &'a Collection, names: &[Arc<str>]) -> Self {
        Self { columns: names.iter().map(|name| collection.column(name)).collect() }
    }

    /// Whether the collection has none of them: then nothing needs to be looked at.
    fn is_blank(&self) -> bool {
        self.columns.iter().all(Option::is_none)
    }

    /// Takes the values off the columns of a row that start at `first`.
    fn values(&self, row: &Row, first: usize) -> Result<Values, Malformed> {
        let mut at = first;
        let mut values = Values::with_capacity(self.columns.len());
        for column in &self.columns {
            // An absent column takes no position.
            values.push(if column.is_some() { text(row, at)? } else { None });
            at += usize::from(column.is_some());
        }
        Ok(values)
    }

    /// The statement that locks the rows a write may change and reads them, where there may be any.
    pub(super) fn before(&self, request: &'a WriteRequest) -> Result<Option<Condition>, Problem> {
        if self.is_blank() {
            return Ok(None);
        }
        let collection = &*request.collection;
        let mut sql = Sql::new(collection);
        sql.push("SELECT ").key_columns(", ");
        self.push_values(&mut sql);
        let rows = match &request.action {
            WriteAction::Put { .. } if request.if_none_match == IfNoneMatch::Any => return Ok(None),
            WriteAction::Put { key, .. } | WriteAction::Patch { key, .. } => {
                sql.push(" FROM ").relation().push(" t WHERE ").key_equals(key);
                Rows::One
            }
            WriteAction::PatchWhere { query, .. } => {
                sql.push(" FROM ").relation().push(" t").filters(&query.filters)?;
                Rows::Any
            }
            WriteAction::Insert { body, resolution: Resolution::MergeDuplicates, .. }
                if request.if_none_match == IfNoneMatch::Absent
                    && collection.key_columns().all(|key| body.columns.contains(&key.name)) =>
            {
                let key: Vec<&Column> = collection.key_columns().collect();
                sql.recordset(super::statement::json_text(body)?.to_owned(), &key);
                sql.push(" JOIN ").relation().push(" t ON ").separated(" AND ", key, |sql, column| {
                    sql.column(column).push(" = x.").push(&column.quoted);
                });
                Rows::Any
            }
            // Nothing that is there is changed, or `RETURNING` has what it was.
            WriteAction::Insert { .. } | WriteAction::Delete { .. } | WriteAction::DeleteWhere { .. } => {
                return Ok(None);
            }
        };
        if rows == Rows::Any {
            // In an order, so that two of these cannot wait for each other.
            sql.push(" ORDER BY ").key_columns(", ").push(" LIMIT ").number(MAX_IMAGES as u64 + 1);
        }
        sql.push(" FOR UPDATE OF t");
        let (text, params) = sql.finish();
        Ok(Some(Condition { text, params }))
    }

    /// Appends `, t."column"::text` for each column there is.
    pub(super) fn push_values(&self, sql: &mut Sql<'_>) {
        for column in self.columns.iter().flatten() {
            sql.push(", ").column(column).push("::text");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    One,
    Any,
}

fn text(row: &Row, at: usize) -> Result<Option<String>, Malformed> {
    const WRONG: Malformed = Malformed("a column's text");
    let Some(Raw(bytes)) = row.try_get::<_, Option<Raw<'_>>>(at).map_err(|_| WRONG)? else { return Ok(None) };
    std::str::from_utf8(bytes).map(|text| Some(text.to_owned())).map_err(|_| WRONG)
}

fn bytes(values: &Values) -> usize {
    values.iter().flatten().map(String::len).sum()
}

/// What was read of the rows before they are written.
#[derive(Debug, Default)]
pub(super) struct Found {
    rows: HashMap<RowKey, Values>,
    bytes: usize,
}

impl Found {
    /// Runs [`Declared::before`].
    pub(super) async fn read(
        client: &Client,
        collection: &Collection,
        declared: &Declared<'_>,
        statement: &Condition,
    ) -> Result<Result<Self, Malformed>, Error> {
        let mut found = Self::default();
        let rows = client.query_typed_raw(&statement.text, inferred(&statement.params)).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            if let Err(malformed) = found.keep(collection, declared, &row) {
                return Ok(Err(malformed));
            }
        }
        Ok(Ok(found))
    }

    fn keep(&mut self, collection: &Collection, declared: &Declared<'_>, row: &Row) -> Result<(), Malformed> {
        // Beyond the bound none is needed: the write has too many rows as well, or the bytes are.
        if self.rows.len() > MAX_IMAGES || self.bytes > MAX_BYTES {
            return Ok(());
        }
        let keys = collection.key.len();
        let raw = |i: usize| row.try_get::<_, Option<Raw<'_>>>(i).ok().flatten();
        let values = declared.values(row, keys)?;
        self.bytes += bytes(&values);
        self.rows.insert(wire::row_key(collection, (0..keys).map(raw))?, values);
        Ok(())
    }
}

/// What the statements of a write returned of the declared columns so far, a row at a time.
#[derive(Debug, Default)]
pub(super) struct Returned {
    rows: Vec<(Values, Novelty)>,
    bytes: usize,
}

/// Whether a row that counts as inserted certainly was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    Certain,
    /// An upsert into a partitioned table: the row may have been inserted by another transaction meanwhile.
    Doubtful,
}

impl Returned {
    /// Takes the declared columns off a row; their bytes on the wire are the result.
    pub(super) fn keep(
        &mut self,
        declared: &Declared<'_>,
        row: &Row,
        first: usize,
        novelty: Novelty,
    ) -> Result<usize, Malformed> {
        if self.is_full() {
            let raw = |at: usize| row.try_get::<_, Option<Raw<'_>>>(at).ok().flatten().map_or(0, |raw| raw.0.len());
            return Ok((first..row.len()).map(raw).sum());
        }
        let values = declared.values(row, first)?;
        let size = bytes(&values);
        self.bytes += size;
        self.rows.push((values, novelty));
        Ok(size)
    }

    fn is_full(&self) -> bool {
        self.rows.len() > MAX_IMAGES || self.bytes > MAX_BYTES
    }

    /// Joins what was found before with what came back.
    pub(super) fn images(self, declared: &Declared<'_>, mut found: Found, written: &[WrittenRow]) -> Images {
        if self.is_full() || found.bytes > MAX_BYTES {
            return Images::TooMany;
        }
        let image = |(row, (values, novelty)): (&WrittenRow, (Values, Novelty))| match row.change {
            RowChange::Deleted => Image { before: Before::Values(values), after: Values::new() },
            RowChange::Inserted if novelty == Novelty::Certain || declared.is_blank() => {
                Image { before: Before::Nothing, after: values }
            }
            RowChange::Updated if declared.is_blank() => {
                Image { before: Before::Values(values.clone()), after: values }
            }
            RowChange::Inserted | RowChange::Updated => {
                Image { before: found.rows.remove(&row.key).map_or(Before::Unknown, Before::Values), after: values }
            }
        };
        Images::Each(written.iter().zip(self.rows).map(image).collect())
    }
}
