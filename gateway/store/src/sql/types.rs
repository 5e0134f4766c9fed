//! The types a `select` may cast to. A client's text never becomes a type name: it is looked up here.

use tidegate_types::problem::{Problem, ProblemKind};

const BUILTIN: &[&str] = &[
    "bool",
    "boolean",
    "int2",
    "smallint",
    "int4",
    "int",
    "integer",
    "int8",
    "bigint",
    "float4",
    "real",
    "float8",
    "numeric",
    "decimal",
    "text",
    "varchar",
    "bpchar",
    "name",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "bytea",
    "inet",
    "cidr",
    "macaddr",
    "money",
    "bit",
    "varbit",
    "xml",
    "oid",
];

/// The built-in type of this name.
///
/// # Errors
/// 42704, as PostgreSQL words it.
pub(super) fn builtin_type(name: &str) -> Result<&'static str, Problem> {
    let found = BUILTIN.iter().find(|known| known.eq_ignore_ascii_case(name)).copied();
    found.ok_or_else(|| {
        Problem::new(ProblemKind::BadRequest, "42704", format!("type \"{name}\" does not exist"))
            .hint("Casts are offered to built-in types only, such as text, int, numeric or timestamptz.")
    })
}
