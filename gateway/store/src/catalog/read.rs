//! The catalog's queries. `pg_catalog` only: `information_schema` hides what the role does not own.

use std::{collections::HashMap, future::Future};

use tidegate_types::collection::Column;
use tokio_postgres::{Client, Error, Row};

use super::{
    CatalogCheck, CatalogColumn, CatalogTable, Edge, Encoding, Equality, KeyCheck, RelationKind, ShardCatalog,
    TypeKind, UserCode,
};
use crate::{connection::statement_error, error::StoreError, pool::Class, shard::Shard};

const RELATIONS: &str = "\
SELECT c.oid, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), c.relkind::text, \
(EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal) \
OR (c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid))), \
EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate) \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' \
AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%' \
ORDER BY n.nspname, c.relname";

/// Collation provider and locale are those of the database where the column has the default collation.
/// Through `to_jsonb`, because the names of those catalog columns change between versions.
const COLUMNS: &str = "\
SELECT a.attrelid, a.attname, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), \
CASE WHEN ty.typnamespace = 'pg_catalog'::regnamespace THEN ty.typname::text \
ELSE ty.typnamespace::regnamespace::text || '.' || ty.typname END, \
a.attnotnull, (a.atthasdef OR a.attidentity <> ''), a.attidentity::text, a.attgenerated <> '', \
coalesce(co.collisdeterministic, true), \
CASE WHEN co.collprovider = 'd' THEN coalesce(to_jsonb(db) ->> 'datlocprovider', 'c') ELSE co.collprovider::text END, \
CASE WHEN co.collprovider = 'd' THEN db.datcollate::text ELSE co.collcollate::text END, \
pg_encoding_to_char(db.encoding) = 'UTF8', ty.typtype::text, \
(SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = ty.oid), \
pg_get_expr(def.adbin, def.adrelid) \
FROM pg_catalog.pg_attribute a \
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid \
LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation \
JOIN pg_catalog.pg_database db ON db.datname = current_database() \
LEFT JOIN pg_catalog.pg_attrdef def ON def.adrelid = a.attrelid AND def.adnum = a.attnum \
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace <> 'pg_catalog'::regnamespace \
ORDER BY a.attrelid, a.attnum";

const PRIMARY_KEYS: &str = "\
SELECT i.indrelid, a.attname FROM pg_catalog.pg_index i \
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, position) \
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
WHERE i.indisprimary AND k.position <= i.indnkeyatts ORDER BY i.indrelid, k.position";

/// Actions of foreign keys change referencing rows; a table and its partitions (or heirs) hold the same rows.
const EDGES: &str = "\
SELECT confrelid, conrelid FROM pg_catalog.pg_constraint \
WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) \
UNION SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits \
UNION SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits";

/// Through `to_jsonb`, because only later versions have checks that are not enforced.
const CHECKS: &str = "\
SELECT con.conrelid, con.conname, pg_get_expr(con.conbin, con.conrelid) FROM pg_catalog.pg_constraint con \
WHERE con.contype = 'c' AND con.conrelid <> 0 AND coalesce(to_jsonb(con) ->> 'conenforced', 'true') = 'true' \
ORDER BY con.conrelid, con.conname";

const SEARCH_PATH: &str = "SELECT current_schemas(false)::text[], current_setting('server_encoding')";

/// Reads a shard's catalog.
pub(crate) async fn read(shard: &Shard) -> Result<ShardCatalog, StoreError> {
    let lease = shard.lease(Class::Scan).await?;
    let client = &lease.connection().client;
    let relations = lease.run(rows(client, RELATIONS)).await?;
    let columns = lease.run(rows(client, COLUMNS)).await?;
    let keys = lease.run(rows(client, PRIMARY_KEYS)).await?;
    let checks = lease.run(rows(client, CHECKS)).await?;
    let edges = lease.run(rows(client, EDGES)).await?;
    let search_path = lease.run(rows(client, SEARCH_PATH)).await?;
    let failed = |error: Error| statement_error(lease.shard(), &error);
    let tables = assemble(&relations, &columns, &keys, &checks).map_err(failed)?;
    let edges = edges.iter().map(|row| Ok(Edge { from: row.try_get(0)?, to: row.try_get(1)? }));
    let edges = edges.collect::<Result<_, Error>>().map_err(failed)?;
    let session = search_path.first();
    let encoding = match session.and_then(|row| row.try_get(1).ok()) {
        Some("UTF8") => Encoding::Utf8,
        _ => Encoding::Other,
    };
    let search_path = session.and_then(|row| row.try_get(0).ok()).unwrap_or_default();
    let shard = lease.shard().to_string();
    lease.release();
    Ok(ShardCatalog { shard, tables, edges, encoding, search_path })
}

fn rows<'a>(client: &'a Client, query: &'a str) -> impl Future<Output = Result<Vec<Row>, Error>> + 'a {
    client.query_typed(query, &[])
}

