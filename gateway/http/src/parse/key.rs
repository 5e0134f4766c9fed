//! Keyed paths: `/v1/products/42`, `/v1/items/42,7`, `/v1/tags/"a,b"`.

use std::{borrow::Cow, fmt::Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use smallvec::SmallVec;
use tidegate_types::{
    collection::{Collection, KeyParseError},
    key::RowKey,
    problem::{Problem, codes},
};

use super::{
    cursor::Cursor,
    problems::{bad_request, bad_text, clip},
    text::{Plus, decode},
};

/// What a path segment leaves as it is (RFC 3986, unreserved).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parses the last segment of a keyed path. Commas separate the values of a composite key;
/// within a value they are written `%2C`, or the value is quoted.
pub(crate) fn parse(segment: &str, collection: &Collection) -> Result<RowKey, Problem> {
    // The common key: one column, nothing escaped.
    if collection.key.len() == 1 && !segment.bytes().any(|b| matches!(b, b'%' | b'"' | b',' | 0)) {
        return finish(segment, collection, std::iter::once(segment));
    }
    let mut values: SmallVec<[Cow<'_, str>; 4]> = SmallVec::new();
    for part in split(segment) {
        values.push(unquote(decode(part, Plus::Literal, "The key")?)?);
    }
    finish(segment, collection, values.iter().map(AsRef::as_ref))
}

fn finish<'a>(
    segment: &str,
    collection: &Collection,
    values: impl Iterator<Item = &'a str>,
) -> Result<RowKey, Problem> {
    collection.parse_key(values).map_err(|error| match error {
        KeyParseError::Value { column, error } => {
            bad_request("22P02", error.to_string()).details(format!("In the key column \"{column}\" of the path."))
        }
        // Quotes of the path were taken off before.
        KeyParseError::Quote => bad_text("The key", &error.to_string()),
        KeyParseError::Arity { .. } => {
            let names: Vec<&str> = collection.key_columns().map(|c| c.name.as_str()).collect();
            bad_request(codes::BAD_KEY, format!("The key {} does not fit {}", clip(segment), collection.name))
                .details(error.to_string())
                .hint(format!("The path is /v1/{}/{{{}}}", collection.name, names.join("},{")))
        }
    })
}

/// Splits at commas outside of quotes; a quote counts as such only at the start of a part.
fn split(segment: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(segment);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = part_end(text);
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

fn part_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let quote_at = |at: usize| match &bytes[at..] {
        [b'"', ..] => 1,
        [b'%', b'2', b'2', ..] => 3,
        _ => 0,
    };
    let backslash_at = |at: usize| match &bytes[at..] {
        [b'\\', ..] => 1,
        [b'%', b'5', b'c' | b'C', ..] => 3,
        _ => 0,
    };
    let opening = if bytes.is_empty() { 0 } else { quote_at(0) };
    let mut quoted = opening > 0;
    let mut at = opening;
    while at < bytes.len() {
        if quoted && backslash_at(at) > 0 {
            at += backslash_at(at);
            // The escaped character, however it is written.
            at += if bytes.get(at) == Some(&b'%') { 3 } else { 1 };
        } else if quoted && quote_at(at) > 0 {
            at += quote_at(at);
            quoted = false;
        } else if !quoted && bytes[at] == b',' {
            return at;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn unquote(part: Cow<'_, str>) -> Result<Cow<'_, str>, Problem> {
    if !part.starts_with('"') {
        return Ok(part);
    }
    let mut cursor = Cursor::new("key", &part);
    match cursor.quoted() {
        Some(value) if cursor.at_end() => Ok(Cow::Owned(value)),
        _ => Err(bad_text("The key", "has a quoted part that does not end")),
    }
}

/// The path of a row, percent-encoded so that [`parse`] gives the same key.
pub(crate) fn path(collection: &Collection, key: &RowKey) -> String {
    let mut path = String::with_capacity(32);
    // Writing to a String cannot fail.
    let _ = write!(path, "/v1/{}/", utf8_percent_encode(&collection.name, RESERVED));
    for (i, value) in key.values().iter().enumerate() {
        if i > 0 {
            path.push(',');
        }
        let text = value.to_string();
        if text.is_empty() || text.starts_with('"') {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let _ = write!(path, "{}", utf8_percent_encode(&quoted, RESERVED));
        } else {
            let _ = write!(path, "{}", utf8_percent_encode(&text, RESERVED));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_types::key::KeyValue;

    use super::*;
    use crate::fixture;

    fn shown(collection: &Collection, segment: &str) -> Result<Vec<String>, Problem> {
        parse(segment, collection).map(|key| key.values().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn single_and_composite_keys() {
        let (products, items, notes) = (fixture::products(), fixture::items(), fixture::notes());
        assert_eq!(shown(&products, "42").expect("valid"), ["42"]);
        assert_eq!(shown(&products, "-7").expect("valid"), ["-7"]);
        assert_eq!(shown(&items, "42,7").expect("valid"), ["42", "7"]);
        assert_eq!(shown(&notes, "a%2Cb,c+d").expect("valid"), ["a,b", "c+d"]);
        assert_eq!(shown(&notes, "\"a,b\",%22c%5C%22,d%22").expect("valid"), ["a,b", "c\",d"]);
        assert_eq!(shown(&notes, "%22%22,x").expect("valid"), ["", "x"]);
        assert_eq!(shown(&notes, "a\"b,c").expect("valid"), ["a\"b", "c"]);
    }

    #[test]
    fn keys_that_do_not_fit() {
        let (products, items, notes) = (fixture::products(), fixture::items(), fixture::notes());
        for (collection, segment) in [
            (&products, "x"),
            (&products, "1,2"),
            (&products, "1.5"),
            (&products, "9223372036854775808"),
            (&products, "%31x"),
            (&products, "%"),
            (&products, "%00"),
            (&products, "%ff"),
            (&items, "1"),
            (&items, "1,2,3"),
            (&items, "1,"),
            (&notes, "\"a,b"),
            (&notes, "\"a\"x,b"),
        ] {
            assert!(parse(segment, collection).is_err(), "{segment}");
        }
    }

    proptest! {
        #[test]
        fn every_text_key_survives_its_path(a in "[^\0]{0,12}", b in "[^\0]{0,12}") {
            let notes = fixture::notes();
            let key = RowKey([a, b].into_iter().map(|t| KeyValue::Text(t.into())).collect());
            let path = path(&notes, &key);
            let segment = path.strip_prefix("/v1/notes/").expect("prefix");
            prop_assert!(!segment.contains('/'));
            prop_assert_eq!(parse(segment, &notes).expect("valid"), key);
        }

        #[test]
        fn no_segment_panics(segment in "\\PC{0,40}") {
            let _ = parse(&segment, &fixture::notes());
            let _ = parse(&segment, &fixture::products());
        }
    }
}
