//! From the bytes of a URI to text: percent-decoding and query pairs.

use std::borrow::Cow;

use tidegate_types::problem::Problem;

use super::problems::bad_text;

/// What `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A space, in query strings.
    Space,
    /// Itself, in paths.
    Literal,
}

/// Percent-decodes one component.
///
/// # Errors
/// Escapes that are not `%XX`, bytes that are not UTF-8, NUL.
pub(crate) fn decode<'a>(raw: &'a str, plus: Plus, what: &str) -> Result<Cow<'a, str>, Problem> {
    let special = |b: u8| b == b'%' || b == 0 || (b == b'+' && plus == Plus::Space);
    let Some(first) = raw.bytes().position(special) else { return Ok(Cow::Borrowed(raw)) };
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut at = first;
    while at < bytes.len() {
        let byte = match bytes[at] {
            b'+' if plus == Plus::Space => b' ',
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).and_then(hex);
                at += 2;
                digits.ok_or_else(|| bad_text(what, "has a % that two hex digits do not follow; write % as %25"))?
            }
            other => other,
        };
        if byte == 0 {
            return Err(bad_text(what, "contains NUL"));
        }
        out.push(byte);
        at += 1;
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| bad_text(what, "is not UTF-8"))
}

fn hex(digits: &[u8]) -> Option<u8> {
    let nibble = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        b'A'..=b'F' => Some(d - b'A' + 10),
        _ => None,
    };
    match digits {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    }
}

/// The decoded `name=value` pairs of a query string; a pair without `=` has an empty value.
pub(crate) fn pairs<'a>(query: &'a str) -> impl Iterator<Item = Result<(Cow<'a, str>, Cow<'a, str>), Problem>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name, Plus::Space, "The query string")?, decode(value, Plus::Space, "The query string")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(decode("abc-1", Plus::Space, "x"), Ok(Cow::Borrowed("abc-1"))));
        assert!(matches!(decode("a+b", Plus::Literal, "x"), Ok(Cow::Borrowed("a+b"))));
    }

    #[test]
    fn escapes_and_plus_are_decoded() {
        assert_eq!(decode("a+b%20%C3%a9%2B", Plus::Space, "x").expect("valid"), "a b é+");
        assert_eq!(decode("a+b%2c", Plus::Literal, "x").expect("valid"), "a+b,");
    }

    #[test]
    fn broken_escapes_bad_utf8_and_nul_are_refused() {
        for bad in ["%", "%2", "%zz", "%ff", "%C3", "a%00", "\0"] {
            assert!(decode(bad, Plus::Space, "x").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pairs_skip_empty_ones_and_split_at_the_first_equals() {
        let all: Vec<_> = pairs("a=b=c&&d").map(|p| p.expect("valid")).collect();
        assert_eq!(all, [("a".into(), "b=c".into()), ("d".into(), "".into())]);
    }
}
