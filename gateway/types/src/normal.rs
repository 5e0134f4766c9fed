//! One form for list queries that mean the same, so that they share an answer.
//!
//! # Layout
//! - [`normal`]: the form
//! - [`encode`]: a normal query as bytes that no other one has
//! - [`is_timely`]: whether an answer depends on the time at which it is asked for
//!
//! # Contract
//! Two queries with one normal form have the same rows in the same order, whatever the tables hold. Not every two
//! queries that mean the same have one: only what holds for every type, three-valued logic included, is used.

mod encoding;
mod timely;

use crate::{
    collection::{Collection, Column},
    key::KeyType,
    query::{Direction, Filter, ListQuery, Nulls, Operator, OrderTerm, Sense},
};

pub use encoding::encode;
pub use timely::is_timely;

/// The query in its normal form: the limit in numbers, the order with what makes it total and without what changes
/// nothing, terms of `and` and `or` sorted, flat and each once, values of `in` sorted and each once, integers,
/// UUIDs and booleans as PostgreSQL writes them.
#[must_use]
pub fn normal(collection: &Collection, query: &ListQuery) -> ListQuery {
    ListQuery {
        projection: query.projection.clone(),
        filters: terms(collection, &query.filters, Junction::And),
        order: order(collection, &query.order),
        limit: Some(query.limit.unwrap_or(collection.max_rows).min(collection.max_rows)),
        offset: query.offset,
        count: query.count,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Junction {
    And,
    Or,
}

/// Order and repetition of terms do not matter, and neither does where the parentheses are.
fn terms(collection: &Collection, terms: &[Filter], junction: Junction) -> Vec<Filter> {
    let mut flat = Vec::with_capacity(terms.len());
    for term in terms {
        match (filter(collection, term), junction) {
            (Filter::And { terms, sense: Sense::Plain }, Junction::And)
            | (Filter::Or { terms, sense: Sense::Plain }, Junction::Or)
                if !terms.is_empty() =>
            {
                flat.extend(terms);
            }
            (term, _) => flat.push(term),
        }
    }
    flat.sort_by_cached_key(encoding::filter);
    flat.dedup();
    flat
}

/// Depth is bounded by the parser ([`crate::query::limits::MAX_DEPTH`]).
fn filter(collection: &Collection, of: &Filter) -> Filter {
    let column = |name: &str| collection.column(name);
    match of {
        Filter::Compare { column: of, operator, value, sense } => {
            let comparable = of.path.is_empty() && !matches!(operator, Operator::Like | Operator::Ilike);
            let value = match column(&of.name) {
                Some(column) if comparable => literal(column, value),
                _ => value.clone(),
            };
            Filter::Compare { column: of.clone(), operator: *operator, value, sense: *sense }
        }
        Filter::In { column: of, values, sense } => {
            let mut values = match column(&of.name) {
                Some(column) if of.path.is_empty() => values.iter().map(|value| literal(column, value)).collect(),
                _ => values.clone(),
            };
            values.sort_unstable();
            values.dedup();
            Filter::In { column: of.clone(), values, sense: *sense }
        }
        Filter::Is { .. } => of.clone(),
        Filter::And { terms: of, sense } => {
            single(terms(collection, of, Junction::And), *sense, |terms, sense| Filter::And { terms, sense })
        }
        Filter::Or { terms: of, sense } => {
            single(terms(collection, of, Junction::Or), *sense, |terms, sense| Filter::Or { terms, sense })
        }
    }
}

/// A junction of one term is that term, negated if the junction was: NOT NOT x is x, also where x is unknown.
fn single(mut terms: Vec<Filter>, outer: Sense, junction: impl FnOnce(Vec<Filter>, Sense) -> Filter) -> Filter {
    if terms.len() != 1 {
        return junction(terms, outer);
    }
    let mut term = terms.remove(0);
    let (Filter::Compare { sense, .. }
    | Filter::In { sense, .. }
    | Filter::Is { sense, .. }
    | Filter::And { sense, .. }
    | Filter::Or { sense, .. }) = &mut term;
    if outer == Sense::Negated {
        *sense = match sense {
            Sense::Plain => Sense::Negated,
            Sense::Negated => Sense::Plain,
        };
    }
    term
}

/// A value as PostgreSQL would write it, where that is certain; else as it was.
fn literal(column: &Column, text: &str) -> String {
    let key_type = match column.type_name.as_str() {
        "smallint" => KeyType::Int2,
        "integer" => KeyType::Int4,
        "bigint" => KeyType::Int8,
        // Of the forms that are understood here, PostgreSQL does not know this one.
        "uuid" if !text.starts_with("urn:") => KeyType::Uuid,
        "boolean" => KeyType::Bool,
        _ => return text.to_owned(),
    };
    key_type.parse(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

fn order(collection: &Collection, asked: &[OrderTerm]) -> Vec<OrderTerm> {
    let mut order: Vec<OrderTerm> = Vec::with_capacity(asked.len() + collection.key.len());
    for term in asked {
        // No two rows differ in what they were found equal in before. What follows a whole key does not matter
        // either, but it is still looked at: it may not exist.
        if order.iter().any(|earlier| earlier.column == term.column) {
            continue;
        }
        let mut term = term.clone();
        if collection.column(&term.column.name).is_some_and(|c| c.not_null && term.column.path.is_empty()) {
            term.nulls = Nulls::Last;
        }
        order.push(term);
    }
    // The gateway sorts by the key at last. It sorts a key that it cannot merge by in another way than one that
    // was asked for, so that is not the same query.
    if collection.key_columns().all(|column| column.mergeable) {
        for column in collection.key_columns() {
            if !order.iter().any(|term| is_column(term, &column.name)) {
                let column = crate::query::ColumnRef { name: column.name.clone(), path: Vec::new() };
                order.push(OrderTerm { column, direction: Direction::Asc, nulls: Nulls::Last });
            }
        }
    }
    order
}

fn is_column(term: &OrderTerm, name: &str) -> bool {
    term.column.path.is_empty() && term.column.name == name
}

#[cfg(test)]
mod tests;
