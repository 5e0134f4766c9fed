//! What a plugin declared it reads, and reading it from a request.

use std::borrow::Cow;

use http::HeaderName;
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use tidegate_types::request::TenantId;

use crate::{bindings::Input, host::RouteQuery, memo::MemoKey};

/// Inputs a hook may declare.
pub const MAX_INPUTS: usize = 16;

/// A declared input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// The method.
    Method,
    /// The path, still percent-encoded.
    Path,
    /// A header field.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(String),
    /// The collection's name.
    Collection,
    /// The shard key of the row addressed.
    ShardKey,
}

impl Declared {
    /// Takes over what a manifest declares.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(input: &Input) -> Result<Self, String> {
        Ok(match input {
            Input::Method => Self::Method,
            Input::Path => Self::Path,
            Input::Header(name) => Self::Header(
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?,
            ),
            Input::Query(name) => Self::Query(name.clone()),
            Input::Collection => Self::Collection,
            Input::ShardKey => Self::ShardKey,
            Input::Other(kind) => return Err(format!("this gateway has no input {kind:?}")),
        })
    }

    /// As operators see it.
    pub fn describe(&self) -> String {
        match self {
            Self::Method => "method".into(),
            Self::Path => "path".into(),
            Self::Header(name) => format!("header:{name}"),
            Self::Query(name) => format!("query:{name}"),
            Self::Collection => "collection".into(),
            Self::ShardKey => "shard-key".into(),
        }
    }

    fn read<'a>(&self, query: &RouteQuery<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Method => Some(Cow::Borrowed(query.facts.method.as_str())),
            Self::Path => Some(Cow::Borrowed(query.facts.path)),
            Self::Header(name) => header(query.facts.headers, name),
            Self::Query(name) => parameter(query.facts.query, name),
            Self::Collection => Some(Cow::Borrowed(&query.collection.name)),
            Self::ShardKey => query.shard_key.map(Cow::Borrowed),
        }
    }
}

/// The key of the answer: every declared input, written where the memo can compare it.
#[inline]
pub fn key(declared: &[Declared], query: &RouteQuery<'_>) -> MemoKey {
    let mut key = MemoKey::new(TenantId::SHARED, query.collection.id, query.access);
    for input in declared {
        key.push(input.read(query).as_deref());
    }
    key
}

/// The values of one request, in the order of their declaration.
pub type Values<'a> = SmallVec<[Option<Cow<'a, str>>; 8]>;

/// Reads every declared input again, for the guest. Cheaper than keeping them for the many requests
/// that end at the memo.
pub fn values<'a>(declared: &[Declared], query: &RouteQuery<'a>) -> Values<'a> {
    declared.iter().map(|input| input.read(query)).collect()
}

/// A field's value as text; several are joined as HTTP reads them, bytes that are not UTF-8 replaced.
#[inline]
fn header<'a>(headers: &'a http::HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter().map(|value| match value.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(value.as_bytes()),
    });
    let first = values.next()?;
    Some(values.fold(first, |joined, value| Cow::Owned(format!("{joined}, {value}"))))
}

/// The first value of a query parameter.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let plain = pair.strip_prefix(name).and_then(|rest| match rest.as_bytes().first() {
            None => Some(""),
            Some(b'=') => Some(&rest[1..]),
            Some(_) => None,
        });
        plain.or_else(|| encoded(pair, name)).map(decode)
    })
}

/// The value of a pair whose name is this one, written with escapes.
fn encoded<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    // Most pairs are told apart by their first byte.
    let first = pair.as_bytes().first()?;
    if !matches!(first, b'%' | b'+') && name.as_bytes().first() != Some(first) {
        return None;
    }
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    (is_encoded(key) && decode(key) == name).then_some(value)
}

fn is_encoded(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

/// Decodes `%41` and `+`, without a copy where there is neither.
fn decode(text: &str) -> Cow<'_, str> {
    if is_encoded(text) {
        Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded_and_the_first_counts() {
        let query = "a=1&regions=0&region=e%75+west&region=x&flag&%62=2&or%64er=3&%2B=4&=5";
        let cases = [
            ("a", Some("1")),
            ("region", Some("eu west")),
            ("flag", Some("")),
            ("b", Some("2")),
            ("order", Some("3")),
            ("+", Some("4")),
            ("", Some("5")),
            ("c", None),
            ("reg", None),
        ];
        for (name, value) in cases {
            assert_eq!(parameter(query, name).as_deref(), value, "{name}");
        }
        assert_eq!(parameter("", "a"), None);
    }

    #[test]
    fn several_fields_are_joined_and_bad_bytes_replaced() {
        let mut headers = http::HeaderMap::new();
        let name = HeaderName::from_static("x-region");
        assert_eq!(header(&headers, &name), None);
        headers.append(&name, http::HeaderValue::from_static("eu"));
        assert!(matches!(header(&headers, &name), Some(Cow::Borrowed("eu"))), "one value is not copied");
        headers.append(&name, http::HeaderValue::from_bytes(b"\xff").expect("obs-text"));
        assert_eq!(header(&headers, &name).as_deref(), Some("eu, \u{fffd}"));
    }

    #[test]
    fn a_declaration_that_cannot_be_served_is_refused_by_name() {
        assert_eq!(
            Declared::parse(&Input::Other("claim:sub".into())),
            Err("this gateway has no input \"claim:sub\"".into())
        );
        assert_eq!(Declared::parse(&Input::Header("a b".into())), Err("\"a b\" is not a header name".into()));
        assert_eq!(
            Declared::parse(&Input::Header("X-Region".into())).map(|d| d.describe()),
            Ok("header:x-region".into())
        );
    }
}
