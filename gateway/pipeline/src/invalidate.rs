//! What an invalidation policy purges besides what a write raises by itself.

use std::fmt::Display;

use tidegate_store::images::{Before, Images};
use tidegate_types::{
    answer::{RowChange, WrittenRow},
    bucket::BucketId,
    collection::{Collection, Collections},
    policy::{Change, ChangeKind, Purge, Who},
    request::TenantId,
};

use crate::{
    metrics::{Fallback, Metrics},
    touch::whole,
};

/// Changes a policy is asked about at once.
const BATCH: usize = 256;

/// A write, as far as an invalidation policy is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) collections: &'a Collections,
    pub(crate) collection: &'a Collection,
    pub(crate) who: Who,
    pub(crate) rows: &'a [WrittenRow],
    pub(crate) images: &'a Images,
}

/// The buckets that `ask`, the policy, wants purged. Where it fails, or names what does not exist, or what a row
/// held before is not known: everything it might have meant, which is the collection and every tagged answer of
/// the tenant. Nothing is lost, and nothing fails the write.
pub(crate) fn buckets<E: Display>(
    written: Written<'_>,
    metrics: &Metrics,
    mut ask: impl FnMut(&[Change]) -> Result<Vec<Purge>, E>,
) -> Vec<BucketId> {
    let Written { collections, collection, who, .. } = written;
    let (changes, unread) = changes(written);
    let mut purged = Vec::new();
    let mut fallbacks = Vec::new();
    if let Some(rows) = unread {
        fallbacks.push((Fallback::Unread, format!("{rows} row(s) changed between being read and being written")));
    }
    for batch in changes.chunks(BATCH) {
        let purges = ask(batch).unwrap_or_else(|error| {
            fallbacks.push((Fallback::Failed, error.to_string()));
            Vec::new()
        });
        for purge in purges {
            match resolve(collections, &purge) {
                Ok(Target::One(bucket)) => purged.push(bucket),
                Ok(Target::Two(buckets)) => purged.extend(buckets),
                Err(detail) => fallbacks.push((Fallback::BadTarget, detail)),
            }
        }
    }
    if !fallbacks.is_empty() {
        purged.extend(whole(collection.id));
        purged.push(BucketId::tagged(who.tenant));
    }
    for (fallback, detail) in fallbacks {
        metrics.fell_back(fallback, &collection.name, &detail);
    }
    purged.sort_unstable_by_key(|bucket| bucket.0);
    purged.dedup();
    purged
}

/// What changed, and how many rows are left out because nobody knows what they held.
fn changes(written: Written<'_>) -> (Vec<Change>, Option<usize>) {
    let Written { collection, rows, images, .. } = written;
    let change =
        |kind, key| Change { collection: collection.name.clone(), key, kind, old: Vec::new(), new: Vec::new() };
    let images = match images {
        Images::Each(images) => images,
        Images::TooMany => return (vec![change(ChangeKind::Truncate, String::new())], None),
        Images::NotAsked => return (Vec::new(), None),
    };
    let known: Vec<Change> = rows
        .iter()
        .zip(images)
        .filter_map(|(row, image)| {
            let old = match &image.before {
                Before::Nothing => Vec::new(),
                Before::Values(values) => values.clone(),
                Before::Unknown => return None,
            };
            let kind = match row.change {
                RowChange::Inserted if image.before == Before::Nothing => ChangeKind::Insert,
                RowChange::Inserted | RowChange::Updated => ChangeKind::Update,
                RowChange::Deleted => ChangeKind::Delete,
            };
            Some(Change { old, new: image.after.clone(), ..change(kind, row.key.path_text()) })
        })
        .collect();
    let unread = images.len() - known.len();
    (known, (unread > 0).then_some(unread))
}

enum Target {
    One(BucketId),
    Two([BucketId; 2]),
}

/// The buckets of one purge, or what is wrong with it.
fn resolve(collections: &Collections, purge: &Purge) -> Result<Target, String> {
    let find = |name: &str| {
        collections.get(name).ok_or_else(|| format!("it names the collection {}, which is not served", clip(name)))
    };
    Ok(match purge {
        Purge::Tag(bucket) => Target::One(*bucket),
        Purge::Row { collection, key } => {
            let collection = find(collection)?;
            let wrong = |error| format!("it names the row {} of {}: {error}", clip(key), collection.name);
            let key = collection.parse_path_key(key).map_err(wrong)?;
            Target::One(BucketId::row(TenantId::SHARED, collection.id, &key))
        }
        Purge::Lists { collection } => Target::One(BucketId::relation(TenantId::SHARED, find(collection)?.id)),
        Purge::Collection { collection } => Target::Two(whole(find(collection)?.id)),
    })
}

/// A guest's text, short enough for a log.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
