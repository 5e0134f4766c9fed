//! What a record of the write-behind journal means: a row as it is after a write that was acknowledged before its
//! shard had it (ADR 0015).
//!
//! The bytes of a record begin with the version of their form. A version that was released is read for ever: what lies
//! in a journal was acknowledged.

mod encoding;

use std::sync::Arc;

use bytes::Bytes;

use crate::{answer::RowChange, key::RowKey, request::Idempotency, tenant::TenantId};

pub use encoding::DecodeError;

/// A place in the order of everything that one journal acknowledged. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

/// A row after a write that was acknowledged and is not on its shard yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The collection's name: numbers of collections are a process's own.
    pub collection: Arc<str>,
    /// The shard's name, for the same reason.
    pub shard: Arc<str>,
    /// Whose write it was.
    pub tenant: TenantId,
    /// The row.
    pub key: RowKey,
    /// What it is now.
    pub image: Image,
}

/// What a row is after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// This row.
    Row {
        /// A JSON object of every column, in table order, as PostgreSQL renders it.
        json: Bytes,
        /// Names of the columns that writes set since the shard last had the row, in table order. The others are
        /// written only where the shard turns out to have no such row.
        set: Arc<[Box<str>]>,
    },
    /// No row.
    Gone,
}

impl Image {
    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Row { json, set } => {
                json.len() + set.iter().map(|name| name.len() + size_of::<Box<str>>()).sum::<usize>()
            }
            Self::Gone => 0,
        }
    }
}

/// A record of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The row.
    pub mutation: Mutation,
    /// What became of it as far as its client was told.
    pub change: RowChange,
    /// The key under which the request may be repeated.
    pub idempotency: Option<Idempotency>,
}
