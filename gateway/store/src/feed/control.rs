//! What is asked and ordered beside the stream, over an ordinary connection: the publication, the slot, the
//! heartbeat, the catalog's fingerprint.

use std::sync::Arc;

use tidegate_types::snapshot::Xid;
use tokio_postgres::{Row, types::Type};

use super::{
    collect::{PREFIX, unquoted},
    decode::Lsn,
    event::{Beat, FeedTables},
};
use crate::{
    connection::{Connection, statement_error},
    error::StoreError,
};

/// The first version whose `pgoutput` hands on logical messages.
const OLDEST_VERSION: i32 = 140_000;
/// The first version that flushes a logical message when told to. Earlier ones leave that to the log's writer,
/// which comes by every `wal_writer_delay`.
const FLUSHES: i32 = 170_000;

const SERVER: &str = "\
SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), \
(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())";

const PUBLICATION: &str = "\
SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot FROM pg_catalog.pg_publication \
WHERE pubname = $1";

const PUBLISHED: &str = "\
SELECT t.schemaname::text, t.tablename::text, coalesce((SELECT (to_jsonb(r) ->> 'prqual') IS NOT NULL OR \
(to_jsonb(r) ->> 'prattrs') IS NOT NULL FROM pg_catalog.pg_publication_rel r \
JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid AND p.pubname = t.pubname \
WHERE r.prrelid = format('%I.%I', t.schemaname, t.tablename)::regclass), false) \
FROM pg_catalog.pg_publication_tables t WHERE t.pubname = $1";

/// Tables of which updates would fail once they are published: some part of them has no replica identity.
pub(super) const UNIDENTIFIED: &str = "\
WITH RECURSIVE tree(root, oid) AS (SELECT r, to_regclass(r)::oid FROM unnest($1::text[]) r \
UNION SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid) \
SELECT DISTINCT t.root FROM tree t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.oid \
WHERE c.oid IS NULL OR (c.relkind = 'r' AND (c.relreplident = 'n' OR (c.relreplident IN ('d', 'i') AND NOT EXISTS \
(SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND CASE WHEN c.relreplident = 'd' THEN x.indisprimary \
ELSE x.indisreplident END))))";

const SLOT: &str = "\
SELECT active, coalesce(wal_status, 'lost') = 'lost', confirmed_flush_lsn::text, \
coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8 \
FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";

/// In one statement, so that a slot somebody has just made anew is not dropped.
const DROP_SLOT: &str = "\
SELECT pg_drop_replication_slot(slot_name)::text FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 \
AND NOT active AND (coalesce(wal_status, 'lost') = 'lost' \
OR pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > $2)";

/// What answers depend on besides rows: columns, keys, rights, row-level security, triggers, what is published.
const FINGERPRINT: &str = "\
WITH RECURSIVE tree(oid) AS (SELECT to_regclass(r)::oid FROM unnest($1::text[]) r \
UNION SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid), facts(fact) AS (\
SELECT jsonb_build_array('c', c.oid, n.nspname, c.relname, c.relkind, c.relreplident, c.relrowsecurity, \
c.relforcerowsecurity, c.relowner, c.relacl::text) FROM tree JOIN pg_catalog.pg_class c USING (oid) \
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
UNION ALL SELECT jsonb_build_array('a', attrelid, attnum, attname, atttypid, atttypmod, attnotnull, attgenerated, \
attidentity, attisdropped, attcollation, attacl::text) FROM tree JOIN pg_catalog.pg_attribute ON attrelid = oid \
WHERE attnum > 0 \
UNION ALL SELECT jsonb_build_array('d', d.adrelid, d.adnum, d.adbin::text) \
FROM tree t JOIN pg_catalog.pg_attrdef d ON d.adrelid = t.oid \
UNION ALL SELECT jsonb_build_array('e', e.enumtypid, e.enumsortorder, e.enumlabel) FROM pg_catalog.pg_enum e \
WHERE e.enumtypid IN (SELECT atttypid FROM tree JOIN pg_catalog.pg_attribute ON attrelid = oid) \
UNION ALL SELECT jsonb_build_array('p', to_jsonb(p)) FROM tree t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid \
UNION ALL SELECT jsonb_build_array('t', g.tgrelid, g.tgname, g.tgfoid, g.tgtype, g.tgenabled) \
FROM tree t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal \
UNION ALL SELECT jsonb_build_array('r', w.ev_class, w.rulename, w.ev_enabled) \
FROM tree t JOIN pg_catalog.pg_rewrite w ON w.ev_class = t.oid \
UNION ALL SELECT jsonb_build_array('i', i.indexrelid, i.indkey::text, i.indisprimary, i.indisreplident) \
FROM tree t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid AND i.indisunique \
UNION ALL SELECT jsonb_build_array('f', k.oid, k.conkey, k.confrelid, k.confupdtype, k.confdeltype) \
FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' \
AND (k.conrelid IN (SELECT oid FROM tree) OR k.confrelid IN (SELECT oid FROM tree)) \
UNION ALL SELECT jsonb_build_array('b', p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, t.tablename) \
FROM pg_catalog.pg_publication p LEFT JOIN pg_catalog.pg_publication_tables t USING (pubname) WHERE pubname = $2) \
SELECT md5(coalesce(string_agg(fact::text, ' ' ORDER BY fact::text), '')) FROM facts";

