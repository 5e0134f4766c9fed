//! What an invalidation policy purges besides what a write raises by itself.

use std::{fmt::Display, sync::Arc};

use smallvec::SmallVec;
use tidegate_store::images::{Before, Images, Values};
use tidegate_types::{
    answer::{RowChange, WrittenRow},
    bucket::BucketId,
    collection::{Collection, Collections},
    key::RowKey,
    normal,
    policy::{Change, ChangeKind, Invalidation, Purge, Urgency, Who},
};

use crate::{
    dialect::Dialect,
    metrics::{Fallback, Metrics},
    touch::{self, lists, whole},
};

/// Changes a policy is asked about at once.
const BATCH: usize = 256;
/// Rows fetched again for one write; the next readers of more fetch them.
const MAX_REFRESHES: usize = 256;

/// What an invalidation policy adds to what a write raises by itself. No bucket is among both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Purges {
    /// What depends on these is not served again.
    pub(crate) hard: Vec<BucketId>,
    /// What depends on these may be served late.
    pub(crate) soft: Vec<BucketId>,
    /// Rows to be fetched again; their buckets are among the first.
    pub(crate) refresh: Vec<Again>,
}

/// A row to be fetched again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Again {
    pub(crate) collection: Arc<Collection>,
    pub(crate) key: RowKey,
}

impl Purges {
    fn add(&mut self, urgency: Urgency, Resolved { buckets, row }: Resolved) {
        match urgency {
            Urgency::Purge | Urgency::Refresh => self.hard.extend(buckets),
            Urgency::SoftPurge => self.soft.extend(buckets),
        }
        if let (Urgency::Refresh, Some(row)) = (urgency, row)
            && self.refresh.len() < MAX_REFRESHES
            && !self.refresh.contains(&row)
        {
            self.refresh.push(row);
        }
    }

    /// Adds what the same policy wants for other changes.
    pub(crate) fn join(&mut self, more: Self) {
        let Self { hard, soft, refresh } = more;
        self.hard.extend(hard);
        self.soft.extend(soft);
        self.refresh.extend(refresh);
        self.settle();
    }

    /// Each bucket once.
    fn settle(&mut self) {
        for buckets in [&mut self.hard, &mut self.soft] {
            buckets.sort_unstable_by_key(|bucket| bucket.0);
            buckets.dedup();
        }
        self.soft.retain(|bucket| self.hard.binary_search_by_key(&bucket.0, |hard| hard.0).is_err());
    }
}

/// A write, as far as an invalidation policy is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) collections: &'a Collections,
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) collection: &'a Collection,
    pub(crate) who: Who,
    pub(crate) rows: &'a [WrittenRow],
    /// What the policy declares.
    pub(crate) declared: &'a [Arc<str>],
    /// Of these columns first; others may follow.
    pub(crate) images: &'a Images,
}

/// What `ask`, the policy, wants purged. Where it fails, or names what does not exist, or what a row
/// held before is not known: everything it might have meant, which is the collection and every tagged answer of
/// the tenant. Nothing is lost, and nothing fails the write.
pub(crate) fn buckets<E: Display>(
    written: Written<'_>,
    metrics: &Metrics,
    ask: impl FnMut(&[Change]) -> Result<Vec<Invalidation>, E>,
) -> Purges {
    let Written { collections, dialect, collection, who, .. } = written;
    let (changes, unread) = changes(written);
    asked(About { collections, dialect, collection, who, changes: &changes, unread }, metrics, ask)
}

/// Changes of one collection that a policy is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) collections: &'a Collections,
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) collection: &'a Collection,
    pub(crate) who: Who,
    pub(crate) changes: &'a [Change],
    /// Changed rows left out, because nobody knows what they held.
    pub(crate) unread: Option<usize>,
}

