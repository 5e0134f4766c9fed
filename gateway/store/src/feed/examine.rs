//! What the feed needs of a server, asked without changing anything.

use std::{sync::Arc, time::Duration};

use tidegate_types::settings::FeedSettings;
use tokio_postgres::{Row, types::Type};

use super::{
    control::{UNIDENTIFIED, cell},
    event::FeedTables,
};
use crate::{
    connection::{Connection, statement_error},
    error::StoreError,
    pool::{Access, session_config},
    shard::Shard,
};

/// Time for one question.
const STATEMENT: Duration = Duration::from_secs(5);

const SERVER: &str = "\
SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), \
(SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), current_user::text, \
current_setting('max_replication_slots')::int8 - (SELECT count(*) FROM pg_catalog.pg_replication_slots), \
current_setting('max_wal_senders')::int8 - (SELECT count(*) FROM pg_catalog.pg_stat_replication), \
current_setting('max_slot_wal_keep_size'), \
EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 || '_' || \
(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())), \
(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), \
EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = 'tidegate_ddl' AND evtenabled <> 'D'), \
EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = $2), \
has_database_privilege(current_database(), 'CREATE')";

/// Of each table: whether it is published, whether the role may publish it, its replica identity.
const TABLES: &str = "\
SELECT r, EXISTS (SELECT FROM pg_catalog.pg_publication_tables t WHERE t.pubname = $2 \
AND format('%I.%I', t.schemaname, t.tablename) = r), \
coalesce(pg_has_role(c.relowner, 'USAGE'), false), coalesce(c.relreplident::text, '') \
FROM unnest($1::text[]) r LEFT JOIN pg_catalog.pg_class c ON c.oid = to_regclass(r)";

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Not wrong, and worth knowing.
    Note,
    /// The feed will not work, or not for all tables.
    Problem,
}

/// Something that was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is to be taken.
    pub severity: Severity,
    /// The sentence.
    pub text: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, text: impl Into<String>) {
        self.0.push(Finding { severity, text: text.into() });
    }

    fn require(&mut self, holds: bool, fine: impl Into<String>, problem: impl Into<String>) {
        if holds { self.add(Severity::Fine, fine) } else { self.add(Severity::Problem, problem) }
    }
}

/// Looks at a shard.
pub(crate) async fn examine(
    shard: &Shard,
    settings: &FeedSettings,
    tables: &FeedTables,
) -> Result<Vec<Finding>, StoreError> {
    let link = &shard.link;
    let config = session_config(shard.config.clone(), "check", Access::Read, STATEMENT);
    let (connection, _) = Connection::open(&config, STATEMENT, &link.name, &link.identity).await?;
    let client = &connection.client;
    let failed = |error| statement_error(&link.name, &error);
    let names: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&settings.slot, Type::TEXT), (&settings.publication, Type::TEXT)];
    let rows = client.query_typed(SERVER, &names).await.map_err(failed)?;
    let mut findings = Findings::default();
    let mut may_create = false;
    if let Some(row) = rows.first() {
        may_create = server(&mut findings, settings, &link.name, row)?;
    }
    let relations: Vec<&str> = tables.iter().map(|table| table.relation.as_str()).collect();
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&relations, Type::TEXT_ARRAY), (&settings.publication, Type::TEXT)];
    let published = client.query_typed(TABLES, &parameters).await.map_err(failed)?;
    let unidentified = client.query_typed(UNIDENTIFIED, &parameters[..1]).await.map_err(failed)?;
    let unidentified = unidentified.iter().map(|row| cell(&link.name, row, 0)).collect::<Result<Vec<String>, _>>()?;
    of_tables(&mut findings, settings, &link.name, &published, &unidentified, may_create)?;
    watched(&mut findings, &link.name, &published, tables)?;
    Ok(findings.0)
}

