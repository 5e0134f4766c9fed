//! Who owns which partition: statements on one row each, all of which compare epoch and beat under the row's lock.

use std::{sync::Arc, time::Duration};

use tidegate_types::mutation::Sequence;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    Partition, Taken,
    error::JournalError,
    session::{Channel, Database, Reads},
    tables,
};
use crate::flush::{from_bigint, to_bigint};

/// In the order of their names, so that two who start together do not wait for each other.
const MAKE: &str = "\
INSERT INTO tidegate.partitions (shard, journal, epoch, beat, lease_ms, seq) \
SELECT shard, journal, 0, 0, 0, 0 FROM unnest($1::text[], $2::bigint[]) AS new (shard, journal) ORDER BY shard \
ON CONFLICT (shard) DO NOTHING";

const ALL: &str = "\
SELECT p.shard, p.journal, p.owner, p.address, p.epoch, p.beat, p.lease_ms \
FROM unnest($1::text[]) WITH ORDINALITY AS asked (shard, place) JOIN tidegate.partitions AS p USING (shard) \
ORDER BY asked.place";

const TAKE: &str = "\
UPDATE tidegate.partitions SET owner = $4, address = $5, lease_ms = $6, epoch = epoch + 1, beat = 0 \
WHERE shard = $1 AND epoch = $2 AND beat = $3 RETURNING journal, epoch";

const RENEW: &str = "\
UPDATE tidegate.partitions AS p SET beat = p.beat + 1 \
FROM unnest($1::text[], $2::bigint[]) AS held (shard, epoch) \
WHERE p.shard = held.shard AND p.epoch = held.epoch AND p.owner = $3 RETURNING p.shard";

const RESIGN: &str = "\
UPDATE tidegate.partitions AS p SET owner = NULL, address = NULL \
FROM unnest($1::text[], $2::bigint[]) AS held (shard, epoch) \
WHERE p.shard = held.shard AND p.epoch = held.epoch AND p.owner = $3";

const LAST: &str = "SELECT seq FROM tidegate.partitions WHERE shard = $1";

/// More than 256 random bits, in 32 bytes.
const DRAW: &str = "\
INSERT INTO tidegate.journal_secret (one, secret) \
SELECT true, pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid()) \
|| pg_catalog.uuid_send(pg_catalog.gen_random_uuid()) || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())) \
ON CONFLICT (one) DO NOTHING";

const SECRET: &str = "SELECT secret FROM tidegate.journal_secret";

pub(super) async fn all(
    channel: &Channel,
    database: &Database,
    shards: &[Arc<str>],
) -> Result<Vec<Partition>, JournalError> {
    let names: Vec<&str> = shards.iter().map(|shard| &**shard).collect();
    let found = read(channel, database, &names).await;
    match found {
        Ok(found) if found.len() == names.len() => return Ok(found),
        // No tables yet: whatever else is wrong says so again.
        Ok(_) | Err(JournalError::Unfit { .. }) => {}
        Err(other) => return Err(other),
    }
    tables::ensure(channel, database).await?;
    // 62 random bits: no two partitions of any database meet in a shard's note.
    let numbers: Vec<i64> = names.iter().map(|_| to_bigint(Uuid::new_v4().as_u64_pair().1)).collect();
    channel.query(database, MAKE, &[(&names, Type::TEXT_ARRAY), (&numbers, Type::INT8_ARRAY)]).await?;
    let found = read(channel, database, &names).await?;
    if found.len() == names.len() { Ok(found) } else { Err(unexpected(database, "a partition is missing")) }
}

