//! Bodies of writes. The JSON text goes to PostgreSQL as it came; what is learned here is which
//! columns it names and which rows.

use std::{borrow::Cow, fmt};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use tidegate_types::{
    collection::Collection,
    key::{KeyType, KeyValue, RowKey},
    problem::Problem,
    request::RowsBody,
};

use super::problems::{bad_request, clip, over_limit, unknown_body_column};

/// Nesting of arrays and objects in a body.
pub(crate) const MAX_JSON_DEPTH: usize = 64;

/// How many rows a body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Any number: an insert.
    Many,
    /// One: an object, or the first element of an array, as PostgREST takes it.
    One,
}

/// A body and the key values of its first row, also where they do not make a whole key.
#[derive(Debug, Clone)]
pub(crate) struct ParsedBody {
    pub(crate) rows: RowsBody,
    pub(crate) first_key: KeyParts,
}

/// The values a row gives for the columns of the key, in key order.
pub(crate) type KeyParts = SmallVec<[Option<KeyValue>; 2]>;

/// Refuses bodies that do not call themselves JSON.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("?");
    let media = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match media.as_str() {
        "application/json" | "application/vnd.pgrst.object+json" | "application/vnd.pgrst.array+json" => Ok(()),
        _ => Err(bad_request("PGRST102", format!("Content-Type not acceptable: {}", clip(text)))
            .hint("Send application/json.")),
    }
}

/// Parses a body. `columns` is the parameter of that name, already checked against the collection.
pub(crate) fn parse(
    json: Bytes,
    collection: &Collection,
    columns: Option<Vec<String>>,
    rows: Rows,
) -> Result<ParsedBody, Problem> {
    let text = std::str::from_utf8(&json).map_err(|_| invalid("the body is not UTF-8"))?;
    scan(text.as_bytes())?;
    let mut objects = objects(text)?;
    check_keys(&objects, columns.is_none())?;
    if rows == Rows::One {
        objects.truncate(1);
        if objects.is_empty() {
            return Err(invalid("one object is needed"));
        }
    }
    let columns = match columns {
        Some(columns) => columns,
        None => written_columns(objects.first(), collection)?,
    };
    let mut keys = Vec::with_capacity(objects.len());
    let mut shard_keys = Vec::with_capacity(objects.len());
    let mut first_key = None;
    for object in &objects {
        let parts = key_parts(object, collection, &columns)?;
        shard_keys.push(shard_key(collection, &parts));
        keys.push(parts.iter().cloned().collect::<Option<SmallVec<[KeyValue; 1]>>>().map(RowKey));
        first_key.get_or_insert(parts);
    }
    let count = objects.len();
    let array = match (rows, objects.first()) {
        (Rows::One, Some(Object { raw, .. })) => wrap(raw.get()),
        _ if text.trim_start().starts_with('{') => wrap(text),
        _ => json.clone(),
    };
    let rows = RowsBody { json: array, rows: count, columns, keys, shard_keys };
    Ok(ParsedBody { rows, first_key: first_key.unwrap_or_default() })
}

fn wrap(object: &str) -> Bytes {
    let mut array = BytesMut::with_capacity(object.len() + 2);
    array.extend_from_slice(b"[");
    array.extend_from_slice(object.as_bytes());
    array.extend_from_slice(b"]");
    array.freeze()
}

fn invalid(why: impl fmt::Display) -> Problem {
    bad_request("PGRST102", "Empty or invalid json").details(why.to_string())
}

/// Bounds the depth before anything recurses, and finds NUL escapes, which PostgreSQL's text cannot
/// hold. Malformed JSON is left for the parser to name.
fn scan(json: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut in_string, mut at) = (0_usize, false, 0);
    while at < json.len() {
        match (in_string, json[at]) {
            (true, b'\\') => {
                if json[at + 1..].starts_with(b"u0000") {
                    return Err(invalid("\\u0000 cannot be converted to text"));
                }
                at += 1;
            }
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > MAX_JSON_DEPTH {
                    return Err(over_limit("nested arrays and objects in the body", MAX_JSON_DEPTH));
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// One row: its text, and its members with their texts.
struct Object<'a> {
    raw: &'a RawValue,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

fn objects(text: &str) -> Result<Vec<Object<'_>>, Problem> {
    let raws: Vec<&RawValue> = match text.trim_start().as_bytes().first() {
        Some(b'[') => serde_json::from_str::<Array<'_>>(text).map_err(invalid)?.0,
        Some(b'{') => vec![serde_json::from_str(text).map_err(invalid)?],
        Some(_) => return Err(invalid("an object or an array of objects is needed")),
        None => return Err(invalid("the body is empty")),
    };
    let object = |raw: &'_ RawValue| -> Result<(), Problem> {
        if raw.get().starts_with('{') { Ok(()) } else { Err(invalid("every element of the array must be an object")) }
    };
    raws.into_iter()
        .map(|raw| {
            object(raw)?;
            let Members(fields) = serde_json::from_str(raw.get()).map_err(invalid)?;
            Ok(Object { raw, fields })
        })
        .collect()
}

struct Array<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Array<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Vec<&'de RawValue>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Elements).map(Array)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object's members in order, duplicates included: they are refused, not merged.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields).map(Members)
    }
}

