//! The bytes of an entry's key in a tier: everything a response depends on, by names and never by numbers that a
//! process gave, so that gateways find each other's entries.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_types::query::{JsonOutput, JsonTarget, Projection, SelectItem};
use xxhash_rust::xxh3::xxh3_128;

use crate::entry::EntryKey;

/// What every key begins with. The version is that of this encoding.
const PREFIX: &[u8] = b"tidegate:1:";
/// Longer keys are hashed, and their entries hold them in full.
pub const MAX_KEY_BYTES: usize = 200;

/// A key: the bytes the tier knows it by, and in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierKey {
    full: Bytes,
    short: Option<Bytes>,
}

/// Where rows are: a shard by its name, and as whom its database is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The shard's name.
    pub name: Arc<str>,
    /// The digest of database, user and options: gateways that connect as another user may see other rows.
    pub access: u64,
}

/// What kind of entry a key is of: no key of one kind is a key of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyKind {
    /// A row by its key.
    Row = b'r',
    /// A list by its query.
    List = b'l',
    /// The hash of a longer key.
    Hashed = b'#',
}

impl TierKey {
    /// The key of a row's entry. `definition` is the digest of its collection's definition.
    #[must_use]
    pub fn row(definition: u64, place: &Place, entry: &EntryKey) -> Self {
        // Every field is named, so that a new one asks whether it belongs here. The collection is a number of this
        // process: its definition stands for it. The shard is one too: its place stands for it.
        let EntryKey { tenant, collection: _, shard: _, key, projection, variant } = entry;
        let mut bytes = Self::begin(KeyKind::Row, definition, place, tenant.0);
        let length = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        key.encode(&mut |part| bytes.extend_from_slice(part));
        #[expect(clippy::cast_possible_truncation, reason = "a key comes from a request, which is far below 4 GiB")]
        let encoded = ((bytes.len() - length - 4) as u32).to_le_bytes();
        bytes[length..length + 4].copy_from_slice(&encoded);
        encode_projection(&mut bytes, projection);
        match variant {
            None => bytes.push(0),
            Some(variant) => {
                bytes.push(1);
                text(&mut bytes, variant);
            }
        }
        Self::of(bytes)
    }

    /// The key of another entry: `parts` name it within its kind, definition, place and tenant.
    #[must_use]
    pub fn of_parts<'p>(
        kind: KeyKind,
        definition: u64,
        place: &Place,
        tenant: u64,
        parts: impl IntoIterator<Item = &'p [u8]>,
    ) -> Self {
        let mut bytes = Self::begin(kind, definition, place, tenant);
        parts.into_iter().for_each(|part| text(&mut bytes, part));
        Self::of(bytes)
    }

    fn begin(kind: KeyKind, definition: u64, place: &Place, tenant: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(PREFIX);
        bytes.push(kind as u8);
        bytes.extend_from_slice(&definition.to_le_bytes());
        bytes.extend_from_slice(&tenant.to_le_bytes());
        bytes.extend_from_slice(&place.access.to_le_bytes());
        text(&mut bytes, place.name.as_bytes());
        bytes
    }

    fn of(full: Vec<u8>) -> Self {
        let short = (full.len() > MAX_KEY_BYTES).then(|| {
            let mut short = Vec::with_capacity(PREFIX.len() + 17);
            short.extend_from_slice(PREFIX);
            short.push(KeyKind::Hashed as u8);
            short.extend_from_slice(&xxh3_128(&full).to_le_bytes());
            short.into()
        });
        Self { full: full.into(), short }
    }

    /// What the tier knows it by: at most [`MAX_KEY_BYTES`].
    #[must_use]
    pub fn short(&self) -> &Bytes {
        self.short.as_ref().unwrap_or(&self.full)
    }

    /// All of it. Equality is equality of what the entry answers.
    #[must_use]
    pub fn full(&self) -> &Bytes {
        &self.full
    }

    /// Whether the tier knows it by a hash only.
    #[must_use]
    pub fn is_hashed(&self) -> bool {
        self.short.is_some()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "parts come from a request, which is far below 4 GiB")]
