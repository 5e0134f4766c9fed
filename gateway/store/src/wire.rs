//! PostgreSQL's binary forms, as far as the store reads or writes them itself.

use tidegate_types::{
    collection::Collection,
    key::{KeyType, KeyValue, RowKey},
};
use tokio_postgres::types::{FromSql, ToSql, Type};
use uuid::Uuid;

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// A value of any type as it came: read in place, copied where it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxedError> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Something that is not the binary form it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the binary form of {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Takes `N` bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The elements of a one-dimensional array, NULLs as `None`.
pub(crate) fn array(raw: Raw<'_>) -> Result<Vec<Option<Raw<'_>>>, Malformed> {
    const WRONG: Malformed = Malformed("an array");
    let mut bytes = raw.0;
    let mut number = || take::<4>(&mut bytes).map(i32::from_be_bytes).ok_or(WRONG);
    let (dimensions, _has_nulls, _element) = (number()?, number()?, number()?);
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    let (length, _lower_bound) = (number()?, number()?);
    if dimensions != 1 {
        return Err(WRONG);
    }
    let length = usize::try_from(length).map_err(|_| WRONG)?;
    // An element takes at least its length field: a wrong length cannot reserve more than was received.
    let mut elements = Vec::with_capacity(length.min(bytes.len() / 4));
    for _ in 0..length {
        let size = take::<4>(&mut bytes).map(i32::from_be_bytes).ok_or(WRONG)?;
        elements.push(match usize::try_from(size) {
            Err(_) => None,
            Ok(size) => {
                let (element, rest) = bytes.split_at_checked(size).ok_or(WRONG)?;
                bytes = rest;
                Some(Raw(element))
            }
        });
    }
    Ok(elements)
}

/// One key column's value.
pub(crate) fn key_value(key_type: KeyType, raw: Raw<'_>) -> Result<KeyValue, Malformed> {
    let wrong = Malformed(key_type.pg_name());
    let bytes = raw.0;
    match key_type {
        KeyType::Int2 => bytes.try_into().map(|b| KeyValue::Int(i16::from_be_bytes(b).into())).map_err(|_| wrong),
        KeyType::Int4 => bytes.try_into().map(|b| KeyValue::Int(i32::from_be_bytes(b).into())).map_err(|_| wrong),
        KeyType::Int8 => bytes.try_into().map(|b| KeyValue::Int(i64::from_be_bytes(b))).map_err(|_| wrong),
        KeyType::Text => std::str::from_utf8(bytes).map(|text| KeyValue::Text(text.into())).map_err(|_| wrong),
        KeyType::Uuid => Uuid::from_slice(bytes).map(KeyValue::Uuid).map_err(|_| wrong),
        KeyType::Bool => match bytes {
            [byte] => Ok(KeyValue::Bool(*byte != 0)),
            _ => Err(wrong),
        },
    }
}

/// A key from its columns' values, in key order.
pub(crate) fn row_key<'a>(
    collection: &Collection,
    values: impl Iterator<Item = Option<Raw<'a>>>,
) -> Result<RowKey, Malformed> {
    const WRONG: Malformed = Malformed("a primary key");
    let mut key = RowKey(smallvec::SmallVec::new());
    for (column, value) in collection.key.iter().zip(values) {
        key.0.push(key_value(column.key_type, value.ok_or(WRONG)?)?);
    }
    if key.0.len() == collection.key.len() { Ok(key) } else { Err(WRONG) }
}

/// A parameter that owns its value.
pub(crate) type Param = Box<dyn ToSql + Sync + Send>;

/// One array per key column: the parameters of a batched read.
pub(crate) fn key_arrays(collection: &Collection, keys: &[&RowKey]) -> Vec<Param> {
    let column = |position: usize, key_type: KeyType| -> Param {
        let values = keys.iter().filter_map(move |key| key.0.get(position));
        match key_type {
            // A key is only ever parsed within its column's range.
            KeyType::Int2 => Box::new(integers(values).filter_map(|v| i16::try_from(v).ok()).collect::<Vec<_>>()),
            KeyType::Int4 => Box::new(integers(values).filter_map(|v| i32::try_from(v).ok()).collect::<Vec<_>>()),
            KeyType::Int8 => Box::new(integers(values).collect::<Vec<_>>()),
            KeyType::Text => Box::new(
                values
                    .filter_map(|v| if let KeyValue::Text(text) = v { Some(String::from(&**text)) } else { None })
                    .collect::<Vec<_>>(),
            ),
            KeyType::Uuid => Box::new(
                values
                    .filter_map(|v| if let KeyValue::Uuid(uuid) = v { Some(*uuid) } else { None })
                    .collect::<Vec<_>>(),
            ),
            KeyType::Bool => Box::new(
                values
                    .filter_map(|v| if let KeyValue::Bool(bool) = v { Some(*bool) } else { None })
                    .collect::<Vec<_>>(),
            ),
        }
    };
    collection.key.iter().enumerate().map(|(position, k)| column(position, k.key_type)).collect()
}

/// The type of the array that holds a key column's values.
pub(crate) const fn array_type(key_type: KeyType) -> Type {
    match key_type {
        KeyType::Int2 => Type::INT2_ARRAY,
        KeyType::Int4 => Type::INT4_ARRAY,
        KeyType::Int8 => Type::INT8_ARRAY,
        KeyType::Text => Type::TEXT_ARRAY,
        KeyType::Uuid => Type::UUID_ARRAY,
        KeyType::Bool => Type::BOOL_ARRAY,
    }
}

fn integers<'a>(values: impl Iterator<Item = &'a KeyValue>) -> impl Iterator<Item = i64> {
    values.filter_map(|value| if let KeyValue::Int(int) = value { Some(*int) } else { None })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn arrays_are_read_as_they_are_written() {
        let mut bytes = BytesMut::new();
        vec![Some("a"), None, Some("")].to_sql(&Type::TEXT_ARRAY, &mut bytes).expect("encodes");
        let read: Vec<_> = array(Raw(&bytes)).expect("decodes").iter().map(|e| e.map(|e| e.0.to_vec())).collect();
        assert_eq!(read, [Some(b"a".to_vec()), None, Some(Vec::new())]);
    }

    #[test]
    fn truncated_arrays_are_refused() {
        let mut bytes = BytesMut::new();
        vec!["abc", "def"].to_sql(&Type::TEXT_ARRAY, &mut bytes).expect("encodes");
        for end in 0..bytes.len() {
            assert!(array(Raw(&bytes[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn a_lying_length_reserves_nothing() {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25];
        bytes.extend_from_slice(&i32::MAX.to_be_bytes());
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        assert!(array(Raw(&bytes)).is_err());
    }
}
