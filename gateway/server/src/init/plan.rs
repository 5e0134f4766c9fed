//! Which tables become collections, under which names, and why the others do not.

use std::collections::HashSet;

use indexmap::IndexMap;
use tidegate_store::catalog::{CatalogTable, Mismatch, ShardCatalog, UserCode};
use tidegate_types::settings::CollectionSettings;

use crate::catalogs;

/// What the file will hold.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) served: Vec<Served>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A table that becomes a collection.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: String,
    /// As `table` takes it.
    pub(super) table: String,
    /// As SQL has it, for comments.
    pub(super) relation: String,
    pub(super) key: Vec<String>,
    /// Each with its type, for a comment.
    pub(super) columns: Vec<String>,
    pub(super) runs_code: bool,
}

/// A relation that does not, and why.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) reason: String,
}

/// Goes through the relations of every shard. `defaults` is a collection with every default.
pub(super) fn make(catalogs: &[ShardCatalog], defaults: &CollectionSettings) -> Plan {
    let mut plan = Plan::default();
    let Some((first, others)) = catalogs.split_first() else { return plan };
    let mut names = HashSet::new();
    for table in &first.tables {
        let name = collection_name(first, table, &mut names);
        match candidate(catalogs, table, &name, defaults) {
            Ok(served) => plan.served.push(served),
            Err(reason) => plan.left_out.push(LeftOut { name, table: reference(first, table), reason }),
        }
    }
    for catalog in others {
        for table in &catalog.tables {
            if !first.tables.iter().any(|t| t.schema == table.schema && t.name == table.name) {
                let reason = format!("shard {} has it, shard {} has not", catalog.shard, first.shard);
                let name = collection_name(catalog, table, &mut names);
                plan.left_out.push(LeftOut { name, table: reference(catalog, table), reason });
            }
        }
    }
    plan
}

/// Resolves the table on every shard, exactly as `serve` will.
fn candidate(
    catalogs: &[ShardCatalog],
    table: &CatalogTable,
    name: &str,
    defaults: &CollectionSettings,
) -> Result<Served, String> {
    let first = &catalogs[0];
    let written = reference(first, table);
    if first.table(&written).map(|found| found.oid) != Some(table.oid) {
        return Err("another table hides it under this name".to_owned());
    }
    if name.contains('/') || name.chars().any(char::is_control) {
        return Err("its name does not fit a path; name the collection yourself".to_owned());
    }
    let settings = CollectionSettings { table: written.clone(), ..defaults.clone() };
    let settings = IndexMap::from([(name.to_owned(), settings)]);
    catalogs::agree(&settings, catalogs).map_err(|mismatches| reasons(&mismatches, catalogs.len()))?;
    let columns = table.columns.iter().map(|c| format!("{} {}", c.column.name, c.column.type_name));
    Ok(Served {
        name: name.to_owned(),
        table: written,
        relation: table.relation.clone(),
        key: table.primary_key.clone(),
        columns: columns.collect(),
        runs_code: table.user_code == UserCode::Present,
    })
}

/// What is wrong, each with its shard unless every shard says so.
fn reasons(mismatches: &[Mismatch], shards: usize) -> String {
    let mut all: IndexMap<String, Vec<&str>> = IndexMap::new();
    for mismatch in mismatches {
        let column = mismatch.column.as_ref().map(|column| format!("column {column}: ")).unwrap_or_default();
        all.entry(format!("{column}{}. {}", mismatch.wrong, mismatch.mend)).or_default().push(&mismatch.shard);
    }
    let told = all.into_iter().map(|(reason, on)| match on.len() {
        n if n == shards => reason,
        _ => format!("shard {}: {reason}", on.join(", ")),
    });
    told.collect::<Vec<_>>().join(" ")
}

/// How `table` names it: without its schema where that is enough.
fn reference(catalog: &ShardCatalog, table: &CatalogTable) -> String {
    let found = catalog.table(&table.name).is_some_and(|found| found.oid == table.oid);
    if found { table.name.clone() } else { table.qualified_name() }
}

/// The table's name; with its schema where two tables share one.
fn collection_name(catalog: &ShardCatalog, table: &CatalogTable, taken: &mut HashSet<String>) -> String {
    let shared = catalog.tables.iter().filter(|other| other.name == table.name).count() > 1;
    let in_path = catalog.table(&table.name).is_some_and(|found| found.oid == table.oid);
    let mut name = if shared && !in_path { format!("{}_{}", table.schema, table.name) } else { table.name.clone() };
    while !taken.insert(name.clone()) {
        name.push('_');
    }
    name
}
