//! Columns by whose values lists are told apart (`track`): which bucket a value is.
//!
//! A list that asks for one value of a tracked column depends on that value's bucket, and a write raises the buckets
//! of the values that its rows had and have. Both sides meet only if equal values have one text here, so only types
//! are accepted for which that is certain, and a text of which it is not gives no bucket.

use std::{borrow::Cow, sync::Arc};

use crate::{
    bucket::{BucketId, RelationSeed},
    key::KeyType,
};

/// Tracked columns of a collection.
pub const MAX_TRACKED: usize = 8;

/// A tracked column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// Its name.
    pub name: Arc<str>,
    /// How its values are written.
    pub kind: TrackedKind,
}

/// The types a tracked column may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackedKind {
    /// One that a key may have.
    Key(KeyType),
    /// An enumeration: equal labels are equal bytes.
    Label,
    /// `date`
    Date,
}

impl TrackedKind {
    /// The one text of a value, as it stands in a filter or as PostgreSQL prints it. `None` if this is no value of
    /// the type, or one of which another text may be known to PostgreSQL.
    #[must_use]
    pub fn canonical(self, text: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Key(KeyType::Text) | Self::Label => (!text.contains('\0')).then_some(Cow::Borrowed(text)),
            Self::Key(key_type) => key_type.parse(text).ok().map(|value| Cow::Owned(value.to_string())),
            Self::Date => is_iso_date(text).then_some(Cow::Borrowed(text)),
        }
    }
}

impl Tracked {
    /// The bucket of a value of this column, `None` standing for NULL. Gives nothing where the value's text is not
    /// certain: then it may be any.
    #[must_use]
    pub fn bucket(&self, seed: RelationSeed, value: Option<&str>) -> Option<BucketId> {
        match value {
            None => Some(BucketId::column(seed, &self.name, None)),
            Some(text) => {
                let text = self.kind.canonical(text)?;
                Some(BucketId::column(seed, &self.name, Some(&text)))
            }
        }
    }
}

/// `YYYY-MM-DD`: read alike whatever `DateStyle` says, and what PostgreSQL prints for the years 1 to 9999 under
/// `DateStyle = ISO`. Whether there is such a day is for PostgreSQL to say.
fn is_iso_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(i, byte)| if matches!(i, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: RelationSeed = RelationSeed(1);

    fn tracked(kind: TrackedKind) -> Tracked {
        Tracked { name: "c".into(), kind }
    }

    #[test]
    fn one_value_is_one_bucket_however_it_is_written() {
        let uuid = "6f1c0a8e-0000-4000-8000-00000000000a";
        let braced = format!("{{{}}}", uuid.to_uppercase());
        for (kind, texts) in [
            (TrackedKind::Key(KeyType::Int4), &["42", "042", "+42"][..]),
            (TrackedKind::Key(KeyType::Int8), &["-7", "-07"]),
            (TrackedKind::Key(KeyType::Bool), &["t", "true"]),
            (TrackedKind::Key(KeyType::Uuid), &[uuid, &braced]),
        ] {
            let buckets: Vec<_> = texts.iter().map(|text| tracked(kind).bucket(SEED, Some(text))).collect();
            assert!(buckets[0].is_some() && buckets.iter().all(|bucket| *bucket == buckets[0]), "{texts:?}");
        }
    }

    #[test]
    fn other_values_columns_and_tables_are_other_buckets_and_null_is_a_value() {
        let int = tracked(TrackedKind::Key(KeyType::Int4));
        let text = tracked(TrackedKind::Key(KeyType::Text));
        let other = Tracked { name: "d".into(), ..int.clone() };
        let all = [
            int.bucket(SEED, Some("1")),
            int.bucket(SEED, Some("2")),
            int.bucket(SEED, None),
            other.bucket(SEED, Some("1")),
            int.bucket(RelationSeed(2), Some("1")),
            text.bucket(SEED, Some("01")),
            text.bucket(SEED, Some("")),
        ];
        for (i, bucket) in all.iter().enumerate() {
            assert!(bucket.is_some() && !all[..i].contains(bucket), "{i}");
        }
        assert_eq!(int.bucket(SEED, Some("1")), Some(BucketId::column(SEED, "c", Some("1"))));
    }

    #[test]
    fn what_may_be_written_in_another_way_is_no_certain_value() {
        for (kind, texts) in [
            // PostgreSQL takes each of these, the gateway does not know what for.
            (TrackedKind::Key(KeyType::Int4), &[" 42", "0x2a", "4_2", "4294967296", ""][..]),
            (TrackedKind::Key(KeyType::Bool), &["yes", "on", "1", "TRUE"]),
            (TrackedKind::Date, &["2026-1-2", "20260102", "2026-01-02 BC", "infinity", "12026-01-02", "02.01.2026"]),
            (TrackedKind::Key(KeyType::Text), &["a\0"]),
            (TrackedKind::Label, &["a\0"]),
        ] {
            for text in texts {
                assert_eq!(tracked(kind).bucket(SEED, Some(text)), None, "{text:?}");
            }
        }
        assert_eq!(TrackedKind::Date.canonical("2026-01-02").as_deref(), Some("2026-01-02"));
        assert_eq!(TrackedKind::Label.canonical("In Stock").as_deref(), Some("In Stock"));
    }
}
