//! Defaults: which of them are the same for every row.

use super::kind::Kind;

/// What a column gets that a client leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Default {
    /// NULL.
    Null,
    /// This, as a read shows it.
    Constant(Box<str>),
    /// Something that only the database can know.
    Computed,
}

impl Default {
    /// From the default's expression as PostgreSQL prints it. What is not certainly a constant is computed.
    pub(super) fn of(kind: &Kind, expression: &str, base_type: &str) -> Self {
        match literal(expression, kind, base_type) {
            Some(Literal::Null) => Self::Null,
            Some(Literal::Text(text)) => {
                kind.render_text(&text).map_or(Self::Computed, |rendered| Self::Constant(rendered.into()))
            }
            None => Self::Computed,
        }
    }
}

enum Literal {
    Null,
    Text(String),
}

/// `5`, `(-5)`, `'-5'::integer`, `0.50`, `true`, `NULL::text`, `'it''s'::text`.
fn literal(expression: &str, kind: &Kind, base_type: &str) -> Option<Literal> {
    let expression = expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(expression);
    let is_number = |text: &str| {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    let is_numeric = matches!(kind, Kind::Int(_) | Kind::Numeric(_) | Kind::Float8 | Kind::Float4);
    if is_number(expression) {
        return is_numeric.then(|| Literal::Text(expression.to_owned()));
    }
    if matches!(expression, "true" | "false") {
        return (*kind == Kind::Bool).then(|| Literal::Text(expression.to_owned()));
    }
    if expression == "NULL" || expression.strip_prefix("NULL::").is_some_and(is_type_name) {
        return Some(Literal::Null);
    }
    let (text, type_name) = quoted(expression)?;
    // The literal was read as this type; a cast from it to the column's is not printed.
    let same = match kind {
        Kind::Enum(name, _) => type_name == name,
        _ => base_name(type_name) == Some(base_type),
    };
    let texts = matches!(kind, Kind::Text(_)) && matches!(base_name(type_name), Some("text" | "varchar"));
    let is_number = matches!(base_name(type_name), Some("int2" | "int4" | "int8" | "numeric"));
    (same || texts || (is_numeric && is_number)).then_some(Literal::Text(text))
}

/// `'text'::type`, unescaped.
fn quoted(expression: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = expression.strip_prefix('\'')?;
    loop {
        let (part, after) = rest.split_once('\'')?;
        text.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                text.push('\'');
                rest = more;
            }
            None => {
                let type_name = after.strip_prefix("::")?;
                return is_type_name(type_name).then_some((text, type_name));
            }
        }
    }
}

fn is_type_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | '"' | '(' | ')' | ','))
}

/// `pg_type.typname` of a type as `format_type` prints it, without modifiers: a literal with modifiers was cast to them,
/// which is the column's own only where they are equal, so it gives `None`.
fn base_name(type_name: &str) -> Option<&str> {
    Some(match type_name {
        "smallint" => "int2",
        "integer" => "int4",
        "bigint" => "int8",
        "double precision" => "float8",
        "real" => "float4",
        "boolean" => "bool",
        "character varying" => "varchar",
        "bpchar" => "bpchar",
        "time without time zone" => "time",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        plain @ ("numeric" | "text" | "uuid" | "bytea" | "date" | "json" | "jsonb") => plain,
        _ => return None,
    })
}
