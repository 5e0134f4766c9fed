//! Dead letters: mutations that were acknowledged and cannot be applied, and those of the same keys that came after
//! them. They stay until an operator requeues or discards them.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_types::{
    collection::Collection,
    mutation::{Image, Mutation, Sequence},
    tenant::TenantId,
};
use tokio_postgres::{
    Error, Row,
    types::{ToSql, Type},
};

use super::{
    DeadReason, FlushError, Pending, applied, apply,
    tables::{self, from_bigint, to_bigint},
};
use crate::{StoreError, pool::Lease};

const KEEP: &str = "\
INSERT INTO tidegate.dead_letters AS d \
(journal, seq, collection, key, tenant, image, set_columns, sqlstate, message, state) \
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
ON CONFLICT (journal, seq) DO UPDATE SET collection = excluded.collection, key = excluded.key, \
tenant = excluded.tenant, image = excluded.image, set_columns = excluded.set_columns, sqlstate = excluded.sqlstate, \
message = excluded.message, state = excluded.state, at = excluded.at";

const LIST: &str = "\
SELECT seq, collection, key, tenant, image, set_columns, sqlstate, message, state, \
(extract(epoch FROM at) * 1000)::bigint FROM tidegate.dead_letters \
WHERE journal = $1 AND seq > $2 ORDER BY seq LIMIT $3";

const PARKED: &str = "\
SELECT collection, key, min(seq) FROM tidegate.dead_letters WHERE journal = $1 GROUP BY collection, key ORDER BY 3";

/// A letter and all others of its key.
const TAKE: &str = "\
DELETE FROM tidegate.dead_letters AS d USING tidegate.dead_letters AS one \
WHERE one.journal = $1 AND one.seq = $2 AND d.journal = one.journal AND d.collection = one.collection \
AND d.key = one.key \
RETURNING d.seq, d.collection, d.key, d.tenant, d.image, d.set_columns, d.sqlstate, d.message, d.state, \
(extract(epoch FROM d.at) * 1000)::bigint";

/// Why a mutation is among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterState {
    /// It cannot be applied.
    Dead(DeadReason),
    /// One of the same key before it cannot.
    Parked,
}

/// A mutation that is not on its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// The collection's name.
    pub collection: Arc<str>,
    /// The row's key as it stands in a path ([`Collection::parse_path_key`] reads it).
    pub key: String,
    /// Whose write it was.
    pub tenant: TenantId,
    /// What the row should have become.
    pub image: Image,
    /// Why it did not.
    pub state: LetterState,
    /// When it came here: milliseconds since 1970, by the shard's clock.
    pub at_ms: i64,
}

/// A key whose writes wait for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedKey {
    /// The collection's name.
    pub collection: Arc<str>,
    /// The key as it stands in a path.
    pub key: String,
    /// The first mutation of it that is not on the shard.
    pub since: Sequence,
}

/// Which dead letters to apply again: one, and all others of its key.
#[derive(Debug, Clone)]
pub struct Requeue {
    /// The journal.
    pub journal: u64,
    /// The epoch in which this process owns it.
    pub epoch: u64,
    /// Any letter of the key.
    pub sequence: Sequence,
    /// The collection that the letter's name means now.
    pub collection: Arc<Collection>,
}

pub(super) async fn keep_dead(
    lease: &Lease,
    journal: u64,
    pending: &Pending,
    reason: &DeadReason,
) -> Result<(), FlushError> {
    keep(lease, journal, pending, Some(reason)).await.map_err(tables::failed)
}

pub(super) async fn keep_parked(lease: &Lease, journal: u64, pending: &Pending) -> Result<(), FlushError> {
    keep(lease, journal, pending, None).await.map_err(tables::failed)
}

/// With a reason it is dead, without one parked.
async fn keep(lease: &Lease, journal: u64, pending: &Pending, reason: Option<&DeadReason>) -> Result<(), StoreError> {
    let Mutation { collection, tenant, key, image, .. } = &pending.mutation;
    let (journal, sequence, tenant) = (to_bigint(journal), to_bigint(pending.sequence.0), to_bigint(tenant.0));
    let (json, set): (Option<&str>, Vec<&str>) = match image {
        Image::Row { json, set } => (std::str::from_utf8(json).ok(), set.iter().map(|name| &**name).collect()),
        Image::Gone => (None, Vec::new()),
    };
    let (sqlstate, message) = reason.map(|reason| (&*reason.sqlstate, &*reason.message)).unzip();
    let (collection, key) = (&**collection, key.path_text());
    let state = if reason.is_some() { "dead" } else { "parked" };
    let params: [(&(dyn ToSql + Sync), Type); 10] = [
        (&journal, Type::INT8),
        (&sequence, Type::INT8),
        (&collection, Type::TEXT),
        (&key, Type::TEXT),
        (&tenant, Type::INT8),
        (&json, Type::TEXT),
        (&set, Type::TEXT_ARRAY),
        (&sqlstate, Type::TEXT),
        (&message, Type::TEXT),
        (&state, Type::TEXT),
    ];
    lease.run(lease.connection().client.query_typed(KEEP, &params)).await.map(drop)
}

/// Letters after one, in order.
pub(super) async fn list(
    lease: &Lease,
    journal: u64,
    after: Sequence,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    let (journal, after, limit) = (to_bigint(journal), to_bigint(after.0), i64::from(limit));
    let params: [(&(dyn ToSql + Sync), Type); 3] = [(&journal, Type::INT8), (&after, Type::INT8), (&limit, Type::INT8)];
    let rows = lease.run(lease.connection().client.query_typed(LIST, &params)).await.map_err(tables::wrong)?;
    letters(lease, &rows)
}

