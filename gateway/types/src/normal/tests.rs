use std::time::Duration;

use super::*;
use crate::{
    collection::{CollectionId, Consistency, KeyColumn, Mode, Visibility, WriteReach},
    query::{ColumnRef, Count, IsValue, JsonOutput, JsonStep, JsonTarget, Projection, SelectItem},
};

fn items() -> Collection {
    let column = |name: &str, type_name: &str, mergeable| Column {
        name: name.into(),
        quoted: name.into(),
        type_name: type_name.into(),
        not_null: name == "id",
        has_default: false,
        generated: false,
        mergeable,
    };
    Collection {
        id: CollectionId(0),
        name: "items".into(),
        relation: "public.items".into(),
        table: "items".into(),
        columns: vec![
            column("id", "bigint", true),
            column("name", "text", true),
            column("uuid", "uuid", true),
            column("ok", "boolean", true),
            column("at", "timestamp(3) with time zone", true),
            column("times", "time(0) with time zone[]", false),
            column("day", "date", true),
            column("hour", "time without time zone", true),
            column("price", "numeric(10,2)", true),
            column("meta", "jsonb", false),
        ],
        key: [KeyColumn { column: 0, key_type: KeyType::Int8 }].into_iter().collect(),
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

fn column(name: &str) -> ColumnRef {
    ColumnRef { name: name.into(), path: Vec::new() }
}

fn compare(name: &str, operator: Operator, value: &str) -> Filter {
    Filter::Compare { column: column(name), operator, value: value.into(), sense: Sense::Plain }
}

fn eq(name: &str, value: &str) -> Filter {
    compare(name, Operator::Eq, value)
}

fn within(name: &str, values: &[&str]) -> Filter {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Filter::In { column: column(name), values, sense: Sense::Plain }
}

fn and(terms: &[Filter]) -> Filter {
    Filter::And { terms: terms.to_vec(), sense: Sense::Plain }
}

fn or(terms: &[Filter], sense: Sense) -> Filter {
    Filter::Or { terms: terms.to_vec(), sense }
}

fn by(name: &str, direction: Direction, nulls: Nulls) -> OrderTerm {
    OrderTerm { column: column(name), direction, nulls }
}

fn where_(filters: &[Filter]) -> ListQuery {
    ListQuery { filters: filters.to_vec(), ..ListQuery::default() }
}

fn ordered(order: &[OrderTerm]) -> ListQuery {
    ListQuery { order: order.to_vec(), ..ListQuery::default() }
}

fn bytes(query: &ListQuery) -> Vec<u8> {
    encode(&normal(&items(), query))
}

#[test]
fn queries_that_mean_the_same_are_the_same() {
    let (a, b, c) = (eq("name", "a"), eq("price", "1"), compare("id", Operator::Gt, "7"));
    let asc = by("name", Direction::Asc, Nulls::Last);
    let id = |nulls| by("id", Direction::Asc, nulls);
    for (one, other) in [
        (where_(&[a.clone(), b.clone()]), where_(&[b.clone(), a.clone(), b.clone()])),
        (
            where_(&[a.clone(), and(&[c.clone(), and(std::slice::from_ref(&b))])]),
            where_(&[c.clone(), b.clone(), a.clone()]),
        ),
        (where_(&[or(&[a.clone(), b.clone()], Sense::Plain)]), where_(&[or(&[b.clone(), a.clone()], Sense::Plain)])),
        (
            where_(&[or(&[a.clone(), or(&[b.clone(), c.clone()], Sense::Plain)], Sense::Negated)]),
            where_(&[or(&[c.clone(), b.clone(), a.clone()], Sense::Negated)]),
        ),
        (
            where_(&[or(&[or(std::slice::from_ref(&a), Sense::Negated)], Sense::Negated)]),
            where_(std::slice::from_ref(&a)),
        ),
        (where_(&[within("id", &["3", "01", "1", "3"])]), where_(&[within("id", &["1", "3"])])),
        (where_(&[compare("id", Operator::Lte, "+07")]), where_(&[compare("id", Operator::Lte, "7")])),
        (
            where_(&[eq("uuid", "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}")]),
            where_(&[eq("uuid", "a0eebc999c0b4ef8bb6d6bb9bd380a11")]),
        ),
        (where_(&[eq("ok", "t")]), where_(&[eq("ok", "true")])),
        (ordered(&[]), ordered(&[id(Nulls::Last)])),
        (ordered(&[id(Nulls::First)]), ordered(&[id(Nulls::Last)])),
        (ordered(&[asc.clone(), asc.clone()]), ordered(&[asc.clone(), id(Nulls::Last)])),
        (ListQuery::default(), ListQuery { limit: Some(5000), ..ListQuery::default() }),
    ] {
        assert_eq!(bytes(&one), bytes(&other), "{one:?} {other:?}");
    }
}

#[test]
fn queries_that_may_mean_something_else_are_not_the_same() {
    let (a, b) = (eq("name", "a"), eq("price", "1"));
    let path = |key: JsonTarget, output| {
        let column = ColumnRef { name: "meta".into(), path: vec![JsonStep { to: key, output }] };
        where_(&[Filter::Compare { column, operator: Operator::Eq, value: "1".into(), sense: Sense::Plain }])
    };
    let item = |alias: Option<&str>, cast: Option<&str>| {
        let (alias, cast) = (alias.map(str::to_owned), cast.map(str::to_owned));
        let projection = Projection::Items([SelectItem::Column { alias, column: column("id"), cast }].into());
        ListQuery { projection, ..ListQuery::default() }
    };
    let is = |value| where_(&[Filter::Is { column: column("name"), value, sense: Sense::Plain }]);
    let all = [
        ListQuery::default(),
        ListQuery { limit: Some(1), ..ListQuery::default() },
        ListQuery { offset: 1, ..ListQuery::default() },
        ListQuery { count: Count::Exact, ..ListQuery::default() },
        ListQuery { projection: Projection::Items([SelectItem::Star].into()), ..ListQuery::default() },
        item(None, None),
        item(Some("text"), None),
        item(None, Some("text")),
        where_(std::slice::from_ref(&a)),
        where_(&[a.clone(), b.clone()]),
        where_(&[or(&[a.clone(), b.clone()], Sense::Plain)]),
        where_(&[or(&[a.clone(), b.clone()], Sense::Negated)]),
        where_(&[Filter::And { terms: vec![a.clone(), b], sense: Sense::Negated }]),
        where_(&[or(&[a], Sense::Negated)]),
        // As numbers these are equal, as text they are not.
        where_(&[eq("price", "1.0")]),
        where_(&[eq("name", "07")]),
        where_(&[eq("name", "7")]),
        where_(&[compare("id", Operator::Like, "07")]),
        where_(&[compare("id", Operator::Like, "7")]),
        where_(&[eq("uuid", "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
        where_(&[eq("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
        where_(&[within("name", &["a", "b"])]),
        where_(&[within("name", &["a,b"])]),
        where_(&[within("name", &[])]),
        is(IsValue::Null),
        is(IsValue::NotNull),
        is(IsValue::True),
        path(JsonTarget::Key("1".into()), JsonOutput::Text),
        path(JsonTarget::Key("1".into()), JsonOutput::Json),
        path(JsonTarget::Index(1), JsonOutput::Text),
        ordered(&[by("name", Direction::Asc, Nulls::Last)]),
        ordered(&[by("name", Direction::Asc, Nulls::First)]),
        ordered(&[by("name", Direction::Desc, Nulls::First)]),
        ordered(&[by("id", Direction::Desc, Nulls::First)]),
        // It does not matter by what rows are sorted that are told apart already, but it may not exist.
        ordered(&[by("id", Direction::Asc, Nulls::Last), by("nope", Direction::Asc, Nulls::Last)]),
    ];
    for (i, one) in all.iter().enumerate() {
        for (j, other) in all.iter().enumerate() {
            assert_eq!(bytes(one) == bytes(other), i == j, "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_key_that_the_gateway_cannot_merge_by_is_not_the_same_when_it_is_asked_for() {
    let mut words = items();
    words.columns[0].mergeable = false;
    let bytes = |query| encode(&normal(&words, &query));
    assert_ne!(bytes(ordered(&[])), bytes(ordered(&[by("id", Direction::Asc, Nulls::Last)])));
}

#[test]
fn what_looks_at_the_clock_is_told_apart() {
    let cast = |name: &str, cast: &str| {
        let item = SelectItem::Column { alias: None, column: column(name), cast: Some(cast.into()) };
        ListQuery { projection: Projection::Items([item].into()), ..ListQuery::default() }
    };
    let is = |query: &ListQuery| is_timely(&items(), query);
    for timely in [
        where_(&[compare("at", Operator::Lt, "now")]),
        where_(&[compare("day", Operator::Gte, " ToDay ")]),
        where_(&[or(&[eq("name", "x"), within("at", &["2026-01-01", "yesterday 12:00"])], Sense::Negated)]),
        where_(&[eq("hour", "now")]),
        where_(&[eq("times", "{12:00}")]),
        cast("name", "Timestamptz"),
        cast("meta", "date"),
        cast("hour", "timetz"),
    ] {
        assert!(is(&timely), "{timely:?}");
    }
    for timeless in [
        where_(&[compare("at", Operator::Lt, "2026-01-01"), eq("name", "now"), eq("price", "now")]),
        where_(&[Filter::Is { column: column("at"), value: IsValue::Null, sense: Sense::Plain }]),
        cast("at", "date"),
        cast("day", "timestamptz"),
        cast("at", "text"),
        ListQuery::default(),
    ] {
        assert!(!is(&timeless), "{timeless:?}");
    }
}
