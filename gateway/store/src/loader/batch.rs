//! One statement for many keys. Its single row holds the snapshot, the keys found and their JSON, so that
//! the snapshot is of the same statement and comes back even when no row is found.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use tidegate_types::{collection::Collection, epoch::Epoch, key::RowKey, query::Projection, snapshot::Snapshot};
use tokio_postgres::{Client, Error, Row, types::ToSql};

use crate::{
    error::StoreError,
    pool::Lease,
    sql::{Sql, inferred},
    store::LoadedRow,
    wire::{self, Malformed, Raw},
};

/// What a batch found.
#[derive(Debug)]
pub struct Rows {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) epoch: Epoch,
    found: HashMap<RowKey, Bytes>,
}

impl Rows {
    /// The answer to one reader.
    #[must_use]
    pub fn row(&self, key: &RowKey) -> LoadedRow {
        LoadedRow { json: self.found.get(key).cloned(), snapshot: self.snapshot.clone(), epoch: self.epoch }
    }
}

/// A statement's text, and its parameters after the keys.
pub(crate) type Statement = (String, Vec<crate::sql::Text>);

/// The distinct keys of some readers.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    collection: &'a Collection,
    projection: &'a Projection,
    keys: Vec<&'a RowKey>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        collection: &'a Collection,
        projection: &'a Projection,
        keys: impl ExactSizeIterator<Item = &'a RowKey>,
    ) -> Self {
        let mut seen = HashSet::with_capacity(keys.len());
        let keys = keys.filter(|key| seen.insert(*key)).collect();
        Self { collection, projection, keys }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) async fn run(&self, lease: &Lease) -> Result<Rows, StoreError> {
        let (text, texts) = self.statement()?;
        let keys = wire::key_arrays(self.collection, &self.keys);
        let mut params: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(keys.len() + texts.len());
        params.extend(keys.iter().map(|param| &**param as &(dyn ToSql + Sync)));
        params.extend(texts.iter().map(|param| param as &(dyn ToSql + Sync)));

        let connection = lease.connection();
        let query = || {
            lease.run(async {
                let statement = connection.prepared(&text).await?;
                connection.client.query_one(&statement, &params).await
            })
        };
        let row = match query().await {
            Err(error) if is_outdated(&error) => {
                connection.forget(&text);
                query().await?
            }
            other => other?,
        };
        self.rows(&row, lease)
    }

    /// The same in one flight, without a prepared statement: for a connection with a transaction on it, which a
    /// statement that cannot be prepared would end.
    pub(crate) async fn query(&self, client: &Client, statement: &Statement) -> Result<Option<Row>, Error> {
        let keys = wire::key_arrays(self.collection, &self.keys);
        let types = self.collection.key.iter().map(|k| wire::array_type(k.key_type));
        let keys = keys.iter().zip(types).map(|(param, array)| (&**param as &(dyn ToSql + Sync), array));
        let params: Vec<_> = keys.chain(inferred(&statement.1)).collect();
        Ok(client.query_typed(&statement.0, &params).await?.into_iter().next())
    }

    /// What the statement's row says.
    pub(crate) fn rows(&self, row: &Row, lease: &Lease) -> Result<Rows, StoreError> {
        let connection = lease.connection();
        let malformed = |reason: String| StoreError::Protocol { shard: lease.shard().clone(), reason: reason.into() };
        let snapshot: &str = row.try_get(0).map_err(|e| malformed(e.to_string()))?;
        let snapshot = Snapshot::parse(snapshot).map_err(|e| malformed(e.to_string()))?;
        let found = self.found(row).map_err(|e| malformed(e.to_string()))?;
        Ok(Rows { snapshot: Arc::new(snapshot), epoch: connection.epoch, found })
    }

    /// `SELECT snapshot, array_agg(key column)..., array_agg(json)`, one array per key column as parameters.
    pub(crate) fn statement(&self) -> Result<Statement, StoreError> {
        let key = &self.collection.key;
        let mut sql = Sql::reserving(self.collection, key.len());
        sql.push("SELECT pg_current_snapshot()::text, ");
        sql.separated("", 1..=key.len(), |sql, i| {
            sql.push("array_agg(s.k").number(i as u64).push("), ");
        });
        sql.push("array_agg(s.j) FROM (SELECT ");
        sql.separated("", self.collection.key_columns().enumerate(), |sql, (i, column)| {
            sql.column(column).push(" AS k").number(i as u64 + 1).push(", ");
        });
        sql.row_json(self.projection)?.push(" AS j FROM ").relation().push(" t");
        if let [only] = &key[..] {
            sql.push(" WHERE ").key_columns("").push(" = ANY($1::").push(only.key_type.pg_name()).push("[])");
        } else {
            sql.push(" JOIN unnest(");
            sql.separated(", ", key.iter().enumerate(), |sql, (i, k)| {
                sql.push("$").number(i as u64 + 1).push("::").push(k.key_type.pg_name()).push("[]");
            });
            sql.push(") u(");
            sql.separated(", ", 1..=key.len(), |sql, i| {
                sql.push("k").number(i as u64);
            });
            sql.push(") ON ");
            sql.separated(" AND ", self.collection.key_columns().enumerate(), |sql, (i, column)| {
                sql.column(column).push(" = u.k").number(i as u64 + 1);
            });
        }
        sql.push(") s");
        Ok(sql.finish())
    }

    fn found(&self, row: &Row) -> Result<HashMap<RowKey, Bytes>, Malformed> {
        let columns = self.collection.key.len();
        let mut arrays = Vec::with_capacity(columns + 1);
        for i in 1..=columns + 1 {
            let raw: Option<Raw<'_>> = row.try_get(i).map_err(|_| Malformed("a batch"))?;
            // array_agg of no rows is NULL.
            let Some(raw) = raw else { return Ok(HashMap::new()) };
            arrays.push(wire::array(raw)?);
        }
        let (keys, json) = arrays.split_at(columns);
        let mut found = HashMap::with_capacity(json[0].len());
        for (i, json) in json[0].iter().enumerate() {
            let key = wire::row_key(self.collection, keys.iter().map(|column| column.get(i).copied().flatten()))?;
            let json = json.ok_or(Malformed("a row"))?;
            found.insert(key, Bytes::copy_from_slice(json.0));
        }
        Ok(found)
    }
}

/// Whether a prepared statement no longer fits its table (0A000, "cached plan must not change result type") or is
/// gone (26000): prepared anew it may do.
fn is_outdated(error: &StoreError) -> bool {
    matches!(error, StoreError::Database { report, .. } if matches!(report.code.as_str(), "0A000" | "26000"))
}