/// Every key that has dead letters, by its first one.
pub(super) async fn parked(lease: &Lease, journal: u64) -> Result<Vec<ParkedKey>, StoreError> {
    let journal = to_bigint(journal);
    let rows = lease.run(lease.connection().client.query_typed(PARKED, &[(&journal, Type::INT8)])).await;
    let key = |row: &Row| -> Result<ParkedKey, Error> {
        Ok(ParkedKey {
            collection: row.try_get::<_, &str>(0)?.into(),
            key: row.try_get(1)?,
            since: Sequence(from_bigint(row.try_get(2)?)),
        })
    };
    let keys: Result<_, Error> = rows.map_err(tables::wrong)?.iter().map(key).collect();
    keys.map_err(|_| tables::unexpected(lease.shard(), "a parked key"))
}

/// Removes a letter and all others of its key, and gives them in order.
pub(super) async fn take(lease: &Lease, journal: u64, sequence: Sequence) -> Result<Vec<DeadLetter>, StoreError> {
    let (journal, sequence) = (to_bigint(journal), to_bigint(sequence.0));
    let params: [(&(dyn ToSql + Sync), Type); 2] = [(&journal, Type::INT8), (&sequence, Type::INT8)];
    let rows = lease.run(lease.connection().client.query_typed(TAKE, &params)).await.map_err(tables::wrong)?;
    let mut taken = letters(lease, &rows)?;
    taken.sort_by_key(|letter| letter.sequence);
    Ok(taken)
}

/// In one transaction up to its COMMIT: takes the letters out, and applies what they come to.
pub(super) async fn requeue(lease: &Lease, order: &Requeue) -> Result<Pending, FlushError> {
    let shard = lease.shard();
    lease.run(lease.connection().client.batch_execute("BEGIN; SET CONSTRAINTS ALL DEFERRED")).await?;
    // Locks the note, as a flush does: whoever takes the journal over waits, or is seen.
    let found = applied::hold(lease, order.journal).await?;
    if found.is_none_or(|found| found.epoch > order.epoch) {
        return Err(FlushError::Fenced { shard: shard.clone(), found });
    }
    let taken = take(lease, order.journal, order.sequence).await?;
    let key = taken.first().and_then(|letter| order.collection.parse_path_key(&letter.key).ok());
    let (Some(last), Some(key)) = (taken.last(), key) else {
        return Err(FlushError::NoLetter { shard: shard.clone() });
    };
    if last.collection != order.collection.name {
        return Err(FlushError::NoLetter { shard: shard.clone() });
    }
    let mutation = Mutation {
        collection: last.collection.clone(),
        shard: shard.clone(),
        tenant: last.tenant,
        key,
        image: coalesced(&order.collection, &taken),
    };
    let pending = [Pending { sequence: last.sequence, collection: order.collection.clone(), mutation }];
    match apply::apply(lease, &pending).await?.pop() {
        Some(dead) => Err(FlushError::StillDead { shard: shard.clone(), reason: dead.reason }),
        None => {
            let [pending] = pending;
            Ok(pending)
        }
    }
}

/// What mutations of one key come to, one after the other: the last image, with every column that any of them set; with
/// all of them where the row was gone in between.
fn coalesced(collection: &Collection, letters: &[DeadLetter]) -> Image {
    let Some(DeadLetter { image: Image::Row { json, .. }, .. }) = letters.last() else { return Image::Gone };
    let was_gone = letters.iter().any(|letter| letter.image == Image::Gone);
    let set = if was_gone {
        let writable = collection.columns.iter().filter(|column| !column.generated);
        writable
            .filter(|column| collection.key_position(&column.name).is_none())
            .map(|c| c.name.as_str().into())
            .collect()
    } else {
        // Not through the collection's columns: one that is gone must be missed.
        let mut names: Vec<Box<str>> = Vec::new();
        for letter in letters {
            if let Image::Row { set, .. } = &letter.image {
                names.extend(set.iter().cloned());
            }
        }
        names.sort();
        names.dedup();
        names.into()
    };
    Image::Row { json: json.clone(), set }
}

fn letters(lease: &Lease, rows: &[Row]) -> Result<Vec<DeadLetter>, StoreError> {
    let letters: Result<_, Error> = rows.iter().map(letter).collect();
    letters.map_err(|_| tables::unexpected(lease.shard(), "a dead letter"))
}

fn letter(row: &Row) -> Result<DeadLetter, Error> {
    let image = match row.try_get::<_, Option<&str>>(4)? {
        Some(json) => {
            let set: Vec<&str> = row.try_get(5)?;
            Image::Row { json: Bytes::copy_from_slice(json.as_bytes()), set: set.into_iter().map(Box::from).collect() }
        }
        None => Image::Gone,
    };
    let state = match row.try_get(8)? {
        "dead" => LetterState::Dead(DeadReason {
            sqlstate: row.try_get::<_, Option<String>>(6)?.unwrap_or_default(),
            message: row.try_get::<_, Option<String>>(7)?.unwrap_or_default(),
        }),
        _ => LetterState::Parked,
    };
    Ok(DeadLetter {
        sequence: Sequence(from_bigint(row.try_get(0)?)),
        collection: row.try_get::<_, &str>(1)?.into(),
        key: row.try_get(2)?,
        tenant: TenantId(from_bigint(row.try_get(3)?)),
        image,
        state,
        at_ms: row.try_get(9)?,
    })
}
