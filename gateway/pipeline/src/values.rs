//! Lists that are told apart by the value of a tracked column: which buckets they depend on, and which a change raises.
//!
//! A row leaves the lists of the values it had and joins those of the values it has, so a change raises both. Where
//! one of them is not known, it may be any: [`BucketId::columns`] stands for every value of every tracked column.

use std::sync::Arc;

use tidegate_store::images::{self, Before, Images};
use tidegate_types::{
    bucket::{BucketId, RelationSeed},
    collection::{Collection, Collections},
    query::{Filter, IsValue, ListQuery, Operator, Sense},
    track::Tracked,
};

use crate::touch::MAX_ROW_BUCKETS;

/// Values raised one by one; a change of more is one of every value.
const MAX_VALUES: usize = 256;
/// Values of an `in` that a list depends on one by one; a list of more depends on every write.
const MAX_IN: usize = 16;

/// The columns whose values a write must tell: those that an invalidation policy declares, then those that are tracked.
/// `None` where nobody wants any.
pub(crate) fn wanted(
    collections: &Collections,
    collection: &Collection,
    declared: Option<&[Arc<str>]>,
) -> Option<Vec<Arc<str>>> {
    let tracked = collections.tracked(&collection.relation);
    if declared.is_none() && tracked.is_empty() {
        return None;
    }
    let mut names = declared.unwrap_or_default().to_vec();
    for tracked in tracked {
        if !names.contains(&tracked.name) {
            names.push(tracked.name.clone());
        }
    }
    Some(names)
}

/// What a write raises besides its rows and its table's lists. `names` are the columns that `images` has the values of.
pub(crate) fn of_write(
    collections: &Collections,
    collection: &Collection,
    names: &[Arc<str>],
    rows: usize,
    images: &Images,
) -> Vec<BucketId> {
    let tracked = collections.tracked(&collection.relation);
    // Of more rows the whole table is raised.
    if tracked.is_empty() || rows == 0 || rows > MAX_ROW_BUCKETS {
        return Vec::new();
    }
    let mut values = Values::new(collection.seed());
    let Images::Each(images) = images else { return values.any() };
    for tracked in tracked {
        // A column that this collection does not show is told as NULL, and is not.
        let shown = collection.column(&tracked.name).is_some();
        let Some(at) = names.iter().position(|name| *name == tracked.name).filter(|_| shown) else {
            return values.any();
        };
        for image in images {
            match &image.before {
                Before::Nothing => {}
                Before::Values(before) => values.see(tracked, Value::at(before, at)),
                Before::Unknown => values.see(tracked, Value::Unknown),
            }
            // A deleted row has nothing after.
            if !image.after.is_empty() {
                values.see(tracked, Value::at(&image.after, at));
            }
        }
    }
    values.buckets()
}

/// What is known of a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Unknown,
    Null,
    Text(&'a str),
}

impl<'a> Value<'a> {
    fn at(values: &'a images::Values, at: usize) -> Self {
        match values.get(at) {
            None => Self::Unknown,
            Some(None) => Self::Null,
            Some(Some(text)) => Self::Text(text),
        }
    }
}

/// Values of one table's tracked columns that a change is about.
#[derive(Debug)]
pub(crate) struct Values {
    seed: RelationSeed,
    /// `None` once one is not known.
    known: Option<Vec<BucketId>>,
}

impl Values {
    pub(crate) fn new(seed: RelationSeed) -> Self {
        Self { seed, known: Some(Vec::new()) }
    }

    /// A row has or had this value.
    pub(crate) fn see(&mut self, tracked: &Tracked, value: Value<'_>) {
        let bucket = match value {
            Value::Unknown => None,
            Value::Null => tracked.bucket(self.seed, None),
            Value::Text(text) => tracked.bucket(self.seed, Some(text)),
        };
        match (&mut self.known, bucket) {
            (Some(known), Some(bucket)) => known.push(bucket),
            _ => self.known = None,
        }
    }

    /// Every value, since one is not known.
    fn any(self) -> Vec<BucketId> {
        vec![BucketId::columns(self.seed)]
    }

    /// What the change raises.
    pub(crate) fn buckets(mut self) -> Vec<BucketId> {
        let Some(mut known) = self.known.take() else { return self.any() };
        known.sort_unstable_by_key(|bucket| bucket.0);
        known.dedup();
        if known.len() > MAX_VALUES { self.any() } else { known }
    }
}

/// The values of one tracked column that every row of the list has, as buckets: the fewest there are, and of the first
/// tracked column that has as few. `None` if the query says nothing certain of any.
pub(crate) fn of_list(collection: &Collection, query: &ListQuery) -> Option<Vec<BucketId>> {
    let seed = collection.seed();
    let narrowed = |tracked| query.filters.iter().filter_map(move |filter| narrowed(seed, tracked, filter));
    collection.track.iter().flat_map(narrowed).min_by_key(Vec::len)
}

/// The values that a condition leaves a column. Only what makes the condition true counts: of a row for which it is
/// false or unknown, the list has nothing.
fn narrowed(seed: RelationSeed, tracked: &Tracked, filter: &Filter) -> Option<Vec<BucketId>> {
    let (Filter::Compare { column, sense: Sense::Plain, .. }
    | Filter::In { column, sense: Sense::Plain, .. }
    | Filter::Is { column, sense: Sense::Plain, .. }) = filter
    else {
        return None;
    };
    if !column.path.is_empty() || *column.name != *tracked.name {
        return None;
    }
    let one = |value: Option<&str>| Some(vec![tracked.bucket(seed, value)?]);
    match filter {
        Filter::Compare { operator: Operator::Eq, value, .. } => one(Some(value)),
        Filter::In { values, .. } if (1..=MAX_IN).contains(&values.len()) => {
            values.iter().map(|value| tracked.bucket(seed, Some(value))).collect()
        }
        Filter::Is { value: IsValue::Null, .. } => one(None),
        // PostgreSQL takes these for booleans only.
        Filter::Is { value: IsValue::True, .. } => one(Some("true")),
        Filter::Is { value: IsValue::False, .. } => one(Some("false")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