/// The notice of whoever alters a table. Tables that are not served, temporary ones too, raise it in vain: the
/// fingerprint decides.
const TRIGGER: &str = "\
CREATE SCHEMA IF NOT EXISTS tidegate; \
CREATE OR REPLACE FUNCTION tidegate.announce_ddl() RETURNS event_trigger LANGUAGE plpgsql AS \
$f$ BEGIN PERFORM pg_catalog.pg_logical_emit_message(true, 'tidegate', 'ddl'); END $f$; \
CREATE EVENT TRIGGER tidegate_ddl ON ddl_command_end EXECUTE FUNCTION tidegate.announce_ddl()";

/// What a slot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotState {
    pub(crate) active: bool,
    /// PostgreSQL has removed log that it needs.
    pub(crate) lost: bool,
    /// Everything before was confirmed by a reader, or lies before the slot's beginning.
    pub(crate) confirmed: Lsn,
    /// Bytes of log kept for it.
    pub(crate) retained: u64,
}

/// What publishing has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Tables that were added now.
    pub(crate) added: usize,
    /// Tables that cannot be followed.
    pub(crate) unfollowed: Vec<String>,
}

/// The connection, and what it found out about its server.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) connection: Connection,
    shard: Arc<str>,
    version: i32,
    publication: String,
    /// Of this database: slots are the whole server's.
    pub(crate) slot: String,
}

impl Control {
    /// Takes a connection; `slot` is the beginning of the slot's name.
    pub(crate) async fn new(
        connection: Connection,
        shard: &Arc<str>,
        slot: &str,
        publication: &str,
    ) -> Result<Self, StoreError> {
        let setup = |reason: String| StoreError::Setup { shard: shard.clone(), reason: reason.into() };
        let rows = connection.client.query_typed(SERVER, &[]).await.map_err(|e| statement_error(shard, &e))?;
        let row = rows.first().ok_or_else(|| setup("the server says nothing about itself".into()))?;
        let (version, level, database): (i32, String, u32) =
            (cell(shard, row, 0)?, cell(shard, row, 1)?, cell(shard, row, 2)?);
        if version < OLDEST_VERSION {
            return Err(setup("the change feed needs PostgreSQL 14 or newer".into()));
        }
        if level != "logical" {
            let reason = format!(
                "the change feed needs `wal_level = logical`, and it is `{level}`. \
                 ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL"
            );
            return Err(setup(reason));
        }
        Ok(Self {
            connection,
            shard: shard.clone(),
            version,
            publication: publication.to_owned(),
            slot: format!("{slot}_{database}"),
        })
    }

    /// Publishes these tables as far as it can, beside what is published already.
    pub(crate) async fn publish(&self, tables: &FeedTables) -> Result<Published, StoreError> {
        let name = quoted(&self.publication);
        let mut changed = false;
        let rows = self.rows(PUBLICATION, &[(&self.publication, Type::TEXT)]).await?;
        match rows.first() {
            None => {
                let sql = format!("CREATE PUBLICATION {name} WITH (publish_via_partition_root = true)");
                changed = true;
                self.order(&sql).await?;
            }
            Some(row) if self.cell::<bool>(row, 0)? && self.cell::<bool>(row, 1)? => {}
            Some(_) => {
                return Err(self.setup(format!(
                    "publication {name} does not publish everything: ALTER PUBLICATION {name} SET \
                     (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
                )));
            }
        }
        let mut published = Vec::new();
        for row in self.rows(PUBLISHED, &[(&self.publication, Type::TEXT)]).await? {
            let table: (String, String) = (self.cell(&row, 0)?, self.cell(&row, 1)?);
            if self.cell(&row, 2)? {
                let reason = format!("publication {name} leaves out rows or columns of {}.{}", table.0, table.1);
                return Err(self.setup(reason));
            }
            published.push(table);
        }
        let is_published = |relation: &str| unquoted(relation).is_some_and(|table| published.contains(&table));
        let missing: Vec<String> =
            tables.iter().map(|table| table.relation.clone()).filter(|relation| !is_published(relation)).collect();
        let rows = self.rows(UNIDENTIFIED, &[(&missing, Type::TEXT_ARRAY)]).await?;
        let unfollowed = rows.iter().map(|row| self.cell(row, 0)).collect::<Result<Vec<String>, _>>()?;
        let missing: Vec<String> = missing.into_iter().filter(|relation| !unfollowed.contains(relation)).collect();
        if !missing.is_empty() {
            self.order(&format!("ALTER PUBLICATION {name} ADD TABLE {}", missing.join(", "))).await?;
            changed = true;
        }
        Ok(Published { added: if changed { missing.len().max(1) } else { 0 }, unfollowed })
    }

