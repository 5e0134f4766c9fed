//! Parts of an image, taken from it as they stand.

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::value::RawValue;
use tidegate_types::query::{Projection, SelectItem};

use super::json::quoted;

/// A representation of an image, with the bytes that PostgreSQL would give it. `None` if that takes more than leaving out
/// and renaming columns (JSON paths, casts), or a column does not exist.
#[must_use]
pub fn project(image: &Bytes, projection: &Projection) -> Option<Bytes> {
    let Projection::Items(items) = projection else { return Some(image.clone()) };
    let members: IndexMap<String, &RawValue> = serde_json::from_slice(image).ok()?;
    let mut json = String::with_capacity(image.len());
    json.push('{');
    let mut push = |name: &str, value: &RawValue| {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quoted(name));
        json.push(':');
        json.push_str(value.get());
    };
    for item in items.iter() {
        match item {
            SelectItem::Star => members.iter().for_each(|(name, value)| push(name, value)),
            SelectItem::Column { column, cast: None, .. } if column.path.is_empty() => {
                push(item.output_name()?, members.get(&column.name)?);
            }
            SelectItem::Column { .. } => return None,
        }
    }
    json.push('}');
    Some(Bytes::from(json))
}
