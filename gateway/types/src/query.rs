//! The REST dialect as a tree. The HTTP front parses it, the store resolves its identifiers
//! against the catalog. Nothing here has met SQL; identifiers are as the client wrote them.

use std::{fmt, sync::Arc};

/// Bounds the parser enforces.
pub mod limits {
    /// Nesting of `and=(...)`/`or=(...)`.
    pub const MAX_DEPTH: usize = 8;
    /// Comparisons in one request.
    pub const MAX_TERMS: usize = 64;
    /// Values in one `in.(...)`.
    pub const MAX_IN_VALUES: usize = 500;
    /// Items of `select`.
    pub const MAX_SELECT: usize = 128;
    /// Terms of `order`.
    pub const MAX_ORDER: usize = 16;
    /// Steps of a JSON path.
    pub const MAX_PATH: usize = 8;
}

/// A column, possibly followed by a JSON path (`meta->a->>b`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnRef {
    /// The column's name as the client wrote it, unquoted.
    pub name: String,
    /// The steps into its JSON value.
    pub path: Vec<JsonStep>,
}

/// One step of a JSON path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonStep {
    /// Object key or array index.
    pub to: JsonTarget,
    /// `->` keeps JSON, `->>` gives text (only as the last step).
    pub output: JsonOutput,
}

/// Where a JSON step leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JsonTarget {
    /// The value under a key.
    Key(String),
    /// An array element; negative counts from the end.
    Index(i32),
}

/// What a JSON step yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonOutput {
    /// `->`
    Json,
    /// `->>`
    Text,
}

/// One item of `select`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SelectItem {
    /// `*`
    Star,
    /// `alias:column->path::cast`
    Column {
        /// The result's name where the client renamed it.
        alias: Option<String>,
        /// What is selected.
        column: ColumnRef,
        /// `::type`, identifier characters only.
        cast: Option<String>,
    },
}

impl SelectItem {
    /// The key under which the value appears in the result, as PostgREST names it:
    /// the alias, else the last key of the JSON path, else the column.
    #[must_use]
    pub fn output_name(&self) -> Option<&str> {
        match self {
            Self::Star => None,
            Self::Column { alias: Some(alias), .. } => Some(alias),
            Self::Column { column, .. } => {
                let last_key = column.path.iter().rev().find_map(|step| match &step.to {
                    JsonTarget::Key(key) => Some(key.as_str()),
                    JsonTarget::Index(_) => None,
                });
                Some(last_key.unwrap_or(&column.name))
            }
        }
    }
}

/// Which representation of a row is meant. Cheap to clone; equality is equality of the result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Projection {
    /// `select` absent, empty or `*`.
    #[default]
    Whole,
    /// These items, in this order.
    Items(Arc<[SelectItem]>),
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=`
    Eq,
    /// `<>`
    Neq,
    /// `>`
    Gt,
    /// `>=`
    Gte,
    /// `<`
    Lt,
    /// `<=`
    Lte,
    /// `LIKE`, `*` standing for `%`
    Like,
    /// `ILIKE`, `*` standing for `%`
    Ilike,
}

/// What `is.` may be followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsValue {
    /// `IS NULL`
    Null,
    /// `IS NOT NULL`
    NotNull,
    /// `IS TRUE`
    True,
    /// `IS FALSE`
    False,
    /// `IS UNKNOWN`
    Unknown,
}

/// Whether a condition is taken as written or negated (`not.`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sense {
    /// As written.
    Plain,
    /// `NOT (...)`
    Negated,
}

/// A condition on rows. Values are text and stay text until PostgreSQL types them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// `col=op.value`
    Compare {
        /// Left side.
        column: ColumnRef,
        /// The operator.
        operator: Operator,
        /// Right side, as written.
        value: String,
        /// `not.` in front.
        sense: Sense,
    },
    /// `col=in.(a,b)`
    In {
        /// Left side.
        column: ColumnRef,
        /// The list; empty matches nothing.
        values: Vec<String>,
        /// `not.` in front.
        sense: Sense,
    },
    /// `col=is.null`
    Is {
        /// Left side.
        column: ColumnRef,
        /// What it is compared with.
        value: IsValue,
        /// `not.` in front.
        sense: Sense,
    },
    /// `and=(...)`
    And {
        /// At least one.
        terms: Vec<Filter>,
        /// `not.` in front.
        sense: Sense,
    },
    /// `or=(...)`
    Or {
        /// At least one.
        terms: Vec<Filter>,
        /// `not.` in front.
        sense: Sense,
    },
}

/// Sort direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Ascending, the default.
    #[default]
    Asc,
    /// Descending.
    Desc,
}

/// Where NULLs sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nulls {
    /// Before every value.
    First,
    /// After every value.
    Last,
}

/// One term of `order`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderTerm {
    /// What is sorted by; need not be selected.
    pub column: ColumnRef,
    /// Direction.
    pub direction: Direction,
    /// PostgreSQL's placement is already filled in: last when ascending, first when descending.
    pub nulls: Nulls,
}

/// `Prefer: count=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Count {
    /// No total.
    #[default]
    None,
    /// The exact total, ignoring limit and offset.
    Exact,
}

/// A list request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ListQuery {
    /// Representation of each row.
    pub projection: Projection,
    /// All of these hold.
    pub filters: Vec<Filter>,
    /// Sort order; empty means the primary key, so that pages are stable.
    pub order: Vec<OrderTerm>,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Rows skipped.
    pub offset: u64,
    /// Whether the total is wanted.
    pub count: Count,
}

impl ListQuery {
    /// The value that an equality at the top level gives this column, if one does.
    #[must_use]
    pub fn equality(&self, column: &str) -> Option<&str> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::Compare { column: c, operator: Operator::Eq, value, sense: Sense::Plain }
                if c.path.is_empty() && c.name == column =>
            {
                Some(value.as_str())
            }
            _ => None,
        })
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for step in &self.path {
            f.write_str(match step.output {
                JsonOutput::Json => "->",
                JsonOutput::Text => "->>",
            })?;
            match &step.to {
                JsonTarget::Key(key) => f.write_str(key)?,
                JsonTarget::Index(index) => write!(f, "{index}")?,
            }
        }
        Ok(())
    }
}