    /// Makes the event trigger that tells of altered tables, where there is none and the role may.
    pub(crate) async fn announce_schema(&self) -> Result<Announcing, StoreError> {
        let present = "SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = 'tidegate_ddl' AND evtenabled <> 'D'";
        if !self.rows(present, &[]).await?.is_empty() {
            return Ok(Announcing::Trigger);
        }
        match self.order(TRIGGER).await {
            Ok(()) => Ok(Announcing::Trigger),
            Err(StoreError::Database { report, .. }) if report.code == "42501" => Ok(Announcing::Nobody),
            // Another gateway was quicker.
            Err(StoreError::Database { report, .. }) if matches!(report.code.as_str(), "42710" | "23505" | "XX000") => {
                Ok(Announcing::Trigger)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn slot(&self) -> Result<Option<SlotState>, StoreError> {
        let rows = self.rows(SLOT, &[(&self.slot, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let confirmed: Option<String> = self.cell(row, 2)?;
        Ok(Some(SlotState {
            active: self.cell(row, 0)?,
            lost: self.cell(row, 1)?,
            confirmed: confirmed.and_then(|text| Lsn::parse(&text)).unwrap_or_default(),
            retained: u64::try_from(self.cell::<i64>(row, 3)?).unwrap_or(0),
        }))
    }

    /// Drops the slot if nobody reads it and it keeps more than `budget` bytes of log, or is lost.
    pub(crate) async fn drop_slot(&self, budget: u64) -> Result<Dropped, StoreError> {
        let budget = i64::try_from(budget).unwrap_or(i64::MAX);
        let sql = DROP_SLOT.replace("$2", &budget.to_string());
        let rows = self.rows(&sql, &[(&self.slot, Type::TEXT)]).await?;
        Ok(if rows.is_empty() { Dropped::Nothing } else { Dropped::Slot })
    }

    /// An own transaction id: whatever has committed has a lower one, or will be told.
    pub(crate) async fn base(&self) -> Result<Xid, StoreError> {
        self.number("SELECT pg_current_xact_id()::text").await.map(Xid)
    }

    /// Sends a heartbeat; gives an id that is near those of this moment.
    pub(crate) async fn beat(&self, beat: Beat) -> Result<Xid, StoreError> {
        let flush = if self.version >= FLUSHES { ", true" } else { "" };
        let sql = format!(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text, \
             pg_logical_emit_message(false, '{PREFIX}', '{}'{flush})::text",
            beat.text()
        );
        self.number(&sql).await.map(Xid)
    }

    /// A digest of what answers depend on besides rows.
    pub(crate) async fn fingerprint(&self, tables: &FeedTables) -> Result<String, StoreError> {
        let relations: Vec<&str> = tables.iter().map(|table| table.relation.as_str()).collect();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&relations, Type::TEXT_ARRAY), (&self.publication, Type::TEXT)];
        let rows = self.rows(FINGERPRINT, &parameters).await?;
        rows.first().map_or_else(|| Err(self.odd("a fingerprint")), |row| self.cell(row, 0))
    }

    async fn number(&self, sql: &str) -> Result<u64, StoreError> {
        let rows = self.rows(sql, &[]).await?;
        let text: Option<String> = rows.first().map(|row| self.cell(row, 0)).transpose()?;
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.odd("a transaction id"))
    }

    async fn rows(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StoreError> {
        self.connection.client.query_typed(sql, parameters).await.map_err(|e| statement_error(&self.shard, &e))
    }

    async fn order(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.client.batch_execute(sql).await.map_err(|e| statement_error(&self.shard, &e))
    }

    fn cell<'a, T: tokio_postgres::types::FromSql<'a>>(&self, row: &'a Row, at: usize) -> Result<T, StoreError> {
        cell(&self.shard, row, at)
    }

    fn setup(&self, reason: String) -> StoreError {
        StoreError::Setup { shard: self.shard.clone(), reason: reason.into() }
    }

    fn odd(&self, what: &str) -> StoreError {
        StoreError::Protocol { shard: self.shard.clone(), reason: format!("{what} was expected").into() }
    }
}

/// Who tells that tables were altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announcing {
    Trigger,
    /// It is found out by asking now and then.
    Nobody,
}

/// What dropping has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    Slot,
    Nothing,
}

pub(super) fn cell<'a, T: tokio_postgres::types::FromSql<'a>>(
    shard: &Arc<str>,
    row: &'a Row,
    at: usize,
) -> Result<T, StoreError> {
    row.try_get(at).map_err(|e| statement_error(shard, &e))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
