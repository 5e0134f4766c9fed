//! What one transaction takes of what waits: in order, consecutive writes of a row made one.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tidegate_types::{
    key::RowKey,
    mutation::{Image, Mutation, Sequence},
};

use super::dirty::RowName;

/// A mutation that waits for its shard.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) sequence: Sequence,
    pub(super) mutation: Arc<Mutation>,
    /// When it was acknowledged here, or found in the journal.
    pub(super) since: Instant,
}

impl Waiting {
    /// Memory it takes, about.
    pub(super) fn bytes(&self) -> u64 {
        let Mutation { key, image, .. } = &*self.mutation;
        (size_of::<Self>() + size_of::<Mutation>() + key.heap_bytes() + image.heap_bytes()) as u64
    }
}

/// How writes of the same row are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joining {
    /// Made one.
    Together,
    /// One at a time: after a mutation failed, so that it is known which.
    Apart,
}

/// What a batch applies.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    /// Everything it takes, in order: what is let go of when it is committed.
    pub(super) taken: Vec<Waiting>,
    /// One for each row, in the order of their last writes.
    pub(super) merged: Vec<(Sequence, Mutation)>,
    /// Writes of parked rows.
    pub(super) parked: Vec<(Sequence, Mutation)>,
    /// Whether several writes were made one.
    pub(super) joined: bool,
}

impl Batch {
    /// The last it takes.
    pub(super) fn last(&self) -> Option<Sequence> {
        self.taken.last().map(|waiting| waiting.sequence)
    }
}

/// What a batch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) mutations: usize,
    /// Of memory; one mutation may be larger.
    pub(super) bytes: u64,
}

/// The next batch within `limits`. `writable` names the columns of a collection that are written besides
/// the key, for rows that were deleted and made anew in between.
pub(super) fn next<'a>(
    waiting: impl Iterator<Item = &'a Waiting>,
    limits: Limits,
    joining: Joining,
    is_parked: impl Fn(&RowName) -> bool,
    writable: impl Fn(&str) -> Arc<[Box<str>]>,
) -> Batch {
    let mut batch = Batch::default();
    let mut places: HashMap<(Arc<str>, RowKey), usize> = HashMap::new();
    let mut merged: Vec<Option<(Sequence, Mutation)>> = Vec::new();
    let mut bytes = 0;
    for one in waiting.take(limits.mutations) {
        bytes += one.bytes();
        if bytes > limits.bytes && !batch.taken.is_empty() {
            break;
        }
        let Mutation { collection, key, .. } = &*one.mutation;
        let row = RowName { collection: collection.clone(), key: key.clone() };
        if is_parked(&row) {
            batch.parked.push((one.sequence, Mutation::clone(&one.mutation)));
            batch.taken.push(one.clone());
            continue;
        }
        let mut next = Mutation::clone(&one.mutation);
        let name = (row.collection, row.key);
        if let Some(place) = places.get(&name) {
            if joining == Joining::Apart {
                break;
            }
            if let Some((_, before)) = merged[*place].take() {
                next.image = join(&before.image, next.image, || writable(collection));
            }
            batch.joined = true;
        }
        places.insert(name, merged.len());
        merged.push(Some((one.sequence, next)));
        batch.taken.push(one.clone());
    }
    batch.merged = merged.into_iter().flatten().collect();
    batch
}