/// No object names a column twice, and unless `columns` says which count, all name the same.
fn check_keys(objects: &[Object<'_>], same: bool) -> Result<(), Problem> {
    let Some(first) = objects.first() else { return Ok(()) };
    let first_names = sorted_names(first)?;
    for object in &objects[1..] {
        // Rows usually repeat the first row's keys in its order.
        let as_first = object.fields.len() == first.fields.len()
            && object.fields.iter().zip(&first.fields).all(|((a, _), (b, _))| a == b);
        if !as_first && (sorted_names(object)? != first_names) && same {
            return Err(bad_request("PGRST102", "All object keys must match")
                .hint("Name the columns in the columns parameter to let rows differ."));
        }
    }
    Ok(())
}

fn sorted_names<'a>(object: &'a Object<'_>) -> Result<Vec<&'a str>, Problem> {
    let mut names: Vec<&str> = object.fields.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(bad_request("PGRST102", format!("The key \"{}\" appears twice in an object", clip(pair[0])))),
        None => Ok(names),
    }
}

fn written_columns(first: Option<&Object<'_>>, collection: &Collection) -> Result<Vec<String>, Problem> {
    let Some(first) = first else { return Ok(Vec::new()) };
    first.fields.iter().map(|(name, _)| writable(name, collection).map(str::to_owned)).collect()
}

/// Checks that a column exists and can be written.
pub(crate) fn writable<'a>(name: &'a str, collection: &Collection) -> Result<&'a str, Problem> {
    match collection.column(name) {
        None => Err(unknown_body_column(collection, name)),
        Some(column) if column.generated => {
            Err(bad_request("428C9", format!("cannot insert a non-DEFAULT value into column \"{name}\""))
                .details(format!("Column \"{name}\" is a generated column.")))
        }
        Some(_) => Ok(name),
    }
}

fn key_parts(object: &Object<'_>, collection: &Collection, columns: &[String]) -> Result<KeyParts, Problem> {
    let mut parts = KeyParts::new();
    for key in &collection.key {
        let name = collection.columns[key.column].name.as_str();
        let given = object.fields.iter().find(|(field, _)| field == name && columns.iter().any(|c| c == name));
        let value = match given {
            Some((_, raw)) => key_value(raw, key.key_type, name)?,
            None => None,
        };
        parts.push(value);
    }
    Ok(parts)
}

/// The value of a key column as PostgreSQL will read it from this JSON; NULL is no value.
fn key_value(raw: &RawValue, key_type: KeyType, name: &str) -> Result<Option<KeyValue>, Problem> {
    let wrong = |why: String| bad_request("22P02", why).details(format!("In column \"{name}\" of the body."));
    let json = raw.get();
    let text: Cow<'_, str> = match json.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => serde_json::from_str::<Name<'_>>(json).map_err(invalid)?.0,
        Some(b'{' | b'[') => return Err(wrong(format!("invalid input syntax for type {}", key_type.pg_name()))),
        // A number's text is kept or normalised depending on how it is read; only digits are safe.
        Some(b'-' | b'0'..=b'9') if key_type == KeyType::Text && !is_plain_integer(json) => {
            return Err(wrong(format!("the number {} is ambiguous as text: send a string", clip(json))));
        }
        _ => Cow::Borrowed(json),
    };
    key_type.parse(&text).map(Some).map_err(|error| wrong(error.to_string()))
}

fn is_plain_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    digits.bytes().all(|b| b.is_ascii_digit()) && json != "-0"
}

fn shard_key(collection: &Collection, parts: &KeyParts) -> Option<String> {
    let texts: SmallVec<[Option<String>; 2]> = parts.iter().map(|p| p.as_ref().map(ToString::to_string)).collect();
    collection.shard_key_text_from(|name| texts.get(collection.key_position(name)?)?.as_deref())
}

#[cfg(test)]
mod tests;
