//! What an operator wants forgotten.

/// Things that may be purged with one order.
pub const MAX_TARGETS: usize = 1000;

/// One thing to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeTarget {
    /// One row, in every representation and for every tenant, and the lists of its collection.
    Row {
        /// The collection's name.
        collection: String,
        /// Its key, as it stands in a path.
        key: String,
    },
    /// The answers that a cache policy gave this tag.
    Tag {
        /// Whose; `None` for a gateway without tenancy.
        tenant: Option<String>,
        /// The tag, as the policy gives it.
        tag: String,
    },
    /// A tenant's lists of one query, however it is written.
    Query {
        /// Whose; `None` for a gateway without tenancy.
        tenant: Option<String>,
        /// The collection's name.
        collection: String,
        /// The query string.
        query: String,
    },
    /// Every row and list of a collection.
    Collection(String),
    /// Every row and list of a tenant.
    Tenant(String),
    /// Everything.
    Everything,
}

/// What may be done with what is purged, until it is fetched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Softness {
    /// Nothing: it is never served again.
    #[default]
    Hard,
    /// A collection that serves rows after their time may serve it so, as if its time had ended with the purge. Any
    /// other one does as for [`Softness::Hard`].
    Soft,
}

/// What became of the collections that a soft purge may have reached, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Softened {
    /// Their rows may be served late.
    pub soft: Vec<String>,
    /// Nothing of them is served again.
    pub hard: Vec<String>,
}

/// A purge that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// Buckets voided, on how many shards each.
    pub buckets: usize,
    /// Gateways that have forgotten it, this one included.
    pub gateways: usize,
    /// Of a soft purge, what it came to.
    pub softened: Option<Softened>,
}

/// Why nothing was purged, or not everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// It names a collection that is not served.
    #[error("there is no collection {0}")]
    UnknownCollection(String),
    /// It names a tenant that is not configured.
    #[error("there is no tenant {0}")]
    UnknownTenant(String),
    /// A row's key is none of its collection.
    #[error("{collection}: {reason}")]
    BadKey {
        /// The collection.
        collection: String,
        /// What is wrong with the key.
        reason: String,
    },
    /// A query string is none of its collection.
    #[error("{collection}: {reason}")]
    BadQuery {
        /// The collection.
        collection: String,
        /// What is wrong with the query string.
        reason: String,
    },
    /// Another gateway may still serve what is purged here.
    #[error("purged here, but another gateway does not answer and may still serve it: {0}")]
    Unheard(String),
}
