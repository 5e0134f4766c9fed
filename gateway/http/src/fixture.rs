//! Collections, renderings and a backend for the unit tests of this crate.

mod fake;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use tidegate_types::{
    collection::{Collection, CollectionId, Collections, Column, Consistency, KeyColumn, Mode, Visibility, WriteReach},
    key::KeyType,
    query::{Direction, Filter, Nulls, OrderTerm, Projection, SelectItem, Sense},
};

pub(crate) use self::fake::Fake;

fn collection(id: u32, name: &str, columns: &[(&str, &str)], key: &[(&str, KeyType)]) -> Arc<Collection> {
    let columns: Vec<Column> = columns
        .iter()
        .map(|(name, type_name)| Column {
            name: (*name).into(),
            quoted: format!("\"{name}\""),
            type_name: (*type_name).into(),
            not_null: false,
            has_default: false,
            generated: *name == "search",
            mergeable: true,
        })
        .collect();
    let position = |name: &str| columns.iter().position(|c| c.name == name).expect("a key column");
    Arc::new(Collection {
        id: CollectionId(id),
        name: name.into(),
        relation: format!("\"public\".\"{name}\""),
        table: name.into(),
        key: key.iter().map(|(name, key_type)| KeyColumn { column: position(name), key_type: *key_type }).collect(),
        columns,
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

/// A key of one integer.
pub(crate) fn products() -> Arc<Collection> {
    let columns = [
        ("id", "bigint"),
        ("name", "text"),
        ("price", "numeric(10,2)"),
        ("meta", "jsonb"),
        ("active", "boolean"),
        ("odd name", "text"),
        ("da-sh", "text"),
        ("größe", "text"),
        ("order", "integer"),
        ("search", "tsvector"),
    ];
    collection(0, "products", &columns, &[("id", KeyType::Int8)])
}

/// A key of two integers.
pub(crate) fn items() -> Arc<Collection> {
    let columns = [("order_id", "bigint"), ("line", "integer"), ("sku", "text"), ("amount", "integer")];
    collection(1, "items", &columns, &[("order_id", KeyType::Int8), ("line", KeyType::Int4)])
}

/// A key of two texts.
pub(crate) fn notes() -> Arc<Collection> {
    collection(2, "notes", &[("topic", "text"), ("slug", "text")], &[("topic", KeyType::Text), ("slug", KeyType::Text)])
}

/// All of them.
pub(crate) fn collections() -> Arc<Collections> {
    Arc::new(Collections::new(vec![products(), items(), notes()]))
}

/// A filter as an S-expression.
pub(crate) fn show_filter(filter: &Filter) -> String {
    let (inner, sense) = match filter {
        Filter::Compare { column, operator, value, sense } => {
            (format!("({} {column} {value:?})", format!("{operator:?}").to_lowercase()), sense)
        }
        Filter::In { column, values, sense } => {
            let values = values.iter().fold(String::new(), |mut all, v| {
                let _ = write!(all, " {v:?}");
                all
            });
            (format!("(in {column}{values})"), sense)
        }
        Filter::Is { column, value, sense } => {
            (format!("(is {column} {})", format!("{value:?}").to_lowercase()), sense)
        }
        Filter::And { terms, sense } => (format!("(and {})", show_filters(terms)), sense),
        Filter::Or { terms, sense } => (format!("(or {})", show_filters(terms)), sense),
    };
    match sense {
        Sense::Plain => inner,
        Sense::Negated => format!("(not {inner})"),
    }
}

/// Filters in a row.
pub(crate) fn show_filters(filters: &[Filter]) -> String {
    filters.iter().map(show_filter).collect::<Vec<_>>().join(" ")
}

/// A projection as `select` items.
pub(crate) fn show_projection(projection: &Projection) -> String {
    let Projection::Items(items) = projection else { return "*".into() };
    let show = |item: &SelectItem| match item {
        SelectItem::Star => "*".to_owned(),
        SelectItem::Column { alias, column, cast } => {
            let alias = alias.as_ref().map(|a| format!("{a}:")).unwrap_or_default();
            let cast = cast.as_ref().map(|c| format!("::{c}")).unwrap_or_default();
            format!("{alias}{column}{cast}")
        }
    };
    items.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// An order with everything spelled out.
pub(crate) fn show_order(terms: &[OrderTerm]) -> String {
    let show = |term: &OrderTerm| {
        let direction = match term.direction {
            Direction::Asc => "asc",
            Direction::Desc => "desc",
        };
        let nulls = match term.nulls {
            Nulls::First => "nullsfirst",
            Nulls::Last => "nullslast",
        };
        format!("{}.{direction}.{nulls}", term.column)
    };
    terms.iter().map(show).collect::<Vec<_>>().join(" ")
}
