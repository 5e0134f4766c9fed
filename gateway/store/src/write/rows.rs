//! Rows that a write touched, as `RETURNING` gave them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tidegate_types::{
    answer::{RowBody, RowChange, WrittenRow},
    collection::Collection,
    problem::{Problem, ProblemKind, codes},
};
use tokio_postgres::{Client, Error, Row};

use super::{
    images::{Declared, Novelty, Returned},
    statement::{Flag, Statement},
};
use crate::{
    error::StoreError,
    sql::inferred,
    wire::{self, Malformed, Raw},
};

/// Rows that one request may touch.
const MAX_ROWS: usize = 10_000;
/// Bytes of their JSON.
const MAX_BYTES: usize = 64 << 20;

/// What the statements of a write returned so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) rows: Vec<WrittenRow>,
    pub(super) returned: Returned,
    bytes: usize,
}

/// Why a row that came back ends the write.
#[derive(Debug)]
pub(super) enum Unacceptable {
    Problem(Problem),
    Malformed(Malformed),
}

impl From<Malformed> for Unacceptable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Unacceptable {
    pub(super) fn or_protocol(self, shard: &Arc<str>) -> StoreError {
        match self {
            Self::Problem(problem) => problem.into(),
            Self::Malformed(malformed) => {
                StoreError::Protocol { shard: shard.clone(), reason: malformed.to_string().into() }
            }
        }
    }
}

impl Collected {
    /// Runs a statement and keeps what it returns, within bounds.
    pub(super) async fn run(
        &mut self,
        client: &Client,
        collection: &Collection,
        declared: Option<&Declared<'_>>,
        statement: &Statement,
    ) -> Result<Result<(), Unacceptable>, Error> {
        let rows = client.query_typed_raw(&statement.text, inferred(&statement.params)).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            if let Err(unacceptable) = self.keep(collection, declared, statement.flag, &row) {
                return Ok(Err(unacceptable));
            }
        }
        Ok(Ok(()))
    }

    fn keep(
        &mut self,
        collection: &Collection,
        declared: Option<&Declared<'_>>,
        flag: Flag,
        row: &Row,
    ) -> Result<(), Unacceptable> {
        let keys = collection.key.len();
        // What is declared counts against a bound of its own: a policy must not make a write too large.
        let beside = declared.map_or(Ok(0), |declared| self.keep_declared(declared, flag, row, keys + 1))?;
        self.bytes += row.raw_size_bytes().saturating_sub(beside);
        if self.rows.len() >= MAX_ROWS || self.bytes > MAX_BYTES {
            return Err(Unacceptable::Problem(too_many()));
        }
        let raw = |i: usize| row.try_get::<_, Option<Raw<'_>>>(i).ok().flatten();
        let key = wire::row_key(collection, (0..keys).map(raw))?;
        let json = raw(keys).ok_or(Malformed("a written row"))?;
        let flagged = raw(keys + 1).is_some_and(|Raw(flag)| flag == [1]);
        let change = match (flag, flagged) {
            (Flag::Inserted, _) | (Flag::InsertedOrUpdated, true) => RowChange::Inserted,
            (Flag::InsertedOrUpdated, false) | (Flag::SameKey, true) => RowChange::Updated,
            (Flag::Deleted, _) => RowChange::Deleted,
            (Flag::SameKey, false) => return Err(Unacceptable::Problem(key_change(collection))),
        };
        self.rows.push(WrittenRow { key, change, body: RowBody::new(Bytes::copy_from_slice(json.0)) });
        Ok(())
    }
}

impl Collected {
    fn keep_declared(
        &mut self,
        declared: &Declared<'_>,
        flag: Flag,
        row: &Row,
        first: usize,
    ) -> Result<usize, Malformed> {
        let (first, novelty) = match flag {
            Flag::Inserted | Flag::Deleted => (first, Novelty::Certain),
            Flag::SameKey => (first + 1, Novelty::Certain),
            Flag::InsertedOrUpdated => {
                let partitioned = row.try_get::<_, bool>(first + 1).map_err(|_| Malformed("a flag"))?;
                (first + 2, if partitioned { Novelty::Doubtful } else { Novelty::Certain })
            }
        };
        self.returned.keep(declared, row, first, novelty)
    }
}

fn too_many() -> Problem {
    Problem::new(
        ProblemKind::BadRequest,
        codes::LIMIT_EXCEEDED,
        format!("One request may write at most {MAX_ROWS} rows and {} MiB", MAX_BYTES >> 20),
    )
    .details("Nothing was written.")
    .hint("Write fewer rows at a time.")
}

fn key_change(collection: &Collection) -> Problem {
    let key: Vec<&str> = collection.key_columns().map(|column| column.name.as_str()).collect();
    Problem::new(ProblemKind::BadRequest, codes::KEY_CHANGE, "The primary key of a row cannot be changed")
        .details(format!("The key of {} is ({}). Nothing was written.", collection.name, key.join(", ")))
        .hint("Insert a new row and delete the old one.")
}
