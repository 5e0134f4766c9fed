//! Queries as bytes. Every text and list is preceded by its length and every choice by a tag, so that no two
//! queries have the same bytes.

use crate::query::{
    ColumnRef, Count, Direction, Filter, IsValue, JsonOutput, JsonStep, JsonTarget, ListQuery, Nulls, Operator,
    OrderTerm, Projection, SelectItem, Sense,
};

/// The query as bytes: equal exactly if the queries are.
#[must_use]
pub fn encode(query: &ListQuery) -> Vec<u8> {
    // Every field is named, so that a new one asks for its place.
    let ListQuery { projection, filters, order, limit, offset, count } = query;
    let mut out = Bytes(Vec::with_capacity(128));
    out.projection(projection);
    out.list(filters, Bytes::filter);
    out.list(order, Bytes::order);
    out.option(limit.as_ref(), |out, limit| out.number(*limit));
    out.number(*offset);
    out.tag(match count {
        Count::None => 0,
        Count::Exact => 1,
    });
    out.0
}

/// A filter as bytes: equal exactly if the filters are.
pub(super) fn filter(filter: &Filter) -> Vec<u8> {
    let mut out = Bytes(Vec::with_capacity(32));
    out.filter(filter);
    out.0
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.tag(0),
            Some(value) => {
                self.tag(1);
                some(self, value);
            }
        }
    }

    fn projection(&mut self, projection: &Projection) {
        match projection {
            Projection::Whole => self.tag(0),
            Projection::Items(items) => {
                self.tag(1);
                self.list(items, |out, item| match item {
                    SelectItem::Star => out.tag(0),
                    SelectItem::Column { alias, column, cast } => {
                        out.tag(1);
                        out.option(alias.as_deref(), Self::text);
                        out.column(column);
                        out.option(cast.as_deref(), Self::text);
                    }
                });
            }
        }
    }

    fn column(&mut self, column: &ColumnRef) {
        let ColumnRef { name, path } = column;
        self.text(name);
        self.list(path, |out, JsonStep { to, output }| {
            match to {
                JsonTarget::Key(key) => {
                    out.tag(0);
                    out.text(key);
                }
                JsonTarget::Index(index) => {
                    out.tag(1);
                    out.0.extend_from_slice(&index.to_le_bytes());
                }
            }
            out.tag(match output {
                JsonOutput::Json => 0,
                JsonOutput::Text => 1,
            });
        });
    }

    fn order(&mut self, term: &OrderTerm) {
        let OrderTerm { column, direction, nulls } = term;
        self.column(column);
        self.tag(match direction {
            Direction::Asc => 0,
            Direction::Desc => 1,
        });
        self.tag(match nulls {
            Nulls::First => 0,
            Nulls::Last => 1,
        });
    }

    fn sense(&mut self, sense: Sense) {
        self.tag(match sense {
            Sense::Plain => 0,
            Sense::Negated => 1,
        });
    }

    fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::Compare { column, operator, value, sense } => {
                self.tag(0);
                self.sense(*sense);
                self.column(column);
                self.tag(match operator {
                    Operator::Eq => 0,
                    Operator::Neq => 1,
                    Operator::Gt => 2,
                    Operator::Gte => 3,
                    Operator::Lt => 4,
                    Operator::Lte => 5,
                    Operator::Like => 6,
                    Operator::Ilike => 7,
                });
                self.text(value);
            }
            Filter::In { column, values, sense } => {
                self.tag(1);
                self.sense(*sense);
                self.column(column);
                self.list(values, |out, value| out.text(value));
            }
            Filter::Is { column, value, sense } => {
                self.tag(2);
                self.sense(*sense);
                self.column(column);
                self.tag(match value {
                    IsValue::Null => 0,
                    IsValue::NotNull => 1,
                    IsValue::True => 2,
                    IsValue::False => 3,
                    IsValue::Unknown => 4,
                });
            }
            Filter::And { terms, sense } => {
                self.tag(3);
                self.sense(*sense);
                self.list(terms, Self::filter);
            }
            Filter::Or { terms, sense } => {
                self.tag(4);
                self.sense(*sense);
                self.list(terms, Self::filter);
            }
        }
    }
}
