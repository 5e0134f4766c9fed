//! Buckets: slots of a fixed table that hold floors. A collision costs a refused fill, never staleness.
//!
//! A bucket is the same number in every gateway that serves the same tables: it is made of names, never of
//! numbers that a process gave.

use xxhash_rust::xxh3::Xxh3Default;

use crate::{key::RowKey, tenant::TenantId};

/// The hash of what a bucket covers. The cache maps it to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketId(pub u64);

/// The hash of a table and the columns that tell its rows apart
/// ([`Collection::seed`](crate::collection::Collection::seed)): what the buckets of its rows and lists begin with.
/// Collections of one table share them. Tenants do too: they may share a table, and a write by one voids what
/// another has cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelationSeed(pub u64);

impl BucketId {
    /// One row.
    #[must_use]
    pub fn row(seed: RelationSeed, key: &RowKey) -> Self {
        let mut hash = begin(b'r', seed.0);
        key.encode(&mut |bytes| hash.update(bytes));
        Self(hash.digest())
    }

    /// Every row of a table at once: what a bulk change, a cascade or a purge raises.
    /// Row entries depend on it, single-row writes do not raise it.
    #[must_use]
    pub fn sweep(seed: RelationSeed) -> Self {
        Self(begin(b's', seed.0).digest())
    }

    /// The list queries of a table: raised by every write to it.
    #[must_use]
    pub fn relation(seed: RelationSeed) -> Self {
        Self(begin(b'l', seed.0).digest())
    }

    /// The list queries of a table that ask for one value of a column; `None` is NULL.
    #[must_use]
    pub fn column(seed: RelationSeed, column: &str, value: Option<&str>) -> Self {
        let mut hash = begin(b'c', seed.0);
        hash.update(&(column.len() as u64).to_le_bytes());
        hash.update(column.as_bytes());
        if let Some(value) = value {
            hash.update(b"=");
            hash.update(value.as_bytes());
        }
        Self(hash.digest())
    }

    /// The list queries of a table that ask for any value of any column: raised where the values that a change
    /// replaced are not known.
    #[must_use]
    pub fn columns(seed: RelationSeed) -> Self {
        Self(begin(b'C', seed.0).digest())
    }

    /// A tenant's lists of one query in its normal form ([`crate::normal::encode`]): raised by nothing but a purge of
    /// that query.
    #[must_use]
    pub fn query(tenant: TenantId, seed: RelationSeed, normal: &[u8]) -> Self {
        let mut hash = begin(b'q', seed.0);
        hash.update(&tenant.0.to_le_bytes());
        hash.update(normal);
        Self(hash.digest())
    }

    /// The answers that a policy gave this tag.
    #[must_use]
    pub fn tag(tenant: TenantId, tag: &str) -> Self {
        let mut hash = begin(b't', tenant.0);
        hash.update(tag.as_bytes());
        Self(hash.digest())
    }

    /// Every answer of a tenant that a policy gave any tag: raised where an invalidation policy fails.
    #[must_use]
    pub fn tagged(tenant: TenantId) -> Self {
        Self(begin(b'T', tenant.0).digest())
    }
}

fn begin(kind: u8, seed: u64) -> Xxh3Default {
    let mut hash = Xxh3Default::new();
    hash.update(&[kind]);
    hash.update(&seed.to_le_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyValue;

    #[test]
    fn buckets_of_different_things_differ() {
        let (seed, other, key) = (RelationSeed(1), RelationSeed(2), RowKey::single(KeyValue::Int(1)));
        let tenant = TenantId(1);
        let all = [
            BucketId::row(seed, &key),
            BucketId::row(other, &key),
            BucketId::row(seed, &RowKey::single(KeyValue::Int(2))),
            BucketId::sweep(seed),
            BucketId::relation(seed),
            BucketId::column(seed, "a", Some("b")),
            BucketId::column(seed, "a", None),
            BucketId::column(seed, "a=", Some("b")),
            BucketId::column(seed, "", Some("ab")),
            BucketId::columns(seed),
            BucketId::query(tenant, seed, b"a"),
            BucketId::query(tenant, other, b"a"),
            BucketId::query(TenantId(2), seed, b"a"),
            BucketId::query(tenant, seed, b"b"),
            BucketId::tag(tenant, "a"),
            BucketId::tagged(tenant),
        ];
        for (i, bucket) in all.iter().enumerate() {
            assert!(!all[..i].contains(bucket), "{i}");
        }
    }

    /// Gateways of different versions exchange these: a change here needs another version of what they speak.
    #[test]
    fn buckets_stay_the_same_from_release_to_release() {
        let (seed, key) = (RelationSeed(7), RowKey::single(KeyValue::Int(42)));
        let golden = [BucketId::row(seed, &key), BucketId::sweep(seed), BucketId::column(seed, "c", Some("1"))];
        assert_eq!(golden.map(|bucket| bucket.0), [1516421504155390626, 17566073521555745000, 16335374823918707328]);
    }
}
