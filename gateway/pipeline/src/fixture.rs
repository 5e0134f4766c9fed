//! A collection for unit tests.

use std::time::Duration;

use tidegate_types::{
    collection::{Collection, CollectionId, Column, KeyColumn, Mode, Visibility, WriteReach},
    key::KeyType,
};

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
        visibility: Visibility::Private,
        max_rows: 1000,
    }
}
