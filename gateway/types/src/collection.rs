//! A REST collection, resolved: configuration and catalog agree on every name in it.

mod set;

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    bucket::RelationSeed,
    key::{self, KeyError, KeyType, KeyValue, RowKey},
    track::Tracked,
};

pub use set::{Collections, renumber};

/// A collection of one name and one definition. Never means anything else in the life of the process: entries,
/// buckets and remembered answers rest on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId(pub u32);

/// Which pipeline a collection runs. One per collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Reads fill the cache, writes commit on the shard and raise floors.
    CacheAside,
    /// The same, and a write fills the cache: its rows are read again right behind its COMMIT.
    WriteThrough,
    /// Reads as in the others, after a look at what was acknowledged; writes of single rows are acknowledged when the
    /// journal has them, and brought to their shard afterwards.
    WriteBehind,
    /// Nothing is cached.
    Bypass,
}

impl Mode {
    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CacheAside => "cache-aside",
            Self::WriteThrough => "write-through",
            Self::WriteBehind => "write-behind",
            Self::Bypass => "bypass",
        }
    }
}

/// What reads of a collection promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Consistency {
    /// Every write that was made through a gateway and acknowledged before the read is seen.
    #[default]
    Strict,
    /// The same, and changes made past the gateways are seen within a bound, or the shard is asked.
    Bounded(Staleness),
}

/// How old an answer may be under [`Consistency::Bounded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Staleness {
    /// Longest time since the change feed last proved that it is not behind. Beyond it the shard is asked.
    pub max: Duration,
    /// How long after its `ttl` a row may be served while it is fetched again.
    pub while_revalidate: Duration,
    /// How long after its `ttl` a row may be served where its shard does not answer.
    pub if_error: Duration,
}

/// Who may keep a response besides the client (`Cache-Control`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// `private, no-cache`: the client may keep it and must revalidate.
    Private,
    /// `public, no-cache`: shared caches may keep it too, and must revalidate.
    Public,
}

/// A column as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name clients use: exactly the column's name.
    pub name: String,
    /// The name quoted for SQL by the catalog reader. The only form that reaches a statement.
    pub quoted: String,
    /// The type as `format_type` prints it (`numeric(10,2)`).
    pub type_name: String,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the database supplies a value when none is given (default, identity).
    pub has_default: bool,
    /// Whether the database always computes it (`GENERATED ALWAYS`): never written.
    pub generated: bool,
    /// Whether values of several shards can be merged in this column's order by the gateway.
    pub mergeable: bool,
}

/// A column of the primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Index into [`Collection::columns`].
    pub column: usize,
    /// Its type.
    pub key_type: KeyType,
}

/// What a write to the collection's table may change besides the rows it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteReach {
    /// Only the rows themselves.
    Own,
    /// Rows of these collections too, through `ON DELETE`/`ON UPDATE` actions of foreign keys.
    Cascades(Vec<CollectionId>),
    /// Unknown: the table has user triggers or rules. Every collection's sweep bucket is raised.
    Anything,
}

impl WriteReach {
    /// Whether a write may change rows of this collection that it does not name.
    #[must_use]
    pub fn includes(&self, collection: CollectionId) -> bool {
        match self {
            Self::Own => false,
            Self::Cascades(others) => others.contains(&collection),
            Self::Anything => true,
        }
    }
}

/// A served table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its number.
    pub id: CollectionId,
    /// The first path segment after `/v1/`.
    pub name: Arc<str>,
    /// `"schema"."table"`, quoted by the catalog reader.
    pub relation: String,
    /// The table's bare name, for messages.
    pub table: String,
    /// Every exposed column, in table order.
    pub columns: Vec<Column>,
    /// The primary key, in key order.
    pub key: SmallVec<[KeyColumn; 1]>,
    /// Positions within [`Collection::key`] of the columns that place a row. A subset of the key,
    /// so that a keyed request always knows its shard and keys are unique across shards.
    pub shard_key: SmallVec<[usize; 1]>,
    /// What else a write may change.
    pub reach: WriteReach,
    /// The pipeline.
    pub mode: Mode,
    /// How long a row may be served from the cache at most.
    pub ttl: Duration,
    /// How long "no such row" may be served from the cache at most.
    pub negative_ttl: Duration,
    /// What its reads promise.
    pub consistency: Consistency,
    /// `Cache-Control` of its responses.
    pub visibility: Visibility,
    /// How long a CDN in front may serve a response, where it may at all.
    pub cdn_ttl: Option<Duration>,
    /// Rows a list returns when the client names no limit, and the most it may ask for.
    pub max_rows: u64,
    /// Most bytes of its lists in the cache, where it has a cap of its own.
    pub list_bytes: Option<u64>,
    /// Exposed columns by whose values its lists are told apart, the most telling ones first.
    pub track: Vec<Tracked>,
}

impl Collection {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The position in the key of the column of this name.
    #[must_use]
    pub fn key_position(&self, name: &str) -> Option<usize> {
        self.key.iter().position(|k| self.columns[k.column].name == name)
    }