/// Tells whether the publication is there or may be made.
fn server(findings: &mut Findings, settings: &FeedSettings, shard: &Arc<str>, row: &Row) -> Result<bool, StoreError> {
    let version: i32 = cell(shard, row, 0)?;
    let (level, may_replicate, role): (String, bool, String) =
        (cell(shard, row, 1)?, cell(shard, row, 2)?, cell(shard, row, 3)?);
    let (slots, senders, keep): (i64, i64, String) = (cell(shard, row, 4)?, cell(shard, row, 5)?, cell(shard, row, 6)?);
    let (has_slot, superuser, has_trigger): (bool, bool, bool) =
        (cell(shard, row, 7)?, cell(shard, row, 8)?, cell(shard, row, 9)?);
    let (has_publication, may_create): (bool, bool) = (cell(shard, row, 10)?, cell(shard, row, 11)?);
    findings.require(version >= 140_000, "PostgreSQL 14 or newer", "the change feed needs PostgreSQL 14 or newer");
    findings.require(
        level == "logical",
        "wal_level is logical",
        format!("wal_level is {level}: ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL"),
    );
    findings.require(
        may_replicate,
        format!("{role} may replicate"),
        format!("{role} may not replicate: ALTER ROLE {role} REPLICATION"),
    );
    findings.require(
        has_slot || slots > 0,
        if has_slot { "the slot is there".to_owned() } else { format!("{slots} replication slot(s) are free") },
        "no replication slot is free: raise max_replication_slots, or drop one that nobody reads",
    );
    findings.require(
        senders > 0,
        format!("{senders} WAL sender(s) are free"),
        "no WAL sender is free: raise max_wal_senders",
    );
    if keep == "-1" {
        findings.add(
            Severity::Note,
            "max_slot_wal_keep_size is not set: while every gateway is down, the slot keeps log without a bound",
        );
    }
    if !has_trigger && !superuser {
        findings.add(
            Severity::Note,
            format!(
                "{role} may not create event triggers: altered tables are noticed within {:?}, not at once",
                settings.schema_interval
            ),
        );
    }
    findings.require(
        has_publication || may_create,
        if has_publication { "the publication is there" } else { "the publication can be made" },
        format!(
            "there is no publication {0} and {role} may not make it: as an owner of the tables, CREATE PUBLICATION {0} \
             FOR TABLE ... WITH (publish_via_partition_root = true)",
            settings.publication
        ),
    );
    Ok(has_publication || may_create)
}

fn of_tables(
    findings: &mut Findings,
    settings: &FeedSettings,
    shard: &Arc<str>,
    rows: &[Row],
    unidentified: &[String],
    may_create: bool,
) -> Result<(), StoreError> {
    let mut fine = 0;
    for row in rows {
        let (relation, published, owned): (String, bool, bool) =
            (cell(shard, row, 0)?, cell(shard, row, 1)?, cell(shard, row, 2)?);
        if unidentified.contains(&relation) {
            findings.add(
                Severity::Problem,
                format!(
                    "{relation}, or a part of it, has no replica identity, so its changes cannot be followed: \
                     ALTER TABLE {relation} REPLICA IDENTITY DEFAULT (or FULL)"
                ),
            );
        } else if published || (owned && may_create) {
            fine += 1;
        } else {
            findings.add(
                Severity::Problem,
                format!(
                    "{relation} is not published, and only its owner may: ALTER PUBLICATION {} ADD TABLE {relation}",
                    settings.publication
                ),
            );
        }
    }
    findings.add(Severity::Fine, format!("{fine} of {} table(s) can be followed", rows.len()));
    Ok(())
}

/// Old values of other columns than the key come with a full identity only.
fn watched(findings: &mut Findings, shard: &Arc<str>, rows: &[Row], tables: &FeedTables) -> Result<(), StoreError> {
    for row in rows {
        let (relation, identity): (String, String) = (cell(shard, row, 0)?, cell(shard, row, 3)?);
        let Some(table) = tables.iter().find(|table| table.relation == relation) else { continue };
        let beside: Vec<&str> =
            table.watched.iter().filter(|name| !table.key.contains(name)).map(String::as_str).collect();
        if identity != "f" && !beside.is_empty() {
            findings.add(
                Severity::Note,
                format!(
                    "{relation}: what {} held before a change made outside is not told, so each such UPDATE or DELETE \
                     voids the lists of every value. ALTER TABLE {relation} REPLICA IDENTITY FULL tells it, and writes \
                     the whole old row to the log each time",
                    beside.join(", ")
                ),
            );
        }
    }
    Ok(())
}
