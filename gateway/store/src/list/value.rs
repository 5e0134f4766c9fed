//! Sort values in their binary form, compared as PostgreSQL compares them.

use std::cmp::Ordering;

use tidegate_types::query::{Direction, Nulls};
use tokio_postgres::types::Type;

use super::numeric::Numeric;
use crate::{
    sql::order::Placement,
    wire::{Malformed, Raw},
};

/// A sort value of a type the catalog reader calls mergeable.
#[derive(Debug, Clone, Copy)]
pub(super) enum SortValue<'a> {
    Null,
    /// Integers, booleans, dates and timestamps (infinities are the extremes of their range).
    Int(i64),
    Float(f64),
    Numeric(Numeric<'a>),
    /// Text of a bytewise collation, uuid.
    Bytes(&'a [u8]),
}

impl<'a> SortValue<'a> {
    pub(super) fn parse(type_: &Type, raw: Option<Raw<'a>>) -> Result<Self, Malformed> {
        let Some(Raw(bytes)) = raw else { return Ok(Self::Null) };
        let wrong = Malformed("a sort value");
        match *type_ {
            Type::BOOL => <[u8; 1]>::try_from(bytes).map(|b| Self::Int(b[0].into())).map_err(|_| wrong),
            Type::INT2 => bytes.try_into().map(|b| Self::Int(i16::from_be_bytes(b).into())).map_err(|_| wrong),
            Type::INT4 | Type::DATE => {
                bytes.try_into().map(|b| Self::Int(i32::from_be_bytes(b).into())).map_err(|_| wrong)
            }
            Type::INT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                bytes.try_into().map(|b| Self::Int(i64::from_be_bytes(b))).map_err(|_| wrong)
            }
            Type::FLOAT4 => bytes.try_into().map(|b| Self::Float(f32::from_be_bytes(b).into())).map_err(|_| wrong),
            Type::FLOAT8 => bytes.try_into().map(|b| Self::Float(f64::from_be_bytes(b))).map_err(|_| wrong),
            Type::NUMERIC => Numeric::parse(bytes).map(Self::Numeric),
            Type::TEXT | Type::VARCHAR | Type::UUID => Ok(Self::Bytes(bytes)),
            _ => Err(Malformed("a type whose values can be merged")),
        }
    }

    /// Compares two values of one column in its sort direction.
    pub(super) fn compare(&self, other: &Self, placement: Placement) -> Ordering {
        let nulls = match placement.nulls {
            Nulls::First => Ordering::Less,
            Nulls::Last => Ordering::Greater,
        };
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => nulls,
            (_, Self::Null) => nulls.reverse(),
            _ => match placement.direction {
                Direction::Asc => self.ascending(other),
                Direction::Desc => self.ascending(other).reverse(),
            },
        }
    }

    fn ascending(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => {
                // NaN equals itself and is above everything; the zeros are equal.
                a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            }
            (Self::Numeric(a), Self::Numeric(b)) => a.compare(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            // Shards whose columns differ in type: the catalog check refuses them.
            _ => Ordering::Equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_go_where_they_are_asked_to_whatever_the_direction() {
        for direction in [Direction::Asc, Direction::Desc] {
            for (nulls, expected) in [(Nulls::First, Ordering::Less), (Nulls::Last, Ordering::Greater)] {
                let placement = Placement { direction, nulls };
                assert_eq!(SortValue::Null.compare(&SortValue::Int(0), placement), expected);
                assert_eq!(SortValue::Int(0).compare(&SortValue::Null, placement), expected.reverse());
            }
        }
    }

    #[test]
    fn nan_is_the_greatest_float_and_zeros_are_equal() {
        let (nan, infinity) = (SortValue::Float(f64::NAN), SortValue::Float(f64::INFINITY));
        assert_eq!(nan.ascending(&infinity), Ordering::Greater);
        assert_eq!(nan.ascending(&nan), Ordering::Equal);
        assert_eq!(infinity.ascending(&nan), Ordering::Less);
        assert_eq!(SortValue::Float(-0.0).ascending(&SortValue::Float(0.0)), Ordering::Equal);
    }
}
