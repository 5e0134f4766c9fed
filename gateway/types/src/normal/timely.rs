//! Queries whose answer changes though no row does: PostgreSQL reads `now`, `today`, `tomorrow` and `yesterday` as
//! dates and times wherever it expects one.

use std::borrow::Cow;

use crate::{
    collection::Collection,
    query::{ColumnRef, Filter, ListQuery, Projection, SelectItem},
};

/// Words that PostgreSQL replaces by the time of the statement, in any case and beside others.
const WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Types (as `format_type` prints them, without modifier) whose values are read without a look at the clock.
const TIMELESS: [&str; 18] = [
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "real",
    "double precision",
    "boolean",
    "uuid",
    "text",
    "character varying",
    "character",
    "json",
    "jsonb",
    "bytea",
    "interval",
    "inet",
    "cidr",
    "money",
];

/// A time of day whose offset is that of the day on which it is read.
const ZONED_TIME: &str = "time with time zone";

/// What `select` may cast to that is read with a look at the clock.
const TIMELY_CASTS: [&str; 5] = ["date", "time", "timetz", "timestamp", "timestamptz"];
/// Types that are cast to those without one.
const DATED: [&str; 3] = ["date", "timestamp without time zone", "timestamp with time zone"];

/// Whether the answer may depend on the time at which it is asked for. `true` also where that is not certain.
#[must_use]
pub fn is_timely(collection: &Collection, query: &ListQuery) -> bool {
    query.filters.iter().any(|filter| filters(collection, filter)) || selects(collection, &query.projection)
}

fn filters(collection: &Collection, filter: &Filter) -> bool {
    match filter {
        Filter::Compare { column, value, .. } => reads(collection, column, value),
        Filter::In { column, values, .. } => values.iter().any(|value| reads(collection, column, value)),
        Filter::Is { .. } => false,
        Filter::And { terms, .. } | Filter::Or { terms, .. } => terms.iter().any(|term| filters(collection, term)),
    }
}

fn reads(collection: &Collection, column: &ColumnRef, value: &str) -> bool {
    let Some(found) = collection.column(&column.name) else { return false };
    let type_name = unmodified(&found.type_name);
    // A path gives JSON or text.
    if !column.path.is_empty() || TIMELESS.contains(&&*type_name) {
        return false;
    }
    let value = value.to_ascii_lowercase();
    type_name == ZONED_TIME || WORDS.iter().any(|word| value.contains(word))
}

/// A type's name without its modifier, and an array's element's: `time(3) with time zone[]`.
fn unmodified(type_name: &str) -> Cow<'_, str> {
    let element = type_name.trim_end_matches("[]");
    match element.split_once('(').and_then(|(before, rest)| Some((before, rest.split_once(')')?.1))) {
        None => element.into(),
        Some((before, after)) => format!("{before}{after}").into(),
    }
}

fn selects(collection: &Collection, projection: &Projection) -> bool {
    let Projection::Items(items) = projection else { return false };
    items.iter().any(|item| {
        let SelectItem::Column { column, cast: Some(cast), .. } = item else { return false };
        let source = collection.column(&column.name).filter(|_| column.path.is_empty());
        let dated = source.is_some_and(|source| DATED.contains(&&*unmodified(&source.type_name)));
        !dated && TIMELY_CASTS.iter().any(|timely| cast.eq_ignore_ascii_case(timely))
    })
}
