//! Many mutations as few statements: one for each collection, set of columns and kind.

use std::{borrow::Cow, sync::Arc};

use indexmap::IndexMap;
use serde_json::value::RawValue;
use tidegate_types::{
    collection::{Collection, Column},
    key::RowKey,
    mutation::Image,
};
use tokio_postgres::types::{ToSql, Type};

use super::{DeadReason, Pending};
use crate::{sql::Sql, wire};

/// A mutation and what is to be done about it. Positions are those of the collection's columns.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pending: &'a Pending,
    what: What,
    /// Of each column that is inserted, as text; `None` is NULL.
    values: Vec<Option<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Delete,
    Upsert {
        /// Columns that the image has, and the table.
        inserted: Vec<usize>,
        /// Those that are changed where the row exists.
        set: Vec<usize>,
    },
}

/// What goes into one statement.
#[derive(Debug)]
pub(super) struct Group<'a> {
    collection: &'a Arc<Collection>,
    what: &'a What,
    tasks: Vec<&'a Task<'a>>,
}

/// A statement that returns nothing.
pub(super) struct Statement<'a> {
    pub(super) text: String,
    params: Vec<(Box<dyn ToSql + Sync + Send + 'a>, Type)>,
}

impl Statement<'_> {
    /// Values with their types, in the order of their placeholders.
    pub(super) fn params(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.params.iter().map(|(param, array)| (&**param as &(dyn ToSql + Sync), array.clone())).collect()
    }
}

impl<'a> Task<'a> {
    /// What is to be done about a mutation. The collection may have changed since it was acknowledged.
    ///
    /// # Errors
    /// It sets a column that does not exist any more, or its bytes are not a row.
    pub(super) fn of(pending: &'a Pending) -> Result<Self, DeadReason> {
        let collection = &pending.collection;
        let Image::Row { json, set } = &pending.mutation.image else {
            return Ok(Self { pending, what: What::Delete, values: Vec::new() });
        };
        let members: IndexMap<String, &RawValue> = serde_json::from_slice(json).map_err(|error| not_a_row(&error))?;
        let missing = |name: &str| dead("42703", format!("column {}.{name} does not exist", collection.table));
        let writable = |name: &str| collection.column(name).filter(|column| !column.generated);
        if let Some(gone) = set.iter().find(|name| writable(name).is_none()) {
            return Err(missing(gone));
        }
        if let Some(gone) = collection.key_columns().find(|column| !members.contains_key(&column.name)) {
            return Err(missing(&gone.name));
        }
        let columns = &collection.columns;
        let is_set = |at: &usize| {
            let name = &columns[*at].name;
            collection.key_position(name).is_none() && set.iter().any(|set| **set == **name)
        };
        let (mut inserted, mut values) = (Vec::with_capacity(columns.len()), Vec::with_capacity(columns.len()));
        for (position, column) in columns.iter().enumerate().filter(|(_, column)| !column.generated) {
            if let Some(raw) = members.get(&column.name) {
                inserted.push(position);
                values.push(text(column, raw)?);
            }
        }
        let set = inserted.iter().copied().filter(is_set).collect();
        Ok(Self { pending, what: What::Upsert { inserted, set }, values })
    }
}

/// The text that the type's input function gets.
fn text(column: &Column, raw: &RawValue) -> Result<Option<String>, DeadReason> {
    let raw = raw.get();
    match raw.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') if !matches!(column.type_name.as_str(), "json" | "jsonb") => {
            serde_json::from_str(raw).map(Some).map_err(|error| not_a_row(&error))
        }
        _ => Ok(Some(raw.to_owned())),
    }
}

fn not_a_row(error: &serde_json::Error) -> DeadReason {
    dead("22032", format!("the image is not a row: {error}"))
}

fn dead(sqlstate: &str, message: String) -> DeadReason {
    DeadReason { sqlstate: sqlstate.to_owned(), message }
}

/// Groups in the order in which their first members come.
pub(super) fn groups<'a>(tasks: impl Iterator<Item = &'a Task<'a>>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for task in tasks {
        let (collection, what) = (&task.pending.collection, &task.what);
        let same = |group: &&mut Group<'a>| Arc::ptr_eq(group.collection, collection) && group.what == what;
        match groups.iter_mut().find(same) {
            Some(group) => group.tasks.push(task),
            None => groups.push(Group { collection, what, tasks: vec![task] }),
        }
    }
    groups
}

