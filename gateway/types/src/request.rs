//! What the HTTP front asks of the pipelines.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

pub use crate::tenant::TenantId;
use crate::{
    answer::ETag,
    collection::Collection,
    key::RowKey,
    query::{Count, ListQuery, Projection},
};

/// The parts of an HTTP request a policy may declare as inputs. Borrowed for the call.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// The query string without `?`, empty if absent.
    pub query: &'a str,
    /// The header fields.
    pub headers: &'a http::HeaderMap,
}

impl<'a> Facts<'a> {
    /// The facts of a request.
    #[must_use]
    pub fn of(parts: &'a http::request::Parts) -> Self {
        Self {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or(""),
            headers: &parts.headers,
        }
    }
}

/// A keyed read: `GET /v1/products/42`.
#[derive(Debug, Clone)]
pub struct RowRead {
    /// The collection.
    pub collection: Arc<Collection>,
    /// The row.
    pub key: RowKey,
    /// Its representation.
    pub projection: Projection,
}

/// A list read: `GET /v1/products?...`.
#[derive(Debug, Clone)]
pub struct ListRead {
    /// The collection.
    pub collection: Arc<Collection>,
    /// The query. `limit` is already clamped to the collection's `max_rows`.
    pub query: ListQuery,
}

/// `If-Match`, for writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// No condition.
    Absent,
    /// `*`: the row must exist.
    Any,
    /// One of these versions. A tag that is not ours (weak, or of another form) matches nothing,
    /// so the list may be empty.
    OneOf(Vec<ETag>),
}

/// `If-None-Match` on a write: `*` refuses to overwrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfNoneMatch {
    /// No condition.
    Absent,
    /// `*`: the row must not exist yet.
    Any,
}

/// `Prefer: return=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnPreference {
    /// No body.
    #[default]
    Minimal,
    /// No body, but `Location`.
    HeadersOnly,
    /// The rows as they are now.
    Representation,
}

/// `Prefer: resolution=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// A duplicate key is a conflict.
    Fail,
    /// `ON CONFLICT (key) DO UPDATE` of the sent columns.
    MergeDuplicates,
    /// `ON CONFLICT (key) DO NOTHING`.
    IgnoreDuplicates,
}

/// `Prefer: missing=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// A listed column that a row lacks becomes NULL.
    #[default]
    Null,
    /// It takes the column's default.
    Default,
}

/// Rows in a write's body: a JSON array of objects (a single object is wrapped by the parser),
/// handed to PostgreSQL as it came, with what the parser learned about it.
#[derive(Debug, Clone)]
pub struct RowsBody {
    /// The JSON array as text. Valid JSON, without NUL.
    pub json: Bytes,
    /// How many objects it has.
    pub rows: usize,
    /// The columns written, in the first object's order: the objects' common keys, or `columns=`.
    /// Every name exists in the collection and is not generated.
    pub columns: Vec<String>,
    /// Key values of each row, as far as the body gives every key column.
    pub keys: Vec<Option<RowKey>>,
    /// Canonical shard-key text of each row (as [`Collection::shard_key_text`] gives it), as far as
    /// the body gives every shard-key column: enough to place a row whose other key columns the
    /// database generates.
    pub shard_keys: Vec<Option<String>>,
}

/// What a write does.
#[derive(Debug, Clone)]
pub enum WriteAction {
    /// `POST /v1/products`
    Insert {
        /// What to insert.
        body: RowsBody,
        /// What happens to duplicates.
        resolution: Resolution,
        /// What happens to absent columns.
        missing: Missing,
    },
    /// `PUT /v1/products/42`: insert or replace exactly this row.
    Put {
        /// The row; the body's key values, where given, equal it.
        key: RowKey,
        /// One object.
        body: RowsBody,
    },
    /// `PATCH /v1/products/42`
    Patch {
        /// The row.
        key: RowKey,
        /// One object: the columns to change.
        body: RowsBody,
    },
    /// `DELETE /v1/products/42`
    Delete {
        /// The row.
        key: RowKey,
    },
    /// `PATCH /v1/products?filters`: only with filters that stay on one shard.
    PatchWhere {
        /// Which rows (at least one filter).
        query: ListQuery,
        /// One object: the columns to change.
        body: RowsBody,
    },
    /// `DELETE /v1/products?filters`: only with filters that stay on one shard.
    DeleteWhere {
        /// Which rows (at least one filter).
        query: ListQuery,
    },
}

/// A write with its conditions and what the client wants back.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The collection.
    pub collection: Arc<Collection>,
    /// What to do.
    pub action: WriteAction,
    /// Only if the row has this version. The version is that of [`WriteRequest::projection`].
    pub if_match: IfMatch,
    /// Only if the row does not exist.
    pub if_none_match: IfNoneMatch,
    /// What to answer.
    pub returning: ReturnPreference,
    /// Representation of the rows answered, and the one `If-Match` versions refer to.
    pub projection: Projection,
    /// Whether the number of rows is wanted.
    pub count: Count,
    /// `Accept: application/vnd.pgrst.object+json`: more or fewer than one row rolls back.
    pub cardinality: Cardinality,
    /// How long an acknowledgement before its shard has the row may wait for the shard (`Prefer: wait`). Means
    /// nothing to other collections than write-behind ones.
    pub wait: Duration,
    /// `Idempotency-Key`, where the collection is a write-behind one.
    pub idempotency: Option<Idempotency>,
}

/// A request that is to have one effect however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// What the client calls it.
    pub key: Arc<str>,
    /// The digest of everything that makes it this request: method, target, preferences, conditions, body.
    pub fingerprint: u64,
}

impl Idempotency {
    /// A key, and the request it stands for by its parts. Their order counts, and where one ends.
    #[must_use]
    pub fn new<'a>(key: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Xxh3Default::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { key: key.into(), fingerprint: hash.digest() }
    }
}

/// Bytes of an `Idempotency-Key`.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// How many rows an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// An array of any length.
    #[default]
    Many,
    /// Exactly one object.
    Singular,
}
