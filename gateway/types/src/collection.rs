//! A REST collection, resolved: configuration and catalog agree on every name in it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use smallvec::SmallVec;

use crate::key::{self, KeyError, KeyType, KeyValue, RowKey};

/// A collection of one name and one definition. Never means anything else in the life of the process: entries,
/// buckets and remembered answers rest on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId(pub u32);

/// Which pipeline a collection runs. One per collection; `write-through` and `write-behind` are
/// refused by the config parser until they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Reads fill the cache, writes commit on the shard and raise floors.
    CacheAside,
    /// Nothing is cached.
    Bypass,
}

impl Mode {
    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CacheAside => "cache-aside",
            Self::Bypass => "bypass",
        }
    }
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
    /// `Cache-Control` of its responses.
    pub visibility: Visibility,
    /// Rows a list returns when the client names no limit, and the most it may ask for.
    pub max_rows: u64,
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
            visibility: _,
            max_rows: _,
        } = self;
        (name, relation, table, columns) == (&other.name, &other.relation, &other.table, &other.columns)
            && (key, shard_key, mode) == (&other.key, &other.shard_key, &other.mode)
            && (ttl, negative_ttl) == (&other.ttl, &other.negative_ttl)
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

/// The served collections, replaced as a whole when configuration or catalog change.
#[derive(Debug, Default)]
pub struct Collections {
    all: Vec<Arc<Collection>>,
    by_name: HashMap<Arc<str>, usize>,
    by_id: HashMap<CollectionId, usize>,
    /// Which set this is, and the one it was numbered after.
    set: u64,
    after: u64,
    numbers: Arc<Numbers>,
}

/// What was given out so far by a set and all that were numbered after it.
#[derive(Debug, Default)]
struct Numbers {
    ids: AtomicU32,
    sets: AtomicU64,
}

impl Collections {
    /// The first set, as configuration and catalog give it.
    #[must_use]
    pub fn new(all: Vec<Arc<Collection>>) -> Self {
        let next = all.iter().map(|collection| collection.id.0.saturating_add(1)).max().unwrap_or(0);
        let numbers = Numbers { ids: AtomicU32::new(next), sets: AtomicU64::new(1) };
        Self::indexed(all, 0, 0, Arc::new(numbers))
    }

    fn indexed(all: Vec<Arc<Collection>>, set: u64, after: u64, numbers: Arc<Numbers>) -> Self {
        let by_name = all.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        let by_id = all.iter().enumerate().map(|(i, c)| (c.id, i)).collect();
        Self { all, by_name, by_id, set, after, numbers }
    }

    /// The collection of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.by_name.get(name).map(|i| &self.all[*i])
    }

    /// The collection of this id.
    #[must_use]
    pub fn by_id(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.by_id.get(&id).map(|i| &self.all[*i])
    }

    /// All of them, in the order of configuration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Collection>> {
        self.all.iter()
    }

    /// Whether this set was numbered after `before`, so that it may take its place.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        Arc::ptr_eq(&self.numbers, &before.numbers) && self.after == before.set && self.set != before.set
    }
}

/// Numbers a set that is to take the place of `old`. A collection keeps its number if its name and definition
/// are the same and no collection of `old` reaches it that did not before, since a write that is under way
/// knows only what it reached before. Every other collection gets a number that was never used. `new` may be
/// numbered in any way, as long as its numbers differ and its reaches agree with them.
#[must_use]
pub fn renumber(old: &Collections, new: Vec<Collection>) -> Collections {
    let numbers = &old.numbers;
    let newly_reached = |before: &Collection, collection: &Collection| {
        new.iter()
            .filter(|writer| writer.reach.includes(collection.id))
            .any(|writer| old.get(&writer.name).is_some_and(|known| !known.reach.includes(before.id)))
    };
    let number = |collection: &Collection| match old.get(&collection.name) {
        Some(before) if before.is_defined_as(collection) && !newly_reached(before, collection) => before.id,
        _ => CollectionId(numbers.ids.fetch_add(1, Ordering::Relaxed)),
    };
    let given: HashMap<CollectionId, CollectionId> = new.iter().map(|c| (c.id, number(c))).collect();
    let all = new.into_iter().map(|mut collection| {
        collection.id = given[&collection.id];
        if let WriteReach::Cascades(others) = &mut collection.reach {
            for other in &mut *others {
                *other = given.get(other).copied().unwrap_or(*other);
            }
            others.sort_unstable();
        }
        Arc::new(collection)
    });
    let set = numbers.sets.fetch_add(1, Ordering::Relaxed);
    Collections::indexed(all.collect(), set, old.set, numbers.clone())
}

#[cfg(test)]
mod tests;
