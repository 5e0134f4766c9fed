//! The text of writes, with and without columns whose values somebody wants.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_types::{
    collection::{Collection, CollectionId, Column, Consistency, KeyColumn, Mode, Visibility, WriteReach},
    key::{KeyType, KeyValue, RowKey},
    query::{ColumnRef, Count, Filter, ListQuery, Operator, Projection, Sense},
    request::{
        Cardinality, IfMatch, IfNoneMatch, Missing, Resolution, ReturnPreference, RowsBody, WriteAction, WriteRequest,
    },
};

use super::*;

fn collection() -> Arc<Collection> {
    let column = |name: &str| Column {
        name: name.into(),
        quoted: format!("\"{name}\""),
        type_name: "int".into(),
        not_null: false,
        has_default: false,
        generated: false,
        mergeable: true,
    };
    Arc::new(Collection {
        id: CollectionId(0),
        name: "items".into(),
        relation: "public.items".into(),
        table: "items".into(),
        columns: vec![column("id"), column("v")],
        key: [KeyColumn { column: 0, key_type: KeyType::Int4 }].into_iter().collect(),
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
    })
}

/// One of each kind, and the statement that reads the rows first, as far as there is one.
fn kinds() -> Vec<(WriteAction, &'static str)> {
    let body = || RowsBody {
        json: Bytes::from_static(br#"[{"id":1,"v":2}]"#),
        rows: 1,
        columns: vec!["id".into(), "v".into()],
        keys: vec![None],
        shard_keys: vec![None],
    };
    let key = RowKey::single(KeyValue::Int(1));
    let insert = |resolution, missing| WriteAction::Insert { body: body(), resolution, missing };
    let column = ColumnRef { name: "v".into(), path: Vec::new() };
    let filter = Filter::Compare { column, operator: Operator::Eq, value: "7".into(), sense: Sense::Plain };
    let query = ListQuery { filters: vec![filter], ..ListQuery::default() };
    const BY_KEY: &str = "SELECT t.\"id\", t.\"v\"::text FROM public.items t WHERE t.\"id\" = $1::int4 FOR UPDATE OF t";
    const BY_BODY: &str = "SELECT t.\"id\", t.\"v\"::text FROM json_to_recordset($1::json) AS x (\"id\" int) \
        JOIN public.items t ON t.\"id\" = x.\"id\" ORDER BY t.\"id\" LIMIT 1025 FOR UPDATE OF t";
    const BY_FILTER: &str = "SELECT t.\"id\", t.\"v\"::text FROM public.items t WHERE (t.\"v\" = $1) \
        ORDER BY t.\"id\" LIMIT 1025 FOR UPDATE OF t";
    vec![
        (insert(Resolution::Fail, Missing::Null), ""),
        (insert(Resolution::IgnoreDuplicates, Missing::Null), ""),
        (insert(Resolution::MergeDuplicates, Missing::Null), BY_BODY),
        (insert(Resolution::MergeDuplicates, Missing::Default), BY_BODY),
        (WriteAction::Put { key: key.clone(), body: body() }, BY_KEY),
        (WriteAction::Patch { key: key.clone(), body: body() }, BY_KEY),
        (WriteAction::Delete { key }, ""),
        (WriteAction::PatchWhere { query: query.clone(), body: body() }, BY_FILTER),
        (WriteAction::DeleteWhere { query }, ""),
    ]
}

fn request(action: WriteAction) -> WriteRequest {
    WriteRequest {
        collection: collection(),
        action,
        if_match: IfMatch::Absent,
        if_none_match: IfNoneMatch::Absent,
        returning: ReturnPreference::Minimal,
        projection: Projection::Whole,
        count: Count::None,
        cardinality: Cardinality::Many,
        wait: Duration::ZERO,
        idempotency: None,
    }
}

#[test]
fn declared_columns_are_added_at_the_end_and_nothing_else_changes() {
    for (action, before) in kinds() {
        let request = request(action);
        let declared = Declared::new(&request.collection, &["nope".into(), "v".into()]);
        let (plain, asked) = (Plan::of(&request, None).expect("valid"), Plan::of(&request, Some(&declared)));
        let asked = asked.expect("valid");
        assert!(plain.before.is_none());
        assert_eq!(asked.before.as_ref().map_or("", |before| before.text.as_str()), before);
        assert_eq!(plain.statements.len(), asked.statements.len());
        for (plain, asked) in plain.statements.iter().zip(&asked.statements) {
            let added = asked.text.strip_prefix(&*plain.text).expect("the same statement");
            let added = added.strip_suffix(", t.\"v\"::text").expect(added);
            // An upsert also says whether the table is partitioned.
            assert_eq!(added.is_empty(), !plain.text.contains("DO UPDATE"), "{added}");
            assert_eq!(plain.params[..], asked.params[..plain.params.len()]);
        }
    }
}

#[test]
fn creation_only_looks_for_nothing() {
    for (action, _) in kinds().into_iter().take(5) {
        let request = WriteRequest { if_none_match: IfNoneMatch::Any, ..request(action) };
        let declared = Declared::new(&request.collection, &["v".into()]);
        assert!(Plan::of(&request, Some(&declared)).expect("valid").before.is_none(), "{:?}", request.action);
    }
}
