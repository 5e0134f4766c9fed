//! Configuration against catalog: collections, or everything that is wrong.

use std::collections::HashMap;

use indexmap::IndexMap;
use smallvec::SmallVec;
use tidegate_types::{
    collection::{Collection, CollectionId, Column, KeyColumn, WriteReach},
    key::KeyType,
    settings::CollectionSettings,
    track::{Tracked, TrackedKind},
};

use super::{CatalogColumn, CatalogTable, Equality, Mismatch, RelationKind, ShardCatalog, TypeKind, reach::reach};

/// How alike two names must be for one to be suggested for the other.
const ALIKE: f64 = 0.75;

/// Resolves the configured collections against a shard's catalog. Ids are positions in `settings`.
///
/// # Errors
/// Every disagreement found, not only the first.
pub fn resolve(
    settings: &IndexMap<String, CollectionSettings>,
    catalog: &ShardCatalog,
) -> Result<Vec<Collection>, Vec<Mismatch>> {
    let mut collections = Vec::with_capacity(settings.len());
    let mut oids = Vec::with_capacity(settings.len());
    let mut mismatches = Vec::new();
    for (position, (name, settings)) in settings.iter().enumerate() {
        let mut resolver = Resolver { catalog, name, settings, mismatches: &mut mismatches };
        let id = CollectionId(u32::try_from(position).unwrap_or(u32::MAX));
        if let Some((oid, collection)) = resolver.resolve(id) {
            oids.push(oid);
            collections.push(collection);
        }
    }
    if !mismatches.is_empty() {
        return Err(mismatches);
    }
    let mut served: HashMap<u32, Vec<CollectionId>> = HashMap::new();
    for (oid, collection) in oids.iter().zip(&collections) {
        served.entry(*oid).or_default().push(collection.id);
    }
    for (oid, collection) in oids.iter().zip(&mut collections) {
        collection.reach = reach(catalog, &served, collection.id, *oid);
    }
    Ok(collections)
}

struct Resolver<'a> {
    catalog: &'a ShardCatalog,
    name: &'a str,
    settings: &'a CollectionSettings,
    mismatches: &'a mut Vec<Mismatch>,
}

impl<'a> Resolver<'a> {
    fn resolve(&mut self, id: CollectionId) -> Option<(u32, Collection)> {
        let found = self.mismatches.len();
        let table = self.table()?;
        let columns = self.columns(table);
        let key = self.key(table, &columns);
        let shard_key = self.shard_key(table);
        let track = self.track(table, &columns);
        if self.mismatches.len() > found {
            return None;
        }
        let settings = self.settings;
        let collection = Collection {
            id,
            name: self.name.into(),
            relation: table.relation.clone(),
            table: table.name.clone(),
            columns: columns.into_iter().cloned().collect(),
            key,
            shard_key,
            reach: WriteReach::Anything,
            mode: settings.mode,
            ttl: settings.ttl,
            negative_ttl: settings.negative_ttl,
            consistency: settings.consistency,
            visibility: settings.visibility,
            cdn_ttl: settings.cdn_ttl,
            max_rows: settings.max_rows,
            list_bytes: settings.list_bytes,
            track,
        };
        Some((table.oid, collection))
    }