/// What the policy wants purged for these changes, as [`buckets`] says.
pub(crate) fn asked<E: Display>(
    about: About<'_>,
    metrics: &Metrics,
    mut ask: impl FnMut(&[Change]) -> Result<Vec<Invalidation>, E>,
) -> Purges {
    let About { collections, dialect, collection, who, changes, unread } = about;
    let mut purged = Purges::default();
    let mut fallbacks = Vec::new();
    if let Some(rows) = unread {
        fallbacks.push((Fallback::Unread, format!("{rows} row(s) changed, and what they held is not known")));
    }
    for batch in changes.chunks(BATCH) {
        let purges = ask(batch).unwrap_or_else(|error| {
            fallbacks.push((Fallback::Failed, error.to_string()));
            Vec::new()
        });
        for Invalidation { urgency, purge } in purges {
            match resolve(collections, dialect, &purge) {
                Ok(resolved) => purged.add(urgency, resolved),
                Err(detail) => fallbacks.push((Fallback::BadTarget, detail)),
            }
        }
    }
    if !fallbacks.is_empty() {
        purged.hard.extend(whole(collection.seed()));
        purged.hard.push(BucketId::tagged(who.tenant));
    }
    for (fallback, detail) in fallbacks {
        metrics.fell_back(fallback, &collection.name, &detail);
    }
    purged.settle();
    purged
}

/// What changed, and how many rows are left out because nobody knows what they held.
fn changes(written: Written<'_>) -> (Vec<Change>, Option<usize>) {
    let Written { collection, rows, declared, images, .. } = written;
    let change =
        |kind, key| Change { collection: collection.name.clone(), key, kind, old: Vec::new(), new: Vec::new() };
    let images = match images {
        Images::Each(images) => images,
        Images::TooMany => return (vec![change(ChangeKind::Truncate, String::new())], None),
        Images::NotAsked => return (Vec::new(), None),
    };
    let of_policy = |values: &Values| values.iter().take(declared.len()).cloned().collect::<Values>();
    // Of columns that the collection does not have nothing can be unknown.
    let blank = declared.iter().all(|name| collection.column(name).is_none());
    let known: Vec<Change> = rows
        .iter()
        .zip(images)
        .filter_map(|(row, image)| {
            let old = match &image.before {
                Before::Nothing => Vec::new(),
                Before::Values(values) => of_policy(values),
                Before::Unknown if blank => vec![None; declared.len()],
                Before::Unknown => return None,
            };
            let kind = match row.change {
                RowChange::Inserted if image.before == Before::Nothing => ChangeKind::Insert,
                RowChange::Inserted | RowChange::Updated => ChangeKind::Update,
                RowChange::Deleted => ChangeKind::Delete,
            };
            Some(Change { old, new: of_policy(&image.after), ..change(kind, row.key.path_text()) })
        })
        .collect();
    let unread = images.len() - known.len();
    (known, (unread > 0).then_some(unread))
}

/// What a purge comes to.
struct Resolved {
    buckets: SmallVec<[BucketId; 2]>,
    /// The row it names.
    row: Option<Again>,
}

/// The buckets of one purge, or what is wrong with it.
fn resolve(collections: &Collections, dialect: &dyn Dialect, purge: &Purge) -> Result<Resolved, String> {
    let find = |name: &str| {
        collections.get(name).ok_or_else(|| format!("it names the collection {}, which is not served", clip(name)))
    };
    let of = |buckets: &[BucketId]| Resolved { buckets: SmallVec::from_slice(buckets), row: None };
    Ok(match purge {
        Purge::Tag(bucket) => of(&[*bucket]),
        Purge::Row { collection, key } => {
            let collection = find(collection)?;
            let wrong = |error| format!("it names the row {} of {}: {error}", clip(key), collection.name);
            let key = collection.parse_path_key(key).map_err(wrong)?;
            let buckets = SmallVec::from_slice(&[BucketId::row(collection.seed(), &key)]);
            Resolved { buckets, row: Some(Again { collection: collection.clone(), key }) }
        }
        Purge::Query { tenant, collection, query } => {
            let collection = find(collection)?;
            let wrong = |error| format!("it names the list {} of {}: {error}", clip(query), collection.name);
            let read = dialect.list(collection, query).map_err(wrong)?;
            of(&[touch::query(*tenant, collection, &normal::normal(collection, &read))])
        }
        Purge::Lists { collection } => of(&lists(find(collection)?.seed())),
        Purge::Collection { collection } => of(&whole(find(collection)?.seed())),
    })
}

/// A guest's text, short enough for a log.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
