//! What policies decide about a request, after the host has bounded it.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use crate::{
    bucket::BucketId,
    tenant::{ClassId, TenantId},
};

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Who {
    /// The tenant; known to be configured.
    pub tenant: TenantId,
    /// Its class.
    pub class: ClassId,
}

impl Who {
    /// Everybody, on a gateway without tenancy.
    pub const SHARED: Self = Self { tenant: TenantId::SHARED, class: ClassId(0) };
}

impl Default for Who {
    fn default() -> Self {
        Self::SHARED
    }
}

/// How the answer of a read may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// As the collection is configured.
    AsConfigured,
    /// Not at all: the policy says so.
    Bypass,
    /// Not at all: the policy failed.
    BypassFailed,
    /// Within these bounds.
    Narrowed(Arc<Narrowed>),
}

/// Bounds on how an answer is kept. They only ever narrow the collection's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowed {
    /// Longest time it is served; to be taken together with the collection's `ttl`.
    pub ttl: Option<Duration>,
    /// How long after that it may be served under bounded consistency.
    pub stale: Duration,
    /// The tenant's tags, at most [`MAX_TAGS`].
    pub tags: Vec<BucketId>,
    /// The same as the policy gave them, for a CDN in front; none for a tenant, whose answers no CDN is offered.
    pub tag_names: Vec<String>,
    /// Values of the inputs it differs by, length-prefixed: answers with other values are other
    /// entries.
    pub variant: Option<Arc<[u8]>>,
    /// The header fields among those inputs, for `Vary`.
    pub vary: Vec<HeaderName>,
}

/// Tags of one answer.
pub const MAX_TAGS: usize = 32;

/// What happened to a row, for an invalidation policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// It was changed.
    Update,
    /// It is gone.
    Delete,
    /// Too many rows changed to name them.
    Truncate,
}

/// A changed row, for an invalidation policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The collection's name.
    pub collection: Arc<str>,
    /// Its key as it stands in a path; empty for [`ChangeKind::Truncate`].
    pub key: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The declared columns before, in the order of their declaration; empty for inserts.
    pub old: Vec<Option<String>>,
    /// The declared columns after; empty for deletes.
    pub new: Vec<Option<String>>,
}

/// How urgent a purge is to an invalidation policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Urgency {
    /// It must not be served again.
    #[default]
    Purge,
    /// A collection that serves rows late may serve it so until it is fetched again.
    SoftPurge,
    /// It must not be served again, and is to be fetched again before somebody asks.
    Refresh,
}

/// What an invalidation policy wants done with something, besides what the gateway purges anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidation {
    /// How urgent it is.
    pub urgency: Urgency,
    /// With what.
    pub purge: Purge,
}

/// What an invalidation policy wants purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// A row, by collection and key as in a path.
    Row {
        /// The collection's name, as the policy gave it.
        collection: String,
        /// The key, as the policy gave it.
        key: String,
    },
    /// Every answer with one of the tenant's tags.
    Tag(BucketId),
    /// One of the tenant's list queries.
    Query {
        /// Whose.
        tenant: TenantId,
        /// The collection's name, as the policy gave it.
        collection: String,
        /// The query string, as the policy gave it.
        query: String,
    },
    /// The list queries of a collection.
    Lists {
        /// The collection's name, as the policy gave it.
        collection: String,
    },
    /// Rows and lists of a collection.
    Collection {
        /// The collection's name, as the policy gave it.
        collection: String,
    },
}
