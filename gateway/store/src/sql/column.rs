//! Column references, with or without a JSON path.

use tidegate_types::{
    collection::{Collection, Column},
    problem::{Problem, ProblemKind},
    query::{ColumnRef, JsonOutput, JsonTarget},
};

use super::Sql;

/// The collection's column of this name.
pub(super) fn find<'a>(collection: &'a Collection, name: &str) -> Result<&'a Column, Problem> {
    collection.column(name).ok_or_else(|| {
        let message = format!("column {}.{name} does not exist", collection.table);
        Problem::new(ProblemKind::BadRequest, "42703", message)
    })
}

impl Sql<'_> {
    /// Appends `t."column"` with its JSON path; keys of the path are bound.
    pub(crate) fn column_ref(&mut self, column: &ColumnRef) -> Result<&mut Self, Problem> {
        let found = find(self.collection, &column.name)?;
        if column.path.is_empty() {
            return Ok(self.column(found));
        }
        self.push("(");
        if matches!(found.type_name.as_str(), "json" | "jsonb") {
            self.column(found);
        } else {
            self.push("to_jsonb(").column(found).push(")");
        }
        for step in &column.path {
            self.push(match step.output {
                JsonOutput::Json => "->",
                JsonOutput::Text => "->>",
            });
            match &step.to {
                JsonTarget::Key(key) => self.bind(key.as_str()).push("::text"),
                JsonTarget::Index(index) => self.push("(").number(*index).push(")"),
            };
        }
        Ok(self.push(")"))
    }

    /// Appends `t."column"`.
    pub(crate) fn column(&mut self, column: &Column) -> &mut Self {
        self.push("t.").push(&column.quoted)
    }

    /// Appends the key's columns.
    pub(crate) fn key_columns(&mut self, separator: &str) -> &mut Self {
        let collection = self.collection;
        self.separated(separator, collection.key_columns(), |sql, column| {
            sql.column(column);
        })
    }
}
