//! The query string as a whole.

use tidegate_types::{
    collection::Collection,
    problem::Problem,
    query::{ColumnRef, Filter, ListQuery, Operator, OrderTerm, Projection, Sense},
};

use super::{
    body::writable,
    column::{json_path, name},
    cursor::Cursor,
    filter::{Budget, Place, condition},
    logic::{self, Join},
    order,
    problems::{bad_request, unknown_column, unsupported},
    range::Window,
    select,
    text::pairs,
};

/// Everything a query string can say.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pub(crate) projection: Option<Projection>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) order: Option<Vec<OrderTerm>>,
    pub(crate) window: Window,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) on_conflict: Option<Vec<String>>,
}

impl Params {
    /// Parses a query string against the columns of a collection.
    pub(crate) fn parse(query: &str, collection: &Collection) -> Result<Self, Problem> {
        let mut params = Self::default();
        let mut budget = Budget::default();
        for pair in pairs(query) {
            let (key, value) = pair?;
            match &*key {
                "select" => once(&mut params.projection, select::projection(&value, collection)?, "select")?,
                "order" => once(&mut params.order, order::terms(&value, collection)?, "order")?,
                "columns" => {
                    let names = names("columns parameter", &value)?;
                    for name in &names {
                        writable(name, collection)?;
                    }
                    once(&mut params.columns, names, "columns")?;
                }
                "on_conflict" => once(&mut params.on_conflict, names("on_conflict parameter", &value)?, "on_conflict")?,
                "limit" => params.window.limit(&value),
                "offset" => params.window.offset(&value),
                "and" | "or" | "not.and" | "not.or" => {
                    let join = if key.ends_with("and") { Join::And } else { Join::Or };
                    let sense = if key.starts_with("not.") { Sense::Negated } else { Sense::Plain };
                    params.filters.push(logic::parameter(&value, join, sense, collection, &mut budget)?);
                }
                _ => params.filters.push(filter(&key, &value, collection, &mut budget)?),
            }
        }
        Ok(params)
    }

    /// Refuses what a keyed path has no use for.
    pub(crate) fn only_for_one_row(&self) -> Result<(), Problem> {
        let refused = if !self.filters.is_empty() {
            "Filters"
        } else if self.order.is_some() {
            "order"
        } else if self.window.is_given() {
            "limit and offset"
        } else if self.on_conflict.is_some() {
            "on_conflict"
        } else {
            return Ok(());
        };
        Err(bad_request("PGRST100", format!("{refused} cannot be used with a keyed path"))
            .hint("A keyed path names one row; use the collection's path for lists."))
    }

    /// The key's values where the filters are exactly one equality per column of the primary key.
    pub(crate) fn exact_key(&self, collection: &Collection) -> Option<Vec<&str>> {
        if self.filters.len() != collection.key.len() {
            return None;
        }
        let value_of = |name: &str| {
            self.filters.iter().find_map(|filter| match filter {
                Filter::Compare { column, operator: Operator::Eq, value, sense: Sense::Plain }
                    if column.path.is_empty() && column.name == name =>
                {
                    Some(value.as_str())
                }
                _ => None,
            })
        };
        collection.key_columns().map(|column| value_of(&column.name)).collect()
    }

    /// Checks `on_conflict`: only the primary key is a conflict target.
    pub(crate) fn check_conflict_target(&self, collection: &Collection) -> Result<(), Problem> {
        let Some(target) = &self.on_conflict else { return Ok(()) };
        let key: Vec<&str> = collection.key_columns().map(|c| c.name.as_str()).collect();
        if target.len() == key.len() && key.iter().all(|column| target.iter().any(|t| t == column)) {
            return Ok(());
        }
        Err(bad_request("PGRST127", format!("on_conflict must name the primary key ({})", key.join(",")))
            .details("Other unique constraints cannot be enforced across shards."))
    }

    /// The rows that the filters choose, for writes.
    pub(crate) fn chosen_rows(self) -> ListQuery {
        ListQuery { filters: self.filters, ..ListQuery::default() }
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(bad_request("PGRST100", format!("The parameter {name} is given more than once")));
    }
    Ok(())
}

fn filter(key: &str, value: &str, collection: &Collection, budget: &mut Budget) -> Result<Filter, Problem> {
    let mut left = Cursor::new("tree path", key);
    let first = name(&mut left)?;
    if left.peek() == Some('.') {
        return Err(unsupported("A parameter of an embedded resource", key));
    }
    let path = json_path(&mut left)?;
    if left.peek() == Some(':') {
        return Err(unsupported("A cast in a filter", key));
    }
    left.expect_end()?;
    // A parameter that is no filter at all is a syntax error first, as in PostgREST.
    let unknown = collection.column(&first).is_none().then(|| unknown_column(collection, &first));
    let mut right = Cursor::new("filter", value);
    let filter = condition(&mut right, ColumnRef { name: first, path }, Place::Parameter, budget)?;
    right.expect_end()?;
    unknown.map_or(Ok(filter), Err)
}

/// A comma-separated list of names, quoted or not.
fn names(what: &'static str, value: &str) -> Result<Vec<String>, Problem> {
    let mut cursor = Cursor::new(what, value);
    let mut names: Vec<String> = Vec::new();
    loop {
        cursor.skip_spaces();
        let name = name(&mut cursor)?;
        if names.contains(&name) {
            return Err(bad_request("42701", format!("column \"{name}\" specified more than once")));
        }
        names.push(name);
        cursor.skip_spaces();
        if cursor.at_end() {
            return Ok(names);
        }
        if !cursor.eat(",") {
            return Err(cursor.expected("\",\" or end of input"));
        }
    }
}
