//! Buckets: slots of a fixed table that hold floors. A collision costs a refused fill, never staleness.

use xxhash_rust::xxh3::Xxh3Default;

use crate::{collection::CollectionId, key::RowKey, request::TenantId};

/// The hash of what a bucket covers. The cache maps it to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketId(pub u64);

impl BucketId {
    /// One row of a collection.
    #[must_use]
    pub fn row(tenant: TenantId, collection: CollectionId, key: &RowKey) -> Self {
        let mut hash = Self::begin(b'r', tenant, collection);
        key.encode(&mut |bytes| hash.update(bytes));
        Self(hash.digest())
    }

    /// Every row of a collection at once: what a bulk change, a cascade or a purge raises.
    /// Row entries depend on it, single-row writes do not raise it.
    #[must_use]
    pub fn sweep(tenant: TenantId, collection: CollectionId) -> Self {
        Self(Self::begin(b's', tenant, collection).digest())
    }

    /// The list queries of a collection: raised by every write to it.
    #[must_use]
    pub fn relation(tenant: TenantId, collection: CollectionId) -> Self {
        Self(Self::begin(b'l', tenant, collection).digest())
    }

    /// The answers that a policy gave this tag.
    #[must_use]
    pub fn tag(tenant: TenantId, tag: &str) -> Self {
        let mut hash = Xxh3Default::new();
        hash.update(b"t");
        hash.update(&tenant.0.to_le_bytes());
        hash.update(tag.as_bytes());
        Self(hash.digest())
    }

    /// Every answer of a tenant that a policy gave any tag: raised where an invalidation policy fails.
    #[must_use]
    pub fn tagged(tenant: TenantId) -> Self {
        let mut hash = Xxh3Default::new();
        hash.update(b"T");
        hash.update(&tenant.0.to_le_bytes());
        Self(hash.digest())
    }

    fn begin(kind: u8, tenant: TenantId, collection: CollectionId) -> Xxh3Default {
        let mut hash = Xxh3Default::new();
        hash.update(&[kind]);
        hash.update(&tenant.0.to_le_bytes());
        hash.update(&collection.0.to_le_bytes());
        hash
    }
}
