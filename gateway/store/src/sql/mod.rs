//! SQL text. Only three kinds of text reach a statement: what is written in this crate, names quoted by
//! PostgreSQL itself ([`Column::quoted`], [`Collection::relation`]) and type names from the catalog or from a
//! fixed list. Everything a client sent travels as a bound parameter.
//!
//! # Layout
//! - [`Sql`]: a statement under construction
//! - `column`: column references and JSON paths
//! - `filter`: conditions
//! - `projection`: the JSON of a row
//! - `order`: sort terms
//! - `types`: what may be cast to

mod column;
mod filter;
pub(crate) mod order;
mod projection;
mod types;

pub(crate) use projection::check_projection;

use bytes::BytesMut;
use tidegate_types::collection::Collection;
#[cfg(doc)]
use tidegate_types::collection::Column;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// A value in text form whose type PostgreSQL infers from its place in the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl ToSql for Text {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A statement under construction. The served table is always called `t` in it.
#[derive(Debug)]
pub(crate) struct Sql<'a> {
    pub(crate) collection: &'a Collection,
    text: String,
    params: Vec<Text>,
    /// Placeholders before the first of `params`, for parameters the caller binds itself.
    reserved: usize,
}

impl<'a> Sql<'a> {
    pub(crate) fn new(collection: &'a Collection) -> Self {
        Self::reserving(collection, 0)
    }

    /// A statement whose first `reserved` placeholders are bound by the caller.
    pub(crate) fn reserving(collection: &'a Collection, reserved: usize) -> Self {
        Self { collection, text: String::with_capacity(512), params: Vec::new(), reserved }
    }

    /// Appends text of this crate or of the catalog.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{}", number.into());
        self
    }

    /// Appends a placeholder for a value.
    pub(crate) fn bind(&mut self, value: impl Into<String>) -> &mut Self {
        self.params.push(Text(value.into()));
        let position = self.reserved + self.params.len();
        self.text.push('$');
        self.number(position as u64)
    }

    /// Appends the served table's name.
    pub(crate) fn relation(&mut self) -> &mut Self {
        let collection = self.collection;
        self.push(&collection.relation)
    }

    /// Appends items with a separator between them.
    pub(crate) fn separated<T>(
        &mut self,
        separator: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(separator);
            }
            each(self, item);
        }
        self
    }

    /// The text and the parameters.
    pub(crate) fn finish(self) -> (String, Vec<Text>) {
        (self.text, self.params)
    }
}

/// Parameters as `query_typed` takes them: typed by the server.
pub(crate) fn inferred(params: &[Text]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    params.iter().map(|param| (param as &(dyn ToSql + Sync), Type::UNKNOWN)).collect()
}

#[cfg(test)]
mod tests;
