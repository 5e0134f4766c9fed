//! The types whose rendering is known.

use serde_json::value::RawValue;

use super::{json, number, text, time, wrong::Wrong};
use crate::catalog::{CatalogColumn, TypeKind};

/// A type, with what bounds its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Int(number::Int),
    Numeric(Option<number::Precision>),
    Float8,
    Float4,
    Bool,
    /// Characters at most.
    Text(Option<usize>),
    /// Characters, filled up with blanks.
    Char(usize),
    Uuid,
    Bytea,
    Date,
    Time(time::Digits),
    Timestamp(time::Digits),
    Timestamptz(time::Digits),
    /// The type's name and its labels.
    Enum(String, Vec<String>),
    Json,
    Jsonb,
}

impl Kind {
    /// The kind of a column; `None` if its rendering is not known.
    pub(super) fn of(column: &CatalogColumn) -> Option<Self> {
        let type_name = column.column.type_name.as_str();
        if let TypeKind::Enum(labels) = &column.kind {
            return Some(Self::Enum(type_name.to_owned(), labels.clone()));
        }
        if column.kind != TypeKind::Base {
            return None;
        }
        Some(match column.base_type.as_str() {
            "int2" => Self::Int(number::Int::Two),
            "int4" => Self::Int(number::Int::Four),
            "int8" => Self::Int(number::Int::Eight),
            "numeric" => Self::Numeric(number::Precision::of(type_name)?),
            "float8" => Self::Float8,
            "float4" => Self::Float4,
            "bool" => Self::Bool,
            "text" => Self::Text(None),
            "varchar" => Self::Text(modifiers(type_name).first().and_then(|n| usize::try_from(*n).ok())),
            "bpchar" => Self::Char(usize::try_from(*modifiers(type_name).first()?).ok()?),
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time(time::Digits::of(type_name)?),
            "timestamp" => Self::Timestamp(time::Digits::of(type_name)?),
            "timestamptz" => Self::Timestamptz(time::Digits::of(type_name)?),
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            _ => return None,
        })
    }

    /// What a read would show of a value that came in a body; not NULL.
    pub(super) fn render(&self, raw: &RawValue) -> Result<String, Wrong> {
        match self {
            Self::Json => json::verbatim(raw),
            Self::Jsonb => json::canonical(raw),
            _ => self.render_text(&json::text(raw)?),
        }
    }

    /// What a read would show of a value given as text, as in a default.
    pub(super) fn render_text(&self, given: &str) -> Result<String, Wrong> {
        match self {
            Self::Int(int) => int.render(given),
            Self::Numeric(precision) => number::numeric(given, *precision),
            Self::Float8 => number::float8(given),
            Self::Float4 => number::float4(given),
            Self::Bool => text::boolean(given).map(|value| value.to_string()),
            Self::Text(max) => text::varchar(given, *max),
            Self::Char(length) => text::bpchar(given, *length),
            Self::Uuid => text::uuid(given),
            Self::Bytea => text::bytea(given),
            Self::Date => time::date(given),
            Self::Time(digits) => time::time(given, *digits),
            Self::Timestamp(digits) => time::timestamp(given, *digits),
            Self::Timestamptz(digits) => time::timestamptz(given, *digits),
            Self::Enum(name, labels) => text::label(given, name, labels),
            Self::Json => json::verbatim(json::parsed(given)?),
            Self::Jsonb => json::canonical(json::parsed(given)?),
        }
    }
}

/// The numbers in the parentheses of a type's name.
pub(super) fn modifiers(type_name: &str) -> Vec<i64> {
    let inside = type_name.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside);
    inside.map(|inside| inside.split(',').filter_map(|n| n.trim().parse().ok()).collect()).unwrap_or_default()
}