impl Group<'_> {
    pub(super) fn statement(&self) -> Statement<'_> {
        match self.what {
            What::Delete => self.delete(),
            What::Upsert { inserted, set } => self.upsert(&self.columns(inserted), &self.columns(set)),
        }
    }

    fn columns(&self, positions: &[usize]) -> Vec<&Column> {
        positions.iter().map(|position| &self.collection.columns[*position]).collect()
    }

    fn delete(&self) -> Statement<'_> {
        let collection = self.collection;
        let keys: Vec<&RowKey> = self.tasks.iter().map(|task| &task.pending.mutation.key).collect();
        let mut sql = Sql::reserving(collection, collection.key.len());
        sql.push("DELETE FROM ").relation().push(" AS t");
        match &collection.key[..] {
            [only] => {
                sql.push(" WHERE ").key_columns("").push(" = ANY($1::").push(only.key_type.pg_name()).push("[])");
            }
            several => {
                sql.push(" USING unnest(").separated(", ", several.iter().enumerate(), |sql, (i, k)| {
                    sql.push("$").number(i as u64 + 1).push("::").push(k.key_type.pg_name()).push("[]");
                });
                sql.push(") u(").separated(", ", 1..=several.len(), |sql, i| {
                    sql.push("k").number(i as u64);
                });
                sql.push(") WHERE ").separated(" AND ", collection.key_columns().enumerate(), |sql, (i, column)| {
                    sql.column(column).push(" = u.k").number(i as u64 + 1);
                });
            }
        }
        let types = collection.key.iter().map(|k| wire::array_type(k.key_type));
        let arrays = wire::key_arrays(collection, &keys).into_iter();
        Statement {
            text: sql.finish().0,
            params: arrays.zip(types).map(|(array, of)| (array as Box<dyn ToSql + Sync + Send>, of)).collect(),
        }
    }

    /// One array of texts for each column, read as the column's type. Columns that nobody set are written only where
    /// there is no such row.
    fn upsert(&self, inserted: &[&Column], set: &[&Column]) -> Statement<'_> {
        let mut sql = Sql::new(self.collection);
        sql.insert_into(inserted).push(" SELECT ").separated(", ", inserted.iter().enumerate(), |sql, (i, column)| {
            sql.push("u.c").number(i as u64).push("::").push(&without_modifiers(&column.type_name));
        });
        sql.push(" FROM unnest(").separated(", ", 1..=inserted.len(), |sql, i| {
            sql.push("$").number(i as u64).push("::text[]");
        });
        sql.push(") u(").separated(", ", 0..inserted.len(), |sql, i| {
            sql.push("c").number(i as u64);
        });
        sql.push(") ON CONFLICT (").separated(", ", self.collection.key_columns(), |sql, column| {
            sql.push(&column.quoted);
        });
        if set.is_empty() {
            sql.push(") DO NOTHING");
        } else {
            sql.push(") DO UPDATE SET ").separated(", ", set, |sql, column| {
                sql.push(&column.quoted).push(" = EXCLUDED.").push(&column.quoted);
            });
        }
        let array = |at: usize| -> Box<dyn ToSql + Sync + Send + '_> {
            Box::new(self.tasks.iter().map(|task| task.values[at].as_deref()).collect::<Vec<_>>())
        };
        Statement {
            text: sql.finish().0,
            params: (0..inserted.len()).map(|at| (array(at), Type::TEXT_ARRAY)).collect(),
        }
    }
}

/// A type without length or precision: a cast to them would cut off what the column refuses.
fn without_modifiers(type_name: &str) -> Cow<'_, str> {
    match type_name.split_once('(') {
        _ if type_name.starts_with("character(") || type_name == "character" => Cow::Borrowed("bpchar"),
        Some((before, rest)) if !type_name.contains('"') => {
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            Cow::Owned(format!("{before}{after}"))
        }
        _ => Cow::Borrowed(type_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_never_cuts_a_value_to_size() {
        for (type_name, plain) in [
            ("character varying(5)", "character varying"),
            ("character(4)", "bpchar"),
            ("numeric(6,2)", "numeric"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("bigint", "bigint"),
            ("\"odd (type)\"", "\"odd (type)\""),
        ] {
            assert_eq!(without_modifiers(type_name), plain);
        }
    }
}
