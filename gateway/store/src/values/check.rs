//! CHECKs that can be evaluated for certain: columns compared with literals or one another, lengths, lists, and these
//! joined by AND, OR and NOT. Any other is left to the shard.

mod parse;

use std::{borrow::Cow, cmp::Ordering};

use super::{kind::Kind, number::Decimal};
use crate::catalog::CatalogCheck;

/// A CHECK that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: String,
    condition: Condition,
}

/// What a condition comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    /// NULL, which a CHECK lets pass, or not known, which is for the shard.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare(Operand, Comparison, Operand),
    Null(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is compared. Positions are those of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    Column(usize, Class),
    Length(usize),
    Literal(String),
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// By value.
    Number,
    /// Equal or not: which comes first is the collation's matter.
    Text,
    /// By its text, `YYYY-MM-DD`.
    Date,
}

impl Class {
    fn of(kind: &Kind) -> Option<Self> {
        match kind {
            Kind::Int(_) | Kind::Numeric(_) => Some(Self::Number),
            Kind::Text(_) | Kind::Enum(..) => Some(Self::Text),
            Kind::Date => Some(Self::Date),
            _ => None,
        }
    }
}

impl Check {
    /// The check, if its condition is understood.
    pub(super) fn understood(check: &CatalogCheck, columns: &[(&str, &Kind)]) -> Option<Self> {
        Some(Self { name: check.name.clone(), condition: parse::condition(&check.condition, columns)? })
    }

    /// Judges a row: one JSON text per column.
    pub(super) fn judge(&self, row: &[Cow<'_, str>]) -> Truth {
        self.condition.judge(row)
    }
}

impl Condition {
    fn judge(&self, row: &[Cow<'_, str>]) -> Truth {
        match self {
            Self::All(parts) => joined(parts, row, Truth::False, Truth::True),
            Self::Any(parts) => joined(parts, row, Truth::True, Truth::False),
            Self::Not(part) => match part.judge(row) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            },
            Self::Compare(left, comparison, right) => compare(left, *comparison, right, row),
            Self::Null(column) => truth(row[*column] == "null"),
        }
    }
}

fn truth(holds: bool) -> Truth {
    if holds { Truth::True } else { Truth::False }
}

/// One that decides ends it; without, one that is unknown leaves it open.
fn joined(parts: &[Condition], row: &[Cow<'_, str>], deciding: Truth, otherwise: Truth) -> Truth {
    let mut result = otherwise;
    for part in parts {
        match part.judge(row) {
            judged if judged == deciding => return deciding,
            Truth::Unknown => result = Truth::Unknown,
            _ => {}
        }
    }
    result
}

fn compare(left: &Operand, comparison: Comparison, right: &Operand, row: &[Cow<'_, str>]) -> Truth {
    let class = match (left, right) {
        (Operand::Length(_), _) | (_, Operand::Length(_)) => Class::Number,
        (Operand::Column(_, class), _) | (_, Operand::Column(_, class)) => *class,
        (Operand::Literal(_), Operand::Literal(_)) => return Truth::Unknown,
    };
    let (Some(left), Some(right)) = (left.value(row), right.value(row)) else { return Truth::Unknown };
    let order = match class {
        Class::Number => match (Decimal::parse(&left), Decimal::parse(&right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            // NaN and infinities, which the shard knows how to compare.
            _ => None,
        },
        Class::Text if matches!(comparison, Comparison::Equal | Comparison::Different) => Some(left.cmp(&right)),
        Class::Text => None,
        Class::Date => (left.len() == 10 && right.len() == 10).then(|| left.cmp(&right)),
    };
    let Some(order) = order else { return Truth::Unknown };
    truth(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::Different => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

impl Operand {
    /// Its text; `None` for NULL.
    fn value<'a>(&'a self, row: &'a [Cow<'_, str>]) -> Option<Cow<'a, str>> {
        match self {
            Self::Literal(text) => Some(Cow::Borrowed(text)),
            Self::Column(column, _) => plain(&row[*column]),
            Self::Length(column) => plain(&row[*column]).map(|text| Cow::Owned(text.chars().count().to_string())),
        }
    }
}

/// A JSON scalar as text.
fn plain(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok().map(Cow::Owned),
        b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

#[cfg(test)]
mod tests;