fn text(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

fn encode_projection(bytes: &mut Vec<u8>, projection: &Projection) {
    let Projection::Items(items) = projection else {
        bytes.push(0);
        return;
    };
    bytes.push(1);
    text_count(bytes, items.len());
    for item in items.iter() {
        let SelectItem::Column { alias, column, cast } = item else {
            bytes.push(0);
            continue;
        };
        bytes.push(1);
        for optional in [alias, cast] {
            match optional {
                None => bytes.push(0),
                Some(name) => {
                    bytes.push(1);
                    text(bytes, name.as_bytes());
                }
            }
        }
        text(bytes, column.name.as_bytes());
        text_count(bytes, column.path.len());
        for step in &column.path {
            bytes.push(match step.output {
                JsonOutput::Json => 0,
                JsonOutput::Text => 1,
            });
            match &step.to {
                JsonTarget::Key(key) => {
                    bytes.push(0);
                    text(bytes, key.as_bytes());
                }
                JsonTarget::Index(index) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&index.to_le_bytes());
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the parser bounds them to 128")]
fn text_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&(count as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use tidegate_types::{
        collection::CollectionId,
        key::{KeyValue, RowKey},
        query::{ColumnRef, JsonStep},
        route::ShardId,
        tenant::TenantId,
    };

    use super::*;

    fn place(name: &str) -> Place {
        Place { name: name.into(), access: 9 }
    }

    fn entry(key: &[&str]) -> EntryKey {
        EntryKey {
            tenant: TenantId(1),
            collection: CollectionId(0),
            shard: ShardId(0),
            key: RowKey(key.iter().map(|part| KeyValue::Text((*part).into())).collect()),
            projection: Projection::Whole,
            variant: None,
        }
    }

    fn items(columns: &[(&str, Option<&str>, Option<&str>)]) -> Projection {
        let item = |(name, alias, cast): &(&str, Option<&str>, Option<&str>)| SelectItem::Column {
            alias: alias.map(str::to_owned),
            column: ColumnRef { name: (*name).to_owned(), path: Vec::new() },
            cast: cast.map(str::to_owned),
        };
        Projection::Items(columns.iter().map(item).collect())
    }

    fn path(to: JsonTarget, output: JsonOutput) -> Projection {
        let column = ColumnRef { name: "c".to_owned(), path: vec![JsonStep { to, output }] };
        Projection::Items(Arc::new([SelectItem::Column { alias: None, column, cast: None }]))
    }

    #[test]
    fn what_answers_differently_has_another_key() {
        let base = entry(&["a"]);
        let with = |change: &dyn Fn(&mut EntryKey)| {
            let mut entry = base.clone();
            change(&mut entry);
            TierKey::row(1, &place("a"), &entry)
        };
        let variant = |bytes: &[u8]| Some(Arc::from(bytes));
        let keys = [
            TierKey::row(1, &place("a"), &base),
            TierKey::row(2, &place("a"), &base),
            TierKey::row(1, &place("b"), &base),
            TierKey::row(1, &Place { access: 8, ..place("a") }, &base),
            TierKey::row(1, &place("a"), &entry(&["b"])),
            TierKey::row(1, &place("a"), &entry(&["a", ""])),
            TierKey::row(1, &place("a"), &entry(&["", "a"])),
            with(&|e| e.tenant = TenantId(2)),
            with(&|e| e.variant = variant(b"")),
            with(&|e| e.variant = variant(b"x")),
            with(&|e| e.projection = Projection::Items(Arc::new([]))),
            with(&|e| e.projection = Projection::Items(Arc::new([SelectItem::Star]))),
            with(&|e| e.projection = items(&[("c", None, None)])),
            with(&|e| e.projection = items(&[("c", Some("c"), None)])),
            with(&|e| e.projection = items(&[("c", None, Some("c"))])),
            with(&|e| e.projection = items(&[("c", None, None), ("d", None, None)])),
            with(&|e| e.projection = items(&[("d", None, None), ("c", None, None)])),
            with(&|e| e.projection = path(JsonTarget::Key("1".to_owned()), JsonOutput::Json)),
            with(&|e| e.projection = path(JsonTarget::Key("1".to_owned()), JsonOutput::Text)),
            with(&|e| e.projection = path(JsonTarget::Index(1), JsonOutput::Json)),
            TierKey::of_parts(KeyKind::List, 1, &place("a"), 1, [&b"a"[..], b"b"]),
            TierKey::of_parts(KeyKind::List, 1, &place("a"), 1, [&b"ab"[..], b""]),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].iter().any(|other| other.short() == key.short()), "{i}");
            assert!(!key.is_hashed());
        }
    }

    #[test]
    fn numbers_of_this_process_are_no_part_of_it() {
        let (one, mut other) = (entry(&["a"]), entry(&["a"]));
        (other.collection, other.shard) = (CollectionId(9), ShardId(9));
        assert_eq!(TierKey::row(1, &place("a"), &one), TierKey::row(1, &place("a"), &other));
    }

    #[test]
    fn long_keys_are_hashed_and_remembered_in_full() {
        let long = |last: &str| TierKey::row(1, &place("a"), &entry(&[&"x".repeat(400), last]));
        let (a, b) = (long("a"), long("b"));
        assert!(a.is_hashed() && a.short().len() <= MAX_KEY_BYTES && a.full().len() > 400);
        assert_ne!(a.short(), b.short());
        assert_eq!(long("a"), a);
    }

    /// Gateways of different releases find each other's entries: a change here needs another prefix.
    #[test]
    fn keys_stay_the_same_from_release_to_release() {
        let mut entry = entry(&["k"]);
        entry.variant = Some(Arc::from(&b"v"[..]));
        let key = TierKey::row(0x0807_0605_0403_0201, &place("eu"), &entry);
        let golden = b"tidegate:1:r\x01\x02\x03\x04\x05\x06\x07\x08\x01\0\0\0\0\0\0\0\
            \x09\0\0\0\0\0\0\0\x02\0\0\0eu\
            \x0a\0\0\0\x02\x01\0\0\0\0\0\0\0k\0\x01\x01\0\0\0v";
        assert_eq!(&key.short()[..], &golden[..]);
    }
}
