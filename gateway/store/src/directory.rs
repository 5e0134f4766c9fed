//! Directories: small tables of which policies look things up in a copy.

use std::collections::{HashMap, hash_map::Entry};

use futures_util::TryStreamExt;
use tidegate_types::settings::DirectorySettings;
use tokio_postgres::{Row, types::Type};

use crate::{
    catalog::{CatalogTable, ShardCatalog},
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
};

/// Bytes of all keys and values together.
const MAX_BYTES: usize = 64 << 20;
/// How alike two names must be for one to be suggested for the other.
const ALIKE: f64 = 0.75;

/// Why a directory cannot be read. Each says what to change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DirectoryError {
    /// The shard failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is no such table, view or foreign table.
    #[error("shard {shard} has no table {table}. {mend}")]
    NoTable {
        /// The shard.
        shard: String,
        /// As configured.
        table: String,
        /// What to do.
        mend: String,
    },
    /// The table has no such column.
    #[error("table {table} on shard {shard} has no column {column}. {mend}")]
    NoColumn {
        /// The shard.
        shard: String,
        /// As configured.
        table: String,
        /// As configured.
        column: String,
        /// What to do.
        mend: String,
    },
    /// It has more rows than configured.
    #[error("it has more than {max_rows} rows. Raise `max_rows`, or name a view with fewer")]
    TooManyRows {
        /// As configured.
        max_rows: u64,
    },
    /// It takes too much memory.
    #[error("its keys and values take more than {} MiB. Name a view with fewer or shorter ones", MAX_BYTES >> 20)]
    TooManyBytes,
    /// A key has two values.
    #[error(
        "the key {key:?} is in it twice. Make `key` a column with a unique index, or name a view with one row for each"
    )]
    Ambiguous {
        /// The key.
        key: String,
    },
}

impl DirectoryError {
    /// Whether the table may have become another since its [`DirectoryQuery`] was made.
    #[must_use]
    pub const fn is_database(&self) -> bool {
        matches!(self, Self::Store(StoreError::Database { .. }))
    }
}

/// The statement of a directory, of names that its shard's catalog has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryQuery {
    text: String,
    max_rows: u64,
}

impl DirectoryQuery {
    /// The statement for these settings.
    ///
    /// # Errors
    /// The catalog lacks the table or a column.
    pub fn find(catalog: &ShardCatalog, settings: &DirectorySettings) -> Result<Self, DirectoryError> {
        let table = catalog.table(&settings.table).ok_or_else(|| no_table(catalog, &settings.table))?;
        let key = column(catalog, table, settings, &settings.key)?;
        let value = column(catalog, table, settings, &settings.value)?;
        let relation = &table.relation;
        let limit = settings.max_rows.saturating_add(1).min(i64::MAX.unsigned_abs());
        let text = format!(
            "SELECT t.{key}::text, t.{value}::text FROM {relation} t \
             WHERE t.{key} IS NOT NULL AND t.{value} IS NOT NULL LIMIT {limit}"
        );
        Ok(Self { text, max_rows: settings.max_rows })
    }
}

fn column<'c>(
    catalog: &ShardCatalog,
    table: &'c CatalogTable,
    settings: &DirectorySettings,
    name: &str,
) -> Result<&'c str, DirectoryError> {
    let found = table.columns.iter().find(|column| column.column.name == name);
    found.map(|column| column.column.quoted.as_str()).ok_or_else(|| {
        let names = table.columns.iter().map(|column| column.column.name.as_str());
        let mend = match nearest(name, names.clone()) {
            Some(name) => format!("Did you mean {name}?"),
            None => format!("It has: {}.", names.collect::<Vec<_>>().join(", ")),
        };
        let (shard, table) = (catalog.shard.clone(), settings.table.clone());
        DirectoryError::NoColumn { shard, table, column: name.to_owned(), mend }
    })
}

fn no_table(catalog: &ShardCatalog, name: &str) -> DirectoryError {
    let mend = match nearest(name, catalog.tables.iter().map(|table| table.name.as_str())) {
        Some(name) => format!("Did you mean {name}?"),
        None => format!("Create it there; unqualified names are looked up in: {}.", catalog.search_path.join(", ")),
    };
    DirectoryError::NoTable { shard: catalog.shard.clone(), table: name.to_owned(), mend }
}

fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = among.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// Reads the whole directory; a row without a key or without a value is not part of it.
pub(crate) async fn read(shard: &Shard, query: &DirectoryQuery) -> Result<HashMap<String, String>, DirectoryError> {
    let lease = shard.lease(Class::Scan).await?;
    let read = rows(&lease, query).await;
    // Given up halfway, its connection is closed: rows are pending on it.
    if matches!(read, Ok(Ok(_)) | Err(StoreError::Database { .. })) {
        lease.release();
    }
    read?
}

async fn rows(
    lease: &Lease,
    query: &DirectoryQuery,
) -> Result<Result<HashMap<String, String>, DirectoryError>, StoreError> {
    lease
        .run(async {
            let client = &lease.connection().client;
            let rows = client.query_typed_raw(&query.text, std::iter::empty::<(&str, Type)>()).await?;
            let mut rows = std::pin::pin!(rows);
            let mut copy = Copy { entries: HashMap::new(), bytes: 0, max_rows: query.max_rows };
            while let Some(row) = rows.try_next().await? {
                if let Err(error) = copy.add(&row)? {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(copy.entries))
        })
        .await
}

/// A copy being made.
struct Copy {
    entries: HashMap<String, String>,
    bytes: usize,
    max_rows: u64,
}

impl Copy {
    fn add(&mut self, row: &Row) -> Result<Result<(), DirectoryError>, tokio_postgres::Error> {
        let (key, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        self.bytes += key.len() + value.len();
        if self.bytes > MAX_BYTES {
            return Ok(Err(DirectoryError::TooManyBytes));
        }
        if self.entries.len() as u64 >= self.max_rows {
            return Ok(Err(DirectoryError::TooManyRows { max_rows: self.max_rows }));
        }
        match self.entries.entry(key) {
            Entry::Vacant(place) => {
                place.insert(value);
                Ok(Ok(()))
            }
            Entry::Occupied(taken) => Ok(Err(DirectoryError::Ambiguous { key: taken.key().clone() })),
        }
    }
}