async fn read(channel: &Channel, database: &Database, names: &[&str]) -> Result<Vec<Partition>, JournalError> {
    let rows = channel.query(database, ALL, &[(&names, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| partition(row).map_err(|_| unexpected(database, "a partition"))).collect()
}

fn partition(row: &Row) -> Result<Partition, tokio_postgres::Error> {
    let lease_ms: i64 = row.try_get(6)?;
    Ok(Partition {
        shard: row.try_get::<_, &str>(0)?.into(),
        journal: from_bigint(row.try_get(1)?),
        owner: row.try_get::<_, Option<&str>>(2)?.map(Arc::from),
        address: row.try_get::<_, Option<&str>>(3)?.map(Arc::from),
        epoch: from_bigint(row.try_get(4)?),
        beat: from_bigint(row.try_get(5)?),
        lease: Duration::from_millis(u64::try_from(lease_ms).unwrap_or(0)),
    })
}

pub(super) async fn take(
    channel: &Channel,
    database: &Database,
    seen: &Partition,
    owner: &str,
    address: &str,
    lease: Duration,
) -> Result<Option<Taken>, JournalError> {
    let (epoch, beat) = (to_bigint(seen.epoch), to_bigint(seen.beat));
    let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
    let rows = channel
        .query(
            database,
            TAKE,
            &[
                (&&*seen.shard, Type::TEXT),
                (&epoch, Type::INT8),
                (&beat, Type::INT8),
                (&owner, Type::TEXT),
                (&address, Type::TEXT),
                (&lease_ms, Type::INT8),
            ],
        )
        .await?;
    let taken = |row: &Row| {
        let numbers = row.try_get(0).and_then(|journal| Ok((journal, row.try_get(1)?)));
        let (journal, epoch) = numbers.map_err(|_| unexpected(database, "a partition"))?;
        Ok(Taken { shard: seen.shard.clone(), journal: from_bigint(journal), epoch: from_bigint(epoch) })
    };
    rows.first().map(taken).transpose()
}

pub(super) async fn renew(
    channel: &Channel,
    database: &Database,
    held: &[(Arc<str>, u64)],
    owner: &str,
) -> Result<Vec<Arc<str>>, JournalError> {
    let (shards, epochs) = columns(held);
    let params = [(&shards as _, Type::TEXT_ARRAY), (&epochs as _, Type::INT8_ARRAY), (&owner as _, Type::TEXT)];
    let rows = channel.query(database, RENEW, &params).await?;
    let shard = |row: &Row| row.try_get::<_, &str>(0).map(Arc::from).map_err(|_| unexpected(database, "a shard"));
    rows.iter().map(shard).collect()
}

pub(super) async fn resign(
    channel: &Channel,
    database: &Database,
    held: &[(Arc<str>, u64)],
    owner: &str,
) -> Result<(), JournalError> {
    let (shards, epochs) = columns(held);
    let params = [(&shards as _, Type::TEXT_ARRAY), (&epochs as _, Type::INT8_ARRAY), (&owner as _, Type::TEXT)];
    channel.query(database, RESIGN, &params).await.map(drop)
}

fn columns(held: &[(Arc<str>, u64)]) -> (Vec<&str>, Vec<i64>) {
    held.iter().map(|(shard, epoch)| (&**shard, to_bigint(*epoch))).unzip()
}

pub(super) async fn last(reads: &Reads, database: &Database, shard: &str) -> Result<Sequence, JournalError> {
    let rows = reads.query(database, LAST, &[(&shard, Type::TEXT)]).await?;
    let row = rows.first().ok_or_else(|| unexpected(database, "there is no such partition"))?;
    row.try_get(0).map(|seq| Sequence(from_bigint(seq))).map_err(|_| unexpected(database, "a sequence"))
}

pub(super) async fn secret(channel: &Channel, database: &Database) -> Result<[u8; 32], JournalError> {
    // In this order also where there is one: of two who draw, the second one reads the first one's.
    channel.query(database, DRAW, &[]).await?;
    let rows = channel.query(database, SECRET, &[]).await?;
    let secret = rows.first().and_then(|row| row.try_get::<_, &[u8]>(0).ok()?.try_into().ok());
    secret.ok_or_else(|| unexpected(database, "a secret of 32 bytes"))
}

/// An answer that the tables should not have given.
pub(super) fn unexpected(database: &Database, what: &str) -> JournalError {
    JournalError::unfit(&database.name, &format!("it gave an unexpected answer: {what}"))
}
