//! Sort terms: as SQL for the shards and, where several are merged, as hidden columns to compare by.

use tidegate_types::{
    collection::Column,
    problem::{Problem, ProblemKind, codes},
    query::{Direction, Nulls, OrderTerm},
};

use super::{Sql, column::find};

/// How one sort value compares with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) direction: Direction,
    pub(crate) nulls: Nulls,
}

/// A column that several shards' rows are merged by.
#[derive(Debug)]
pub(crate) struct MergeTerm<'a> {
    pub(crate) column: &'a Column,
    pub(crate) placement: Placement,
    /// A key column whose own collation the gateway cannot compare by: sorted bytewise on the shards too.
    bytewise: Bytewise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytewise {
    Already,
    Forced,
}

impl Sql<'_> {
    /// Appends ` ORDER BY`: the terms, then the primary key so that pages are stable.
    pub(crate) fn order_by(&mut self, terms: &[OrderTerm]) -> Result<&mut Self, Problem> {
        self.push(" ORDER BY ");
        for term in terms {
            self.column_ref(&term.column)?;
            self.placement(Placement { direction: term.direction, nulls: term.nulls }).push(", ");
        }
        Ok(self.key_columns(", "))
    }

    /// Appends ` ORDER BY` in the order the gateway merges in.
    pub(crate) fn merge_order_by(&mut self, terms: &[MergeTerm<'_>]) -> &mut Self {
        self.push(" ORDER BY ");
        self.separated(", ", terms, |sql, term| {
            sql.column(term.column);
            if term.bytewise == Bytewise::Forced {
                sql.push(" COLLATE \"C\"");
            }
            sql.placement(term.placement);
        })
    }

    fn placement(&mut self, placement: Placement) -> &mut Self {
        self.push(match placement.direction {
            Direction::Asc => " ASC",
            Direction::Desc => " DESC",
        });
        self.push(match placement.nulls {
            Nulls::First => " NULLS FIRST",
            Nulls::Last => " NULLS LAST",
        })
    }
}

/// The terms to merge several shards' rows by: those asked for, then the rest of the primary key.
///
/// # Errors
/// A column that does not exist, or whose values the gateway cannot compare as PostgreSQL does.
pub(crate) fn merge_terms<'a>(
    collection: &'a tidegate_types::collection::Collection,
    order: &[OrderTerm],
) -> Result<Vec<MergeTerm<'a>>, Problem> {
    let mut terms: Vec<MergeTerm<'a>> = Vec::with_capacity(order.len() + collection.key.len());
    for term in order {
        let column = find(collection, &term.column.name)?;
        if !term.column.path.is_empty() || !column.mergeable {
            return Err(unmergeable(&term.column.to_string(), &column.type_name));
        }
        let placement = Placement { direction: term.direction, nulls: term.nulls };
        terms.push(MergeTerm { column, placement, bytewise: Bytewise::Already });
    }
    for column in collection.key_columns() {
        if !terms.iter().any(|term| term.column.name == column.name) {
            let placement = Placement { direction: Direction::Asc, nulls: Nulls::Last };
            // Key types are integers, uuid, bool and text: only text can be unmergeable, by its collation.
            let bytewise = if column.mergeable { Bytewise::Already } else { Bytewise::Forced };
            terms.push(MergeTerm { column, placement, bytewise });
        }
    }
    Ok(terms)
}

fn unmergeable(column: &str, type_name: &str) -> Problem {
    Problem::new(
        ProblemKind::BadRequest,
        codes::CROSS_SHARD,
        format!("Rows of several shards cannot be ordered by {column}"),
    )
    .details(format!("The gateway cannot compare values of {column} ({type_name}) as PostgreSQL would."))
    .hint(
        "Filter by the shard key so that one shard answers, or order by a number, a date, a uuid, or a text \
         column with the collation C.",
    )
}
