//! A collection and a dialect for unit tests.

use std::time::Duration;

use tidegate_types::{
    collection::{Collection, CollectionId, Column, Consistency, KeyColumn, Mode, Visibility, WriteReach},
    key::KeyType,
    query::{ColumnRef, Filter, ListQuery, Operator, Sense},
};

use crate::dialect::Dialect;

/// A table with the key (id, lang).
pub(crate) fn collection(id: u32, name: &str) -> Collection {
    let column = |name: &str| Column {
        name: name.into(),
        quoted: name.into(),
        type_name: "text".into(),
        not_null: true,
        has_default: false,
        generated: false,
        mergeable: true,
    };
    Collection {
        id: CollectionId(id),
        name: name.into(),
        relation: format!("public.{name}"),
        table: name.into(),
        columns: vec![column("id"), column("lang")],
        key: [KeyColumn { column: 0, key_type: KeyType::Int8 }, KeyColumn { column: 1, key_type: KeyType::Text }]
            .into_iter()
            .collect(),
        shard_key: [0].into_iter().collect(),
        reach: WriteReach::Own,
        mode: Mode::CacheAside,
        ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(5),
        consistency: Consistency::Strict,
        visibility: Visibility::Private,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
    }
}

/// Knows conditions of equality, as `name=eq.value`.
#[derive(Debug)]
pub(crate) struct Equalities;

impl Dialect for Equalities {
    fn list(&self, collection: &Collection, query: &str) -> Result<ListQuery, String> {
        let filter = |pair: &str| {
            let (name, value) = pair.split_once("=eq.").ok_or("not an equality")?;
            collection.column(name).ok_or("no such column")?;
            let column = ColumnRef { name: name.to_owned(), path: Vec::new() };
            Ok(Filter::Compare { column, operator: Operator::Eq, value: value.to_owned(), sense: Sense::Plain })
        };
        let filters = query.split('&').map(filter).collect::<Result<_, &str>>()?;
        Ok(ListQuery { filters, ..ListQuery::default() })
    }
}
