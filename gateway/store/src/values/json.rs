//! JSON values: as text for other types, verbatim for `json`, rearranged for `jsonb`.

use std::{borrow::Cow, fmt};

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{number, wrong::Wrong};

/// Objects and arrays in one another.
const MAX_DEPTH: usize = 64;

/// Text as a JSON string: PostgreSQL escapes what serde_json does, in the same way.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON that came as text.
pub(super) fn parsed(text: &str) -> Result<&RawValue, Wrong> {
    serde_json::from_str(text).map_err(|_| invalid())
}

/// The text that a value's input function gets.
pub(super) fn text(raw: &RawValue) -> Result<Cow<'_, str>, Wrong> {
    if !raw.get().starts_with('"') {
        return Ok(Cow::Borrowed(raw.get()));
    }
    let text: String = serde_json::from_str(raw.get()).map_err(|_| invalid())?;
    if text.contains('\0') {
        return Err(nul());
    }
    Ok(Cow::Owned(text))
}

/// A value of type `json`: kept as it came, except that a string is written anew.
pub(super) fn verbatim(raw: &RawValue) -> Result<String, Wrong> {
    if raw.get().starts_with('"') {
        return Ok(quoted(&text(raw)?));
    }
    // Half a surrogate is found by reading the strings only.
    if serde_json::from_str::<serde_json::Value>(raw.get()).is_err() || raw.get().contains("\\u0000") {
        return Err(Wrong::Unsure { send: "JSON without \\u0000, half surrogates or numbers beyond double precision" });
    }
    Ok(raw.get().to_owned())
}

/// A value of type `jsonb`: keys in order of length and bytes, the last of equal ones, numbers as `numeric` prints them.
pub(super) fn canonical(raw: &RawValue) -> Result<String, Wrong> {
    let mut out = String::with_capacity(raw.get().len() + 16);
    write(raw, MAX_DEPTH, &mut out)?;
    Ok(out)
}

fn write(raw: &RawValue, depth: usize, out: &mut String) -> Result<(), Wrong> {
    let deeper = depth.checked_sub(1).ok_or(Wrong::Unsure { send: "JSON of less depth" })?;
    let malformed = |_| invalid();
    match raw.get().as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(raw.get()).map_err(malformed)?;
            out.push('{');
            for (i, (name, value)) in canonical_members(members, deeper)?.into_iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                out.push_str(&quoted(&name));
                out.push_str(": ");
                out.push_str(&value);
            }
            out.push('}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(malformed)?;
            out.push('[');
            for (i, element) in elements.into_iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(element, deeper, out)?;
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&quoted(&text(raw)?)),
        Some(b't' | b'f' | b'n') => out.push_str(raw.get()),
        _ => out.push_str(&number::numeric(raw.get(), None)?),
    }
    Ok(())
}

/// In `jsonb`'s order. Of equal names the last one counts, and the others must be right all the same.
fn canonical_members(members: Vec<(String, &RawValue)>, depth: usize) -> Result<Vec<(String, String)>, Wrong> {
    let mut kept: IndexMap<String, String> = IndexMap::with_capacity(members.len());
    for (name, raw) in members {
        if name.contains('\0') {
            return Err(nul());
        }
        let mut value = String::new();
        write(raw, depth, &mut value)?;
        kept.insert(name, value);
    }
    let mut kept: Vec<_> = kept.into_iter().collect();
    kept.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    Ok(kept)
}

/// An object's members as they came, those of equal names too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn invalid() -> Wrong {
    Wrong::new("22P02", "invalid input syntax for type json".to_owned())
}

fn nul() -> Wrong {
    Wrong::Refused {
        code: "22P05",
        message: "unsupported Unicode escape sequence".to_owned(),
        detail: Some("\\u0000 cannot be converted to text.".to_owned()),
    }
}