    /// A table with a primary key.
    fn table(&mut self) -> Option<&'a CatalogTable> {
        let catalog = self.catalog;
        let Some(table) = catalog.table(&self.settings.table) else {
            let mend = match self.nearest_table() {
                Some(name) => format!("Did you mean table = \"{name}\"?"),
                None => format!(
                    "Create it, or name one that exists; unqualified names are looked up in: {}.",
                    catalog.search_path.join(", ")
                ),
            };
            self.mismatch(None, "there is no such table", mend);
            return None;
        };
        let kind = match table.kind {
            RelationKind::Table => None,
            RelationKind::View => Some("a view"),
            RelationKind::MaterializedView => Some("a materialized view"),
            RelationKind::ForeignTable => Some("a foreign table"),
        };
        if let Some(kind) = kind {
            self.mismatch(None, format!("it is {kind}"), "Only tables can be served: name the table behind it.");
            return None;
        }
        if table.primary_key.is_empty() {
            let mend = format!("Add one: ALTER TABLE {} ADD PRIMARY KEY (...).", table.relation);
            self.mismatch(None, "it has no primary key", mend);
            return None;
        }
        Some(table)
    }

    /// The name that was probably meant, as configuration would have to write it.
    fn nearest_table(&self) -> Option<String> {
        let (catalog, wanted) = (self.catalog, self.settings.table.as_str());
        let score = |table: &&CatalogTable| {
            strsim::jaro_winkler(wanted, &table.name).max(strsim::jaro_winkler(wanted, &table.qualified_name()))
        };
        let best = catalog.tables.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
        let on_path = catalog.search_path.contains(&best.schema);
        let name = if on_path { best.name.clone() } else { best.qualified_name() };
        (score(&best) >= ALIKE).then_some(name)
    }

    /// The exposed columns in table order.
    fn columns(&mut self, table: &'a CatalogTable) -> Vec<&'a Column> {
        let exposed = &self.settings.columns;
        for name in exposed {
            if !table.columns.iter().any(|c| c.column.name == *name) {
                let mend = match nearest(name, table.columns.iter().map(|c| c.column.name.as_str())) {
                    Some(near) => format!("Did you mean \"{near}\"?"),
                    None => "Remove it from `columns`.".to_owned(),
                };
                self.mismatch(Some(name), "there is no such column", mend);
            }
        }
        if !exposed.is_empty() {
            for key in table.primary_key.iter().filter(|key| !exposed.contains(key)) {
                self.mismatch(
                    Some(key),
                    "it belongs to the primary key and is not exposed",
                    "Add it to `columns`: without it rows cannot be named.",
                );
            }
        }
        let columns = table.columns.iter().map(|c| &c.column);
        columns.filter(|c| exposed.is_empty() || exposed.contains(&c.name)).collect()
    }

    fn key(&mut self, table: &'a CatalogTable, exposed: &[&Column]) -> SmallVec<[KeyColumn; 1]> {
        let configured = &self.settings.key;
        if !configured.is_empty() && *configured != table.primary_key {
            let wrong = format!("key = {configured:?}, but the primary key is ({})", table.primary_key.join(", "));
            self.mismatch(None, wrong, format!("Set key = {:?}, or remove the line.", table.primary_key));
        }
        let mut key = SmallVec::new();
        for name in &table.primary_key {
            let Some(column) = table.columns.iter().find(|c| c.column.name == *name) else { continue };
            match key_type(column) {
                Ok(key_type) => {
                    let position = exposed.iter().position(|c| c.name == *name);
                    key.extend(position.map(|column| KeyColumn { column, key_type }));
                }
                Err(unfit) => self.mismatch(
                    Some(name),
                    match unfit {
                        Unfit::Loose => {
                            "its collation is not deterministic: different texts may be the same key".to_owned()
                        }
                        Unfit::Type => format!("its type {} cannot be a key", column.column.type_name),
                    },
                    "Keys may be smallint, integer, bigint, text, varchar, uuid or boolean: for those, equal keys \
                     have equal text, on which cache identity and placement rest.",
                ),
            }
        }
        key
    }

    fn shard_key(&mut self, table: &CatalogTable) -> SmallVec<[usize; 1]> {
        if self.settings.shard_key.is_empty() {
            return SmallVec::from_buf([0]);
        }
        let mut positions = SmallVec::new();
        for name in &self.settings.shard_key {
            match table.primary_key.iter().position(|key| key == name) {
                Some(position) => positions.push(position),
                None => self.mismatch(
                    Some(name),
                    format!("shard_key names it, but the primary key is ({})", table.primary_key.join(", ")),
                    "Place rows by columns of the primary key only: a keyed request must know its shard, and keys \
                     must be unique across shards.",
                ),
            }
        }
        positions
    }

    /// The tracked columns, in the order of the configuration.
    fn track(&mut self, table: &'a CatalogTable, exposed: &[&Column]) -> Vec<Tracked> {
        let mut track = Vec::new();
        for name in &self.settings.track {
            let exposed_too = exposed.iter().any(|column| column.name == *name);
            match table.columns.iter().find(|c| c.column.name == *name) {
                Some(column) if exposed_too => match tracked_kind(column) {
                    Ok(kind) => track.push(Tracked { name: name.as_str().into(), kind }),
                    Err(wrong) => self.mismatch(
                        Some(name),
                        wrong,
                        "Lists can be told apart by smallint, integer, bigint, text, varchar, uuid, boolean, date and \
                         enumerations: for those, equal values have equal text. Remove it from `track`.",
                    ),
                },
                Some(_) => self.mismatch(
                    Some(name),
                    "it is tracked and not exposed",
                    "Add it to `columns`, or remove it from `track`: clients cannot ask for its values.",
                ),
                None => {
                    let mend = match nearest(name, exposed.iter().map(|column| column.name.as_str())) {
                        Some(near) => format!("Did you mean track = [\"{near}\"]?"),
                        None => "Remove it from `track`.".to_owned(),
                    };
                    self.mismatch(Some(name), "`track` names it, and there is no such column", mend);
                }
            }
        }
        track
    }

    fn mismatch(&mut self, column: Option<&str>, wrong: impl Into<String>, mend: impl Into<String>) {
        self.mismatches.push(Mismatch {
            shard: self.catalog.shard.clone(),
            collection: self.name.to_owned(),
            table: self.settings.table.clone(),
            column: column.map(str::to_owned),
            wrong: wrong.into(),
            mend: mend.into(),
        });
    }
}

/// Why equality of a column's values is not equality of their text.
enum Unfit {
    /// Its collation.
    Loose,
    /// Its type, as far as is known here.
    Type,
}

/// The type of a column whose equal values have equal text.
fn key_type(column: &CatalogColumn) -> Result<KeyType, Unfit> {
    let key_type = match column.base_type.as_str() {
        "int2" => KeyType::Int2,
        "int4" => KeyType::Int4,
        "int8" => KeyType::Int8,
        "text" | "varchar" if column.equality == Equality::Loose => {
            return Err(Unfit::Loose);
        }
        "text" | "varchar" => KeyType::Text,
        "uuid" => KeyType::Uuid,
        "bool" => KeyType::Bool,
        _ => return Err(Unfit::Type),
    };
    Ok(key_type)
}

/// The kind of a tracked column, or why it cannot be one.
fn tracked_kind(column: &CatalogColumn) -> Result<TrackedKind, String> {
    match (&column.kind, column.base_type.as_str()) {
        (TypeKind::Enum(_), _) => Ok(TrackedKind::Label),
        (_, "date") => Ok(TrackedKind::Date),
        _ => key_type(column).map(TrackedKind::Key).map_err(|unfit| match unfit {
            Unfit::Loose => "its collation is not deterministic: different texts may be equal".to_owned(),
            Unfit::Type => format!("its type {} cannot be tracked", column.column.type_name),
        }),
    }
}

fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = among.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}
