//! The JSON of a row. PostgreSQL renders it; the gateway only says which columns.

use tidegate_types::{
    collection::Column,
    problem::Problem,
    query::{ColumnRef, Projection, SelectItem},
};

use super::{Sql, column::find, types::builtin_type};

impl Sql<'_> {
    /// Appends an expression over `t` that gives the row's JSON. The same for reads and for `RETURNING`,
    /// so that versions (ETags) of both agree.
    pub(crate) fn row_json(&mut self, projection: &Projection) -> Result<&mut Self, Problem> {
        let collection = self.collection;
        let columns = match projection {
            Projection::Whole => Some(collection.columns.iter().collect()),
            Projection::Items(items) => plain_columns(&collection.columns, items),
        };
        match (columns, projection) {
            (Some(columns), _) => Ok(self.record(&columns)),
            (None, Projection::Items(items)) => self.object(items),
            (None, Projection::Whole) => Ok(self),
        }
    }

    /// Columns under their own names.
    fn record(&mut self, columns: &[&Column]) -> &mut Self {
        // `p.*`, because a bare `p` would be a column of that name where the table has one.
        self.push("(SELECT row_to_json(p.*) FROM (SELECT ");
        self.separated(", ", columns, |sql, column| {
            sql.column(column);
        });
        self.push(") p)")
    }

    /// Values under names the client chose: those are data, so the object is put together from bound keys.
    /// (`json_build_object` would do the same, for at most 50 items and with blanks.)
    fn object(&mut self, items: &[SelectItem]) -> Result<&mut Self, Problem> {
        let collection = self.collection;
        self.push("('{' || ");
        let mut prefix = "";
        for item in items {
            match item {
                SelectItem::Star => {
                    for column in &collection.columns {
                        self.member(prefix, &column.name).column(column).push(")::text, 'null') || ");
                        prefix = ",";
                    }
                }
                SelectItem::Column { column, cast, .. } => {
                    self.member(prefix, item.output_name().unwrap_or(&column.name));
                    self.value(column, cast.as_deref())?.push(")::text, 'null') || ");
                    prefix = ",";
                }
            }
        }
        Ok(self.push("'}')"))
    }

    fn member(&mut self, prefix: &str, name: &str) -> &mut Self {
        let key = format!("{prefix}{}:", serde_json::Value::from(name));
        self.bind(key).push("::text || coalesce(to_json(")
    }

    fn value(&mut self, column: &ColumnRef, cast: Option<&str>) -> Result<&mut Self, Problem> {
        match cast {
            None => self.column_ref(column),
            Some(cast) => {
                let type_name = builtin_type(cast)?;
                self.push("CAST(");
                Ok(self.column_ref(column)?.push(" AS ").push(type_name).push(")"))
            }
        }
    }
}

/// The columns of items that keep their names; `None` if one is renamed, cast, a path, or does not exist.
fn plain_columns<'a>(columns: &'a [Column], items: &[SelectItem]) -> Option<Vec<&'a Column>> {
    let mut plain = Vec::with_capacity(columns.len());
    for item in items {
        match item {
            SelectItem::Star => plain.extend(columns),
            SelectItem::Column { alias, column, cast: None } if column.path.is_empty() => {
                if alias.as_ref().is_some_and(|alias| *alias != column.name) {
                    return None;
                }
                plain.push(columns.iter().find(|c| c.name == column.name)?);
            }
            SelectItem::Column { .. } => return None,
        }
    }
    Some(plain)
}

/// Checks a projection without building a statement.
///
/// # Errors
/// The first column or type that does not exist.
pub(crate) fn check_projection(
    collection: &tidegate_types::collection::Collection,
    projection: &Projection,
) -> Result<(), Problem> {
    let Projection::Items(items) = projection else { return Ok(()) };
    for item in items.iter() {
        if let SelectItem::Column { column, cast, .. } = item {
            find(collection, &column.name)?;
            cast.as_deref().map(builtin_type).transpose()?;
        }
    }
    Ok(())
}