fn assemble(relations: &[Row], columns: &[Row], keys: &[Row], checks: &[Row]) -> Result<Vec<CatalogTable>, Error> {
    let mut key_names: HashMap<u32, Vec<String>> = HashMap::new();
    for row in keys {
        key_names.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    let mut table_columns: HashMap<u32, Vec<CatalogColumn>> = HashMap::new();
    for row in columns {
        let oid = row.try_get(0)?;
        let key = key_names.get(&oid).map_or(&[][..], Vec::as_slice);
        table_columns.entry(oid).or_default().push(column(row, key)?);
    }
    let mut table_checks: HashMap<u32, Vec<CatalogCheck>> = HashMap::new();
    for row in checks {
        let check = CatalogCheck { name: row.try_get(1)?, condition: row.try_get(2)? };
        table_checks.entry(row.try_get(0)?).or_default().push(check);
    }
    let mut tables = Vec::with_capacity(relations.len());
    for row in relations {
        let oid = row.try_get(0)?;
        tables.push(CatalogTable {
            oid,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            relation: row.try_get(3)?,
            kind: match row.try_get(4)? {
                "v" => RelationKind::View,
                "m" => RelationKind::MaterializedView,
                "f" => RelationKind::ForeignTable,
                _ => RelationKind::Table,
            },
            user_code: if row.try_get(5)? { UserCode::Present } else { UserCode::Absent },
            key_check: if row.try_get(6)? { KeyCheck::Deferrable } else { KeyCheck::Immediate },
            checks: table_checks.remove(&oid).unwrap_or_default(),
            columns: table_columns.remove(&oid).unwrap_or_default(),
            primary_key: key_names.remove(&oid).unwrap_or_default(),
        });
    }
    Ok(tables)
}

fn column(row: &Row, primary_key: &[String]) -> Result<CatalogColumn, Error> {
    let name: String = row.try_get(1)?;
    let base_type: String = row.try_get(4)?;
    let identity: &str = row.try_get(7)?;
    let computed: bool = row.try_get(8)?;
    let deterministic: bool = row.try_get(9)?;
    let collation = Collation { provider: row.try_get(10)?, locale: row.try_get(11)?, utf8: row.try_get(12)? };
    // A key that is an identity column is given by the client all the same, because it places the row:
    // writes override the sequence.
    let generated = computed || (identity == "a" && !primary_key.contains(&name));
    Ok(CatalogColumn {
        column: Column {
            quoted: row.try_get(2)?,
            type_name: row.try_get(3)?,
            not_null: row.try_get(5)?,
            has_default: row.try_get(6)?,
            generated,
            mergeable: mergeable(&base_type, &collation),
            name,
        },
        equality: if deterministic { Equality::Bytewise } else { Equality::Loose },
        kind: match row.try_get(13)? {
            "b" => TypeKind::Base,
            "e" => TypeKind::Enum(row.try_get::<_, Option<Vec<String>>>(14)?.unwrap_or_default()),
            "d" => TypeKind::Domain,
            _ => TypeKind::Other,
        },
        default: row.try_get(15)?,
        base_type,
    })
}

/// How text is compared.
struct Collation<'a> {
    provider: Option<&'a str>,
    locale: Option<&'a str>,
    utf8: bool,
}

impl Collation<'_> {
    /// Whether it orders UTF-8 text as its bytes.
    fn is_bytewise(&self) -> bool {
        let locale = self.locale.unwrap_or_default();
        match self.provider {
            // PostgreSQL's own provider (17) has code point order only.
            Some("b") => self.utf8,
            Some("c") => {
                matches!(locale, "C" | "POSIX")
                    || (self.utf8 && ["c.utf-8", "c.utf8"].iter().any(|l| locale.eq_ignore_ascii_case(l)))
            }
            _ => false,
        }
    }
}

fn mergeable(base_type: &str, collation: &Collation<'_>) -> bool {
    match base_type {
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "bool" | "date" | "time" | "timestamp"
        | "timestamptz" | "uuid" => true,
        "text" | "varchar" => collation.is_bytewise(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytewise_collations_can_be_merged() {
        let text = |provider, locale, utf8| {
            mergeable("text", &Collation { provider: Some(provider), locale: Some(locale), utf8 })
        };
        for (provider, locale) in [("c", "C"), ("c", "POSIX"), ("c", "C.UTF-8"), ("c", "C.utf8"), ("b", "C.UTF-8")] {
            assert!(text(provider, locale, true), "{provider} {locale}");
        }
        for (provider, locale) in [("c", "en_US.UTF-8"), ("i", "C"), ("i", "und")] {
            assert!(!text(provider, locale, true), "{provider} {locale}");
        }
        assert!(!text("c", "C.UTF-8", false));
    }
}
