//! The tables of write-behind, on every primary.

use std::sync::Arc;

use super::FlushError;
use crate::{StoreError, members::CREATE_TURN, pool::Lease};

/// What must exist on every primary. Nothing is changed where it does.
pub const TABLES: &str = "\
CREATE SCHEMA IF NOT EXISTS tidegate;
CREATE TABLE IF NOT EXISTS tidegate.applied (
  journal bigint PRIMARY KEY,
  seq bigint NOT NULL,
  epoch bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS tidegate.dead_letters (
  journal bigint NOT NULL,
  seq bigint NOT NULL,
  collection text NOT NULL,
  key text NOT NULL,
  tenant bigint NOT NULL,
  image text,
  set_columns text[] NOT NULL,
  sqlstate text,
  message text,
  state text NOT NULL CHECK (state IN ('dead', 'parked')),
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (journal, seq)
);";

/// What the gateway's role must be allowed, besides writing to the served tables.
pub const GRANTS: &str = "\
GRANT USAGE ON SCHEMA tidegate TO ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON tidegate.applied, tidegate.dead_letters TO ROLE;";

/// Looked at first: who may not create needs nothing but the tables.
const EXIST: &str = "SELECT pg_catalog.to_regclass('tidegate.applied') IS NOT NULL \
AND pg_catalog.to_regclass('tidegate.dead_letters') IS NOT NULL";

/// Does what a gateway does with them, and undoes it.
const TRY: &str = "BEGIN; \
INSERT INTO tidegate.applied (journal, seq, epoch) VALUES (-1, 0, 0) ON CONFLICT (journal) DO NOTHING; \
UPDATE tidegate.applied SET seq = seq WHERE journal = -1; SELECT seq FROM tidegate.applied WHERE journal = -1; \
INSERT INTO tidegate.dead_letters (journal, seq, collection, key, tenant, set_columns, state) \
VALUES (-1, 0, '', '', 0, '{}', 'parked') ON CONFLICT (journal, seq) DO UPDATE SET state = excluded.state; \
SELECT image, sqlstate, message, at FROM tidegate.dead_letters WHERE journal = -1; \
DELETE FROM tidegate.dead_letters WHERE journal = -1; ROLLBACK";

/// Creates the tables where there are none.
pub(super) async fn ensure(lease: &Lease) -> Result<(), StoreError> {
    let client = &lease.connection().client;
    let found = lease.run(client.query_one(EXIST, &[])).await?;
    if found.try_get(0).unwrap_or(false) {
        return Ok(());
    }
    let create = format!("BEGIN; {CREATE_TURN}; {TABLES} COMMIT");
    lease.run(client.batch_execute(&create)).await.map_err(wrong)?;
    tracing::info!(shard = %lease.shard(), "created the tables tidegate.applied and tidegate.dead_letters");
    Ok(())
}

/// Creates them where there are none, and tries them.
pub(super) async fn check(lease: &Lease) -> Result<(), StoreError> {
    ensure(lease).await?;
    lease.run(lease.connection().client.batch_execute(TRY)).await.map_err(wrong)
}

/// What is wrong with the tables, or the shard.
pub(crate) fn wrong(error: StoreError) -> StoreError {
    let StoreError::Database { shard, report } = &error else { return error };
    let reason = match report.code.as_str() {
        "42501" => format!(
            "the role may not use or create the tables of write-behind. Somebody who may runs, with its name for \
             ROLE:\n{TABLES}\n{GRANTS}"
        ),
        "42P01" | "3F000" => "there are no tables of write-behind yet".to_owned(),
        "42703" | "42804" | "42P10" => "the tables tidegate.applied and tidegate.dead_letters are of another version \
             of the gateway"
            .to_owned(),
        _ => return error,
    };
    StoreError::Journal { shard: shard.clone(), reason: reason.into() }
}

/// The same, as a flush tells it.
pub(super) fn failed(error: StoreError) -> FlushError {
    wrong(error).into()
}

/// An answer that the tables should not have given.
pub(super) fn unexpected(shard: &Arc<str>, what: &str) -> StoreError {
    StoreError::Protocol { shard: shard.clone(), reason: what.into() }
}

/// A number of ours as a `bigint` holds it: the same bits.
pub(crate) const fn to_bigint(number: u64) -> i64 {
    number.cast_signed()
}

/// And back.
pub(crate) const fn from_bigint(number: i64) -> u64 {
    number.cast_unsigned()
}
