//! The tables in the journal's database.

use super::{
    error::JournalError,
    session::{Channel, Database},
};
use crate::members::CREATE_TURN;

/// What must exist in the journal's database. Nothing is changed where it does.
pub const TABLES: &str = "\
CREATE SCHEMA IF NOT EXISTS tidegate;
CREATE TABLE IF NOT EXISTS tidegate.partitions (
  shard text PRIMARY KEY,
  journal bigint NOT NULL,
  owner text,
  address text,
  epoch bigint NOT NULL,
  beat bigint NOT NULL,
  lease_ms bigint NOT NULL,
  seq bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS tidegate.journal (
  journal bigint NOT NULL,
  seq bigint NOT NULL,
  epoch bigint NOT NULL,
  part bigint NOT NULL,
  idempotency uuid,
  payload bytea NOT NULL,
  PRIMARY KEY (journal, seq)
);
CREATE TABLE IF NOT EXISTS tidegate.journal_secret (
  one boolean PRIMARY KEY CHECK (one),
  secret bytea NOT NULL
);";

/// What the gateways' role must be allowed there.
pub const GRANTS: &str = "\
GRANT USAGE ON SCHEMA tidegate TO ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON tidegate.partitions, tidegate.journal, tidegate.journal_secret TO ROLE;";

/// Looked at first: who may not create needs nothing but the tables.
const EXIST: &str = "SELECT pg_catalog.to_regclass('tidegate.partitions') IS NOT NULL \
AND pg_catalog.to_regclass('tidegate.journal') IS NOT NULL \
AND pg_catalog.to_regclass('tidegate.journal_secret') IS NOT NULL";

/// Does what a gateway does with them, and undoes it.
const TRY: &str = "BEGIN; \
INSERT INTO tidegate.partitions (shard, journal, owner, address, epoch, beat, lease_ms, seq) \
VALUES ('tidegate check', -1, '', '', 0, 0, 0, 0) ON CONFLICT (shard) DO NOTHING; \
UPDATE tidegate.partitions SET beat = beat + 1, seq = seq WHERE shard = 'tidegate check'; \
SELECT shard FROM tidegate.partitions WHERE shard = 'tidegate check'; \
INSERT INTO tidegate.journal (journal, seq, epoch, part, idempotency, payload) VALUES (-1, 0, 0, 0, NULL, '') \
ON CONFLICT (journal, seq) DO NOTHING; \
SELECT payload FROM tidegate.journal WHERE journal = -1; DELETE FROM tidegate.journal WHERE journal = -1; \
INSERT INTO tidegate.journal_secret (one, secret) VALUES (true, '') ON CONFLICT (one) DO NOTHING; \
SELECT secret FROM tidegate.journal_secret; ROLLBACK";

/// Creates them where there are none.
pub(super) async fn ensure(channel: &Channel, database: &Database) -> Result<(), JournalError> {
    let found = channel.query(database, EXIST, &[]).await?;
    if found.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(());
    }
    channel.script(database, &format!("BEGIN; {CREATE_TURN}; {TABLES} COMMIT")).await?;
    tracing::info!(database = %database.name, "created the tables of the journal");
    Ok(())
}

/// Creates them where there are none, and tries them.
pub(super) async fn check(channel: &Channel, database: &Database) -> Result<(), JournalError> {
    ensure(channel, database).await?;
    channel.script(database, TRY).await
}

/// What is wrong with the tables, if a statement failed for them.
pub(super) fn reason(code: &str) -> Option<String> {
    match code {
        "42501" => Some(format!(
            "the role may not use or create the journal's tables. Somebody who may runs, with its name for \
             ROLE:\n{TABLES}\n{GRANTS}"
        )),
        "42P01" | "3F000" => Some("there are no tables of the journal".to_owned()),
        "42703" | "42804" | "42P10" => Some("the journal's tables are of another version of the gateway".to_owned()),
        _ => None,
    }
}
