//! What a shard's `pg_catalog` says, and the collections that configuration and catalog agree on.
//!
//! # Layout
//! - [`ShardCatalog`] and what it is made of
//! - `read`: the queries
//! - [`resolve()`]: configuration against catalog
//! - `reach`: what a write to a table may change elsewhere
//! - [`differences`]: one shard against another

mod compare;
mod reach;
mod read;
mod resolve;

use std::fmt;

use tidegate_types::collection::Column;

pub use compare::differences;
pub(crate) use read::read;
pub use resolve::resolve;

/// What kind of relation a catalog entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// An ordinary or partitioned table: can be served.
    Table,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A foreign table.
    ForeignTable,
}

/// Whether writes to a table run code the gateway does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserCode {
    /// No user triggers or rules.
    Absent,
    /// Triggers or rules, on the table or on one of its partitions.
    Present,
}

/// How equality of a column's values is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// Equal values have equal bytes.
    Bytewise,
    /// A non-deterministic collation decides.
    Loose,
}

/// What kind of type a column has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// A type of its own.
    Base,
    /// An enumeration, with its labels in order.
    Enum(Vec<String>),
    /// A domain: a type with conditions.
    Domain,
    /// Composite, range, array.
    Other,
}

/// How a database stores text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As the gateway does.
    Utf8,
    /// In another way.
    Other,
}

/// When the primary key is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCheck {
    /// With each row.
    Immediate,
    /// `DEFERRABLE`: cannot decide conflicts.
    Deferrable,
}

/// A CHECK of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogCheck {
    /// Its name.
    pub name: String,
    /// Its condition as PostgreSQL prints it.
    pub condition: String,
}

/// A column with what only resolution needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogColumn {
    /// The column as collections hold it.
    pub column: Column,
    /// `pg_type.typname`; with its schema where that is not `pg_catalog`.
    pub base_type: String,
    /// How equality is decided.
    pub equality: Equality,
    /// The kind of its type.
    pub kind: TypeKind,
    /// Its default as PostgreSQL prints it. An identity has none, though [`Column::has_default`].
    pub default: Option<String>,
}

/// A relation of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTable {
    /// `pg_class.oid`
    pub oid: u32,
    /// The schema, unquoted.
    pub schema: String,
    /// The name, unquoted.
    pub name: String,
    /// `"schema"."table"`, quoted by PostgreSQL.
    pub relation: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns in table order.
    pub columns: Vec<CatalogColumn>,
    /// Names of the primary key's columns in key order; empty if there is none.
    pub primary_key: Vec<String>,
    /// Triggers and rules.
    pub user_code: UserCode,
    /// When its primary key is checked.
    pub key_check: KeyCheck,
    /// Its CHECKs, by name.
    pub checks: Vec<CatalogCheck>,
}

/// A write to one table may change rows of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Written table's oid.
    pub from: u32,
    /// Table whose rows may change, by a foreign key's action or because they are the same rows (inheritance).
    pub to: u32,
}

/// What a shard's `pg_catalog` says about its user tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardCatalog {
    /// The shard's name.
    pub shard: String,
    /// Relations outside the system schemas, by schema and name.
    pub tables: Vec<CatalogTable>,
    /// Which writes reach further than their own table.
    pub edges: Vec<Edge>,
    /// How text is stored.
    pub encoding: Encoding,
    /// Schemas that unqualified names are looked up in, in order.
    pub search_path: Vec<String>,
}

/// Where configuration and catalog disagree, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The shard whose catalog was compared.
    pub shard: String,
    /// The collection's name in configuration.
    pub collection: String,
    /// The table, as far as it is known.
    pub table: String,
    /// The column, where one is at fault.
    pub column: Option<String>,
    /// What is wrong.
    pub wrong: String,
    /// How to mend it.
    pub mend: String,
}

impl ShardCatalog {
    /// The relation of this name, as configuration writes it: `table`, looked up along the search path,
    /// or `schema.table`.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&CatalogTable> {
        let in_schema = |schema: &str, name: &str| self.tables.iter().find(|t| t.schema == schema && t.name == name);
        let unqualified = self.search_path.iter().find_map(|schema| in_schema(schema, name));
        unqualified.or_else(|| name.split_once('.').and_then(|(schema, name)| in_schema(schema, name)))
    }
}

impl CatalogTable {
    /// The name configuration may use for it whatever the search path.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[collections.{}] shard {}: table {}", self.collection, self.shard, self.table)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}. {}", self.wrong, self.mend)
    }
}