/// What two writes of a row come to: the later image, with the columns that either set. A row that was gone in between
/// keeps nothing of what it was, so all of its columns count as set.
fn join(before: &Image, after: Image, writable: impl FnOnce() -> Arc<[Box<str>]>) -> Image {
    match (before, after) {
        (_, Image::Gone) => Image::Gone,
        (Image::Gone, Image::Row { json, .. }) => Image::Row { json, set: writable() },
        (Image::Row { set: earlier, .. }, Image::Row { json, set }) => {
            let missing = earlier.iter().filter(|name| !set.contains(name));
            let set = if missing.clone().next().is_none() { set } else { set.iter().chain(missing).cloned().collect() };
            Image::Row { json, set }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{key::KeyValue, tenant::TenantId};

    use super::*;

    fn row(json: &'static str, set: &[&str]) -> Image {
        let set = set.iter().map(|name| Box::from(*name)).collect();
        Image::Row { json: bytes::Bytes::from_static(json.as_bytes()), set }
    }

    fn writes(of: &[(i64, Image)]) -> Vec<Waiting> {
        let one = |(at, (key, image)): (usize, &(i64, Image))| Waiting {
            sequence: Sequence(at as u64 + 1),
            mutation: Arc::new(Mutation {
                collection: "carts".into(),
                shard: "a".into(),
                tenant: TenantId::SHARED,
                key: RowKey::single(KeyValue::Int(*key)),
                image: image.clone(),
            }),
            since: Instant::now(),
        };
        of.iter().enumerate().map(one).collect()
    }

    fn take(of: &[(i64, Image)], limit: usize, joining: Joining, parked: &[i64]) -> Batch {
        let is_parked = |row: &RowName| parked.iter().any(|key| row.key == RowKey::single(KeyValue::Int(*key)));
        let limits = Limits { mutations: limit, bytes: 1 << 20 };
        next(writes(of).iter(), limits, joining, is_parked, |_| ["a", "b", "c"].map(Box::from).into())
    }

    fn shown(of: &[(Sequence, Mutation)]) -> Vec<(u64, String, Image)> {
        of.iter().map(|(sequence, m)| (sequence.0, m.key.to_string(), m.image.clone())).collect()
    }

    #[test]
    fn writes_of_a_row_become_one_with_every_column_that_any_set() {
        let all = [(1, row("x", &["a"])), (2, row("y", &["b"])), (1, row("z", &["b"])), (2, Image::Gone)];
        let batch = take(&all, 10, Joining::Together, &[]);
        assert!(batch.joined);
        assert_eq!((batch.taken.len(), batch.last()), (4, Some(Sequence(4))));
        let expected = [(3, "1".to_owned(), row("z", &["b", "a"])), (4, "2".to_owned(), Image::Gone)];
        assert_eq!(shown(&batch.merged), expected);
    }

    #[test]
    fn a_row_made_anew_is_written_whole() {
        let all = [(1, row("x", &["a"])), (1, Image::Gone), (1, row("z", &["b"]))];
        let batch = take(&all, 10, Joining::Together, &[]);
        assert_eq!(shown(&batch.merged), [(3, "1".to_owned(), row("z", &["a", "b", "c"]))]);
    }

    #[test]
    fn apart_a_batch_ends_before_the_second_write_of_a_row() {
        let all = [(1, row("x", &["a"])), (2, row("y", &["b"])), (1, row("z", &["b"])), (3, Image::Gone)];
        let batch = take(&all, 10, Joining::Apart, &[]);
        assert!(!batch.joined);
        assert_eq!((batch.merged.len(), batch.last()), (2, Some(Sequence(2))), "nothing after it either: order");
        assert_eq!(take(&all, 1, Joining::Together, &[]).last(), Some(Sequence(1)), "the limit");
    }

    #[test]
    fn a_batch_ends_before_it_takes_too_much_memory_and_takes_one_at_least() {
        let all = writes(&[(1, row("x", &["a"])), (2, row("y", &["b"]))]);
        let take = |bytes| {
            let limits = Limits { mutations: 10, bytes };
            next(all.iter(), limits, Joining::Together, |_| false, |_| [].into()).taken.len()
        };
        let one = all[0].bytes();
        assert_eq!((take(0), take(one), take(2 * one - 1), take(2 * one)), (1, 1, 1, 2));
    }

    #[test]
    fn writes_of_parked_rows_follow_their_first_one() {
        let all = [(1, row("x", &["a"])), (2, row("y", &["b"])), (1, row("z", &["b"]))];
        let batch = take(&all, 10, Joining::Apart, &[1]);
        assert_eq!(batch.last(), Some(Sequence(3)));
        assert_eq!(shown(&batch.parked).iter().map(|one| one.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(shown(&batch.merged).iter().map(|one| one.0).collect::<Vec<_>>(), [2]);
    }
}
