//! What the catalog says of a collection's columns: how to render its rows, or why nobody can.

use std::fmt;

use tidegate_types::collection::{Collection, KeyColumn};

use super::{check::Check, default::Default, json::quoted, kind::Kind};
use crate::catalog::{CatalogColumn, CatalogTable, Encoding, Equality, KeyCheck, ShardCatalog, TypeKind, UserCode};

/// How to render the rows of a collection. Two shards' are equal where the same row is rendered alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlan {
    /// The table's bare name, for messages.
    pub(super) table: String,
    /// In table order.
    pub(super) columns: Vec<Planned>,
    /// Positions among the columns, in key order.
    pub(super) key: Vec<KeyColumn>,
    /// Those that are understood, by name.
    pub(super) checks: Vec<Check>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: String,
    /// `"name":`, as it stands in a row.
    pub(super) member: String,
    pub(super) kind: Kind,
    pub(super) nullable: Nullable,
    pub(super) default: Default,
}

/// Whether NULL is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nullable {
    Yes,
    No,
}

/// Why a collection's rows cannot be acknowledged before their shard has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The column at fault, if one is.
    pub column: Option<String>,
    /// What it is about.
    pub reason: UnfitReason,
}

/// See [`Unfit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitReason {
    /// The catalog has no such table.
    #[error("its table is not in the catalog")]
    NoTable,
    /// Text has other bytes in the database.
    #[error("the database's encoding is not UTF8")]
    Encoding,
    /// The database does more than it is told.
    #[error("the table, or a partition of it, has triggers or rules: what a row becomes is not known beforehand")]
    UserCode,
    /// `ON CONFLICT` cannot use it.
    #[error("its primary key is DEFERRABLE, which an upsert cannot go by")]
    DeferrableKey,
    /// The database computes it.
    #[error("the database always computes it (GENERATED ALWAYS)")]
    Generated,
    /// Nobody could give it.
    #[error("it is not exposed, takes no NULL and has no default: no row could be inserted")]
    HiddenRequired,
    /// Its form is not known.
    #[error("how PostgreSQL renders the type {0} is not known to the gateway")]
    Type(String),
    /// It has conditions of its own.
    #[error("its type {0} is a domain, whose conditions the gateway does not know")]
    Domain(String),
    /// Equal is not the same.
    #[error("its collation is not deterministic")]
    LooseCollation,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "column {column}: {}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl ImagePlan {
    /// The plan for a collection, by a shard's catalog.
    ///
    /// # Errors
    /// Everything that stands against it.
    pub fn of(collection: &Collection, catalog: &ShardCatalog) -> Result<Self, Vec<Unfit>> {
        let Some(table) = catalog.tables.iter().find(|table| table.relation == collection.relation) else {
            return Err(vec![Unfit { column: None, reason: UnfitReason::NoTable }]);
        };
        let mut unfit: Vec<Unfit> =
            of_table(table, catalog.encoding).into_iter().map(|reason| Unfit { column: None, reason }).collect();
        let mut columns = Vec::with_capacity(collection.columns.len());
        for column in &table.columns {
            let exposed = collection.column(&column.column.name).is_some();
            match if exposed { planned(column).map(Some) } else { hidden(column) } {
                Ok(planned) => columns.extend(planned),
                Err(reason) => unfit.push(Unfit { column: Some(column.column.name.clone()), reason }),
            }
        }
        if !unfit.is_empty() {
            return Err(unfit);
        }
        let kinds: Vec<(&str, &Kind)> = columns.iter().map(|c| (c.name.as_str(), &c.kind)).collect();
        let checks = table.checks.iter().filter_map(|check| Check::understood(check, &kinds)).collect();
        Ok(Self { table: table.name.clone(), key: collection.key.to_vec(), columns, checks })
    }
}

fn of_table(table: &CatalogTable, encoding: Encoding) -> Vec<UnfitReason> {
    let mut reasons = Vec::new();
    if encoding == Encoding::Other {
        reasons.push(UnfitReason::Encoding);
    }
    if table.user_code == UserCode::Present {
        reasons.push(UnfitReason::UserCode);
    }
    if table.key_check == KeyCheck::Deferrable {
        reasons.push(UnfitReason::DeferrableKey);
    }
    reasons
}

fn planned(catalog: &CatalogColumn) -> Result<Planned, UnfitReason> {
    let column = &catalog.column;
    if column.generated {
        return Err(UnfitReason::Generated);
    }
    if catalog.kind == TypeKind::Domain {
        return Err(UnfitReason::Domain(column.type_name.clone()));
    }
    if catalog.equality == Equality::Loose {
        return Err(UnfitReason::LooseCollation);
    }
    let kind = Kind::of(catalog).ok_or_else(|| UnfitReason::Type(column.type_name.clone()))?;
    let default = match &catalog.default {
        Some(expression) => Default::of(&kind, expression, &catalog.base_type),
        None if column.has_default => Default::Computed,
        None => Default::Null,
    };
    Ok(Planned {
        name: column.name.clone(),
        member: format!("{}:", quoted(&column.name)),
        nullable: if column.not_null { Nullable::No } else { Nullable::Yes },
        kind,
        default,
    })
}

/// A column that no client sees gets what the database gives it.
fn hidden(catalog: &CatalogColumn) -> Result<Option<Planned>, UnfitReason> {
    let column = &catalog.column;
    if column.not_null && !column.has_default && !column.generated {
        return Err(UnfitReason::HiddenRequired);
    }
    Ok(None)
}