    /// The columns of the key, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|k| &self.columns[k.column])
    }

    /// Parses key values given in key order.
    ///
    /// # Errors
    /// [`KeyParseError::Arity`] if their number differs from the key's, [`KeyParseError::Value`]
    /// for the first value its column cannot hold.
    pub fn parse_key<'a>(&self, values: impl Iterator<Item = &'a str>) -> Result<RowKey, KeyParseError> {
        let mut parsed = SmallVec::new();
        let mut given = 0;
        for value in values {
            if let Some(column) = self.key.get(given) {
                let value = column.key_type.parse(value).map_err(|error| KeyParseError::Value {
                    column: self.columns[column.column].name.clone(),
                    error,
                })?;
                parsed.push(value);
            }
            given += 1;
        }
        if given == self.key.len() {
            Ok(RowKey(parsed))
        } else {
            Err(KeyParseError::Arity { expected: self.key_columns().map(|c| c.name.clone()).collect(), given })
        }
    }

    /// Parses a key as [`RowKey::path_text`] writes it.
    ///
    /// # Errors
    /// [`KeyParseError`], also for a quoted value that does not end.
    pub fn parse_path_key(&self, text: &str) -> Result<RowKey, KeyParseError> {
        let values = key::split_path(text).ok_or(KeyParseError::Quote)?;
        self.parse_key(values.iter().map(String::as_str))
    }

    /// Whether what is kept of one may be served for the other: everything an entry, its time or a remembered
    /// answer depends on.
    fn is_defined_as(&self, other: &Self) -> bool {
        // Every field is named, so that a new one asks whether it belongs here.
        let Self {
            id: _,
            name,
            relation,
            table,
            columns,
            key,
            shard_key,
            reach: _,
            mode,
            ttl,
            negative_ttl,
            consistency,
            visibility: _,
            cdn_ttl: _,
            max_rows: _,
            list_bytes: _,
            track,
        } = self;
        (name, relation, table, columns) == (&other.name, &other.relation, &other.table, &other.columns)
            && (key, shard_key, mode) == (&other.key, &other.shard_key, &other.mode)
            && (ttl, negative_ttl, consistency) == (&other.ttl, &other.negative_ttl, &other.consistency)
            // Writes that know of no tracked column raise no values.
            && *track == other.track
    }

    /// What the buckets of its rows and lists begin with: the table and its key columns.
    #[must_use]
    pub fn seed(&self) -> RelationSeed {
        let mut hash = Xxh3Default::new();
        hash_text(&mut hash, &self.relation);
        for column in self.key_columns() {
            hash_text(&mut hash, &column.name);
        }
        RelationSeed(hash.digest())
    }

    /// The hash of its name and of what its answers look like: equal in every gateway that serves it alike.
    #[must_use]
    pub fn definition(&self) -> u64 {
        let mut hash = Xxh3Default::new();
        for text in [&*self.name, &self.relation] {
            hash_text(&mut hash, text);
        }
        for column in self.key_columns() {
            hash_text(&mut hash, &column.name);
        }
        hash.update(&(self.columns.len() as u64).to_le_bytes());
        for column in &self.columns {
            hash_text(&mut hash, &column.name);
            hash_text(&mut hash, &column.type_name);
        }
        hash.digest()
    }

    /// The canonical text of the values that place the row: what routing hashes.
    /// Several values are joined by the unit separator (0x1F).
    #[must_use]
    pub fn shard_key_text(&self, key: &RowKey) -> String {
        join_shard_key(self.shard_key.iter().map(|position| &key.0[*position]))
    }

    /// The same text from single column values, as `value_of` gives them by column name.
    /// `None` if one is missing or is not a value of its column.
    #[must_use]
    pub fn shard_key_text_from<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let values: Option<SmallVec<[KeyValue; 1]>> = self
            .shard_key
            .iter()
            .map(|position| {
                let column = &self.key[*position];
                column.key_type.parse(value_of(&self.columns[column.column].name)?).ok()
            })
            .collect();
        values.map(|values| join_shard_key(values.iter()))
    }
}

/// Length first, so that no two lists of texts have the same bytes.
fn hash_text(hash: &mut Xxh3Default, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn join_shard_key<'a>(values: impl Iterator<Item = &'a KeyValue>) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(20);
    for (i, value) in values.enumerate() {
        if i > 0 {
            text.push('\u{1f}');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
    }
    text
}

/// A keyed path that does not fit the collection's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyParseError {
    /// Another number of values than the key has columns.
    #[error("the key has {} column(s) ({}), the path gives {given}", expected.len(), expected.join(","))]
    Arity {
        /// Names of the key's columns.
        expected: Vec<String>,
        /// How many values were given.
        given: usize,
    },
    /// A value its column cannot hold.
    #[error("column {column}: {error}")]
    Value {
        /// The key column.
        column: String,
        /// What was wrong with it.
        error: KeyError,
    },
    /// A quoted value that does not end.
    #[error("a quoted value does not end")]
    Quote,
}

#[cfg(test)]
mod tests;
