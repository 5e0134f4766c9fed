//! What reaches a statement's text, and what does not.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use smallvec::smallvec;
use tidegate_types::{
    collection::{Collection, CollectionId, Column, Consistency, KeyColumn, Mode, Visibility, WriteReach},
    key::KeyType,
    query::{
        ColumnRef, Direction, Filter, IsValue, JsonOutput, JsonStep, JsonTarget, Nulls, Operator, OrderTerm,
        Projection, SelectItem, Sense,
    },
};

use super::{Sql, check_projection};

fn collection() -> Collection {
    let column = |name: &str, quoted: &str, type_name: &str| Column {
        name: name.into(),
        quoted: quoted.into(),
        type_name: type_name.into(),
        not_null: false,
        has_default: false,
        generated: false,
        mergeable: true,
    };
    Collection {
        id: CollectionId(0),
        name: "items".into(),
        relation: "public.items".into(),
        table: "items".into(),
        columns: vec![
            column("id", "id", "bigint"),
            column("it's \"odd\"", "\"it's \"\"odd\"\"\"", "text"),
            column("meta", "meta", "jsonb"),
        ],
        key: smallvec![KeyColumn { column: 0, key_type: KeyType::Int8 }],
        shard_key: smallvec![0],
        reach: WriteReach::Own,
        mode: Mode::Bypass,
        ttl: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        consistency: Consistency::Strict,
        visibility: Visibility::Private,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
    }
}

/// Text no statement contains by itself.
const MARK: &str = "MARKed";

/// What a client might send, with a mark in it.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "'",
        "\"",
        "\\",
        ";",
        "--",
        "/*",
        "*/",
        "$1",
        "$$",
        ")",
        "(",
        ",",
        "{",
        "}",
        "\0",
        "\n",
        "''",
        "\"\"",
        "E'",
        "::",
        "é",
        "%",
        "*",
        "?",
        "); DROP TABLE items; --",
        "' OR '1'='1",
        "pg_sleep(9)",
        "𝄞",
    ]);
    (prop::collection::vec(pieces.clone(), 0..4), prop::collection::vec(pieces, 0..4))
        .prop_map(|(before, after)| format!("{}{MARK}{}", before.concat(), after.concat()))
}

fn column_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("id".to_owned()), Just("it's \"odd\"".to_owned()), Just("meta".to_owned()), hostile(),]
}

fn column_ref() -> impl Strategy<Value = ColumnRef> {
    let target = prop_oneof![hostile().prop_map(JsonTarget::Key), any::<i32>().prop_map(JsonTarget::Index)];
    let output = prop_oneof![Just(JsonOutput::Json), Just(JsonOutput::Text)];
    let step = (target, output).prop_map(|(to, output)| JsonStep { to, output });
    (column_name(), prop::collection::vec(step, 0..3)).prop_map(|(name, path)| ColumnRef { name, path })
}

fn sense() -> impl Strategy<Value = Sense> {
    prop_oneof![Just(Sense::Plain), Just(Sense::Negated)]
}

fn filter() -> impl Strategy<Value = Filter> {
    let operator = prop::sample::select(vec![
        Operator::Eq,
        Operator::Neq,
        Operator::Gt,
        Operator::Gte,
        Operator::Lt,
        Operator::Lte,
        Operator::Like,
        Operator::Ilike,
    ]);
    let leaf = prop_oneof![
        (column_ref(), operator, hostile(), sense()).prop_map(|(column, operator, value, sense)| Filter::Compare {
            column,
            operator,
            value,
            sense
        }),
        (column_ref(), prop::collection::vec(hostile(), 0..3), sense())
            .prop_map(|(column, values, sense)| Filter::In { column, values, sense }),
        (column_ref(), sense()).prop_map(|(column, sense)| Filter::Is { column, value: IsValue::Null, sense }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let terms = prop::collection::vec(inner, 1..3);
        prop_oneof![
            (terms.clone(), sense()).prop_map(|(terms, sense)| Filter::And { terms, sense }),
            (terms, sense()).prop_map(|(terms, sense)| Filter::Or { terms, sense }),
        ]
    })
}

fn projection() -> impl Strategy<Value = Projection> {
    let cast = prop_oneof![Just("text".to_owned()), hostile()];
    let item = prop_oneof![
        Just(SelectItem::Star),
        (prop::option::of(hostile()), column_ref(), prop::option::of(cast))
            .prop_map(|(alias, column, cast)| SelectItem::Column { alias, column, cast }),
    ];
    prop_oneof![
        Just(Projection::Whole),
        prop::collection::vec(item, 1..5).prop_map(|items| Projection::Items(items.into())),
    ]
}

/// The highest `$n` of a statement.
fn placeholders(text: &str) -> usize {
    let numbers = text.split('$').skip(1).map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    text.split('$').skip(1).zip(numbers).filter_map(|(rest, digits)| rest[..digits].parse().ok()).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_a_client_sends_reaches_a_statements_text(
        projection in projection(),
        filters in prop::collection::vec(filter(), 0..3),
        order in prop::collection::vec(column_ref(), 0..3),
    ) {
        let collection = collection();
        let order: Vec<OrderTerm> = order
            .into_iter()
            .map(|column| OrderTerm { column, direction: Direction::Asc, nulls: Nulls::Last })
            .collect();
        let mut sql = Sql::new(&collection);
        let built = (|| {
            sql.row_json(&projection)?;
            sql.filters(&filters)?;
            sql.order_by(&order).map(drop)
        })();
        let (text, params) = sql.finish();
        prop_assert!(!text.contains(MARK), "{}", text);
        // Either an identifier was refused, or every value is a parameter of its own.
        match built {
            Ok(()) => prop_assert_eq!(placeholders(&text), params.len()),
            Err(problem) => prop_assert!(matches!(&*problem.code, "42703" | "42704"), "{:?}", problem),
        }
    }

    #[test]
    fn a_projection_is_refused_before_it_is_queued_exactly_when_it_cannot_be_built(projection in projection()) {
        let collection = collection();
        let built = Sql::new(&collection).row_json(&projection).map(drop);
        prop_assert_eq!(check_projection(&collection, &projection).is_err(), built.is_err());
    }
}

#[test]
fn statements_read_as_they_should() {
    let collection = collection();
    let mut sql = Sql::reserving(&collection, 2);
    let renamed = Projection::Items(Arc::from([SelectItem::Column {
        alias: Some("a".into()),
        column: ColumnRef {
            name: "meta".into(),
            path: vec![JsonStep { to: JsonTarget::Key("k".into()), output: JsonOutput::Text }],
        },
        cast: Some("INT".into()),
    }]));
    sql.row_json(&renamed).expect("valid");
    sql.push(" FROM ").relation().push(" t");
    let value = |value: &str| Filter::Compare {
        column: ColumnRef { name: "it's \"odd\"".into(), path: Vec::new() },
        operator: Operator::Ilike,
        value: value.into(),
        sense: Sense::Negated,
    };
    sql.filters(&[value("*x"), value("y")]).expect("valid");
    sql.order_by(&[]).expect("valid");
    let (text, params) = sql.finish();
    assert_eq!(
        text,
        "('{' || $3::text || coalesce(to_json(CAST((t.meta->>$4::text) AS int))::text, 'null') || '}') \
         FROM public.items t WHERE NOT (t.\"it's \"\"odd\"\"\" ILIKE $5) AND NOT (t.\"it's \"\"odd\"\"\" ILIKE $6) \
         ORDER BY t.id"
    );
    assert_eq!(params.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["\"a\":", "k", "%x", "y"]);
}
