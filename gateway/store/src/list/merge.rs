//! Rows of several shards in one order. Each shard's rows are sorted already, by the same terms, which end
//! with the primary key: no two rows are equal.

use std::cmp::Ordering;

use tokio_postgres::Row;

use super::value::SortValue;
use crate::{sql::order::Placement, wire::Malformed};

/// The rows from `offset` on, at most `limit`. Column 0 of a row is its JSON, its sort values follow.
pub(super) fn merge<'r>(
    shards: &[&'r [Row]],
    placements: &[Placement],
    offset: u64,
    limit: u64,
) -> Result<Vec<&'r Row>, Malformed> {
    let mut heads = Vec::with_capacity(shards.len());
    for rows in shards {
        heads.extend(Head::of(rows, placements.len())?);
    }
    let mut merged = Vec::new();
    let mut skipped = 0;
    while (merged.len() as u64) < limit {
        // Shards are few: looking at every head beats keeping a heap of them.
        let next = (0..heads.len()).min_by(|a, b| heads[*a].compare(&heads[*b], placements));
        let Some(next) = next else { break };
        if skipped < offset {
            skipped += 1;
        } else {
            merged.push(heads[next].row);
        }
        match Head::of(heads[next].rest, placements.len())? {
            Some(head) => heads[next] = head,
            None => drop(heads.swap_remove(next)),
        }
    }
    Ok(merged)
}

/// A shard's first row that was not taken yet.
struct Head<'r> {
    row: &'r Row,
    values: Vec<SortValue<'r>>,
    rest: &'r [Row],
}

impl<'r> Head<'r> {
    fn of(rows: &'r [Row], terms: usize) -> Result<Option<Self>, Malformed> {
        let Some((row, rest)) = rows.split_first() else { return Ok(None) };
        let value = |i: usize| {
            let column = row.columns().get(i).ok_or(Malformed("a row with its sort values"))?;
            SortValue::parse(column.type_(), row.try_get(i).map_err(|_| Malformed("a sort value"))?)
        };
        let values = (1..=terms).map(value).collect::<Result<_, _>>()?;
        Ok(Some(Self { row, values, rest }))
    }

    fn compare(&self, other: &Self, placements: &[Placement]) -> Ordering {
        let pairs = self.values.iter().zip(&other.values).zip(placements);
        pairs.fold(Ordering::Equal, |order, ((a, b), placement)| order.then_with(|| a.compare(b, *placement)))
    }
}
