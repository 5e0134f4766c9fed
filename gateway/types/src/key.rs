//! Row keys. Two [`RowKey`]s are equal exactly when PostgreSQL's `=` says the keys are equal:
//! cache identity and bucket choice rest on that, so only types where it holds are accepted.

use std::fmt;

use smallvec::SmallVec;

/// The column types a key may have. Types whose equality is looser than their text
/// (`citext`, `bpchar`, non-deterministic collations, `numeric`) are refused by the catalog check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `int2`
    Int2,
    /// `int4`
    Int4,
    /// `int8`
    Int8,
    /// `text` or `varchar` with a deterministic collation
    Text,
    /// `uuid`
    Uuid,
    /// `bool`
    Bool,
}

impl KeyType {
    /// The PostgreSQL type name, as `pg_type.typname` has it.
    #[must_use]
    pub const fn pg_name(self) -> &'static str {
        match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Bool => "bool",
        }
    }

    /// Parses the text form of one key column, as it stands in a path, a filter or a JSON body.
    ///
    /// # Errors
    /// [`KeyError`] says what was expected; the text is not echoed beyond 64 characters.
    pub fn parse(self, text: &str) -> Result<KeyValue, KeyError> {
        let wrong = || KeyError::new(self, text);
        match self {
            Self::Int2 => text.parse::<i16>().map(|v| KeyValue::Int(v.into())).map_err(|_| wrong()),
            Self::Int4 => text.parse::<i32>().map(|v| KeyValue::Int(v.into())).map_err(|_| wrong()),
            Self::Int8 => text.parse::<i64>().map(KeyValue::Int).map_err(|_| wrong()),
            Self::Text if text.contains('\0') => Err(wrong()),
            Self::Text => Ok(KeyValue::Text(text.into())),
            Self::Uuid => uuid::Uuid::try_parse(text).map(KeyValue::Uuid).map_err(|_| wrong()),
            Self::Bool => match text {
                "true" | "t" => Ok(KeyValue::Bool(true)),
                "false" | "f" => Ok(KeyValue::Bool(false)),
                _ => Err(wrong()),
            },
        }
    }
}

/// The value of one key column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyValue {
    /// Any of the integer types: equality across widths is numeric, as in SQL.
    Int(i64),
    /// A text key, compared bytewise.
    Text(Box<str>),
    /// A UUID.
    Uuid(uuid::Uuid),
    /// A boolean.
    Bool(bool),
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(v) => v.fmt(f),
            Self::Text(v) => v.fmt(f),
            Self::Uuid(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
        }
    }
}

/// The primary key of a row: one value per key column, in the collection's key order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(pub SmallVec<[KeyValue; 1]>);

impl RowKey {
    /// A key of one column.
    #[must_use]
    pub fn single(value: KeyValue) -> Self {
        Self(SmallVec::from_buf([value]))
    }

    /// The values in key order.
    #[must_use]
    pub fn values(&self) -> &[KeyValue] {
        &self.0
    }

    /// Feeds an encoding of the key that no other key shares (type tag, length, bytes) to `sink`.
    pub fn encode(&self, sink: &mut impl FnMut(&[u8])) {
        for value in &self.0 {
            match value {
                KeyValue::Int(v) => {
                    sink(&[1]);
                    sink(&v.to_le_bytes());
                }
                KeyValue::Text(v) => {
                    sink(&[2]);
                    sink(&(v.len() as u64).to_le_bytes());
                    sink(v.as_bytes());
                }
                KeyValue::Uuid(v) => {
                    sink(&[3]);
                    sink(v.as_bytes());
                }
                KeyValue::Bool(v) => sink(&[4, u8::from(*v)]),
            }
        }
    }

    /// The key as it stands in a path, without percent-encoding: values joined by commas, those that a comma or
    /// a quote would break in double quotes. [`crate::collection::Collection::parse_path_key`] reads it.
    #[must_use]
    pub fn path_text(&self) -> String {
        let mut text = String::with_capacity(20);
        for (i, value) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            match value {
                KeyValue::Text(part) if part.is_empty() || part.starts_with('"') || part.contains(',') => {
                    text.push('"');
                    for c in part.chars() {
                        if matches!(c, '"' | '\\') {
                            text.push('\\');
                        }
                        text.push(c);
                    }
                    text.push('"');
                }
                // Writing to a String cannot fail.
                _ => drop(fmt::Write::write_fmt(&mut text, format_args!("{value}"))),
            }
        }
        text
    }

    /// Bytes on the heap beyond `size_of::<RowKey>()`.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let spilled = if self.0.spilled() { self.0.capacity() * size_of::<KeyValue>() } else { 0 };
        let text: usize = self.0.iter().map(|v| if let KeyValue::Text(t) = v { t.len() } else { 0 }).sum();
        spilled + text
    }
}

impl fmt::Display for RowKey {
    /// The form keyed paths use: values joined by commas (`42,7`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, value) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            value.fmt(f)?;
        }
        Ok(())
    }
}

/// The values of a key's path text, as [`RowKey::path_text`] writes it. `None` where a quoted value does not end.
pub(crate) fn split_path(text: &str) -> Option<SmallVec<[String; 2]>> {
    let mut values = SmallVec::new();
    let mut rest = text;
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        values.push(value);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(values),
            None => return None,
        }
    }
}

/// What stands before the closing quote, unescaped, and what comes after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// A key value that its column's type cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid input syntax for type {}: \"{text}\"", expected.pg_name())]
pub struct KeyError {
    /// The type of the key column.
    pub expected: KeyType,
    /// The start of what was given.
    pub text: String,
}

impl KeyError {
    fn new(expected: KeyType, text: &str) -> Self {
        Self { expected, text: text.chars().take(64).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_equal_keys_however_they_are_written() {
        assert_eq!(KeyType::Int8.parse("042"), KeyType::Int4.parse("42"));
        assert_eq!(KeyType::Int8.parse("+42"), KeyType::Int4.parse("42"));
    }

    #[test]
    fn out_of_range_and_nul_are_refused() {
        assert!(KeyType::Int2.parse("40000").is_err());
        assert!(KeyType::Text.parse("a\0b").is_err());
        assert!(KeyType::Uuid.parse("nope").is_err());
    }

    #[test]
    fn no_two_composite_keys_share_an_encoding() {
        let encode = |parts: &[&str]| {
            let key = RowKey(parts.iter().map(|p| KeyValue::Text((*p).into())).collect());
            let mut out = Vec::new();
            key.encode(&mut |b| out.extend_from_slice(b));
            out
        };
        assert_ne!(encode(&["ab", "c"]), encode(&["a", "bc"]));
        assert_ne!(encode(&["", "abc"]), encode(&["abc", ""]));
    }
}
