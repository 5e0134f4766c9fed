//! What a plugin declared it reads, and reading it from a request.

use std::borrow::Cow;

use http::{
    HeaderName,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
};
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use tidegate_types::{collection::Collection, policy::Who, request::Facts, route::Access, tenant::Tenants};

use crate::{bindings::Input, hook::Hook, memo::MemoKey};

/// Inputs a hook may declare.
pub const MAX_INPUTS: usize = 16;

/// What is asked about: everything an input can be read from.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The request.
    pub facts: &'a Facts<'a>,
    /// The collection.
    pub collection: &'a Collection,
    /// Read or write.
    pub access: Access,
    /// The canonical text of the row's shard key, where it is known.
    pub shard_key: Option<&'a str>,
    /// Whose request it is.
    pub who: Who,
    /// The tenants and classes by name.
    pub tenants: &'a Tenants,
}

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
    /// A claim of the verified token.
    Claim(String),
    /// The collection's name.
    Collection,
    /// The shard key of the row addressed.
    ShardKey,
    /// A column of the changed row.
    Column(String),
    /// The tenant's name.
    Tenant,
    /// The class's name.
    Class,
    /// The tenant's home region.
    Region,
}

impl Declared {
    /// Takes over what a manifest declares for a hook.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(hook: Hook, input: &Input) -> Result<Self, String> {
        let declared = match input {
            Input::Method => Self::Method,
            Input::Path => Self::Path,
            Input::Header(name) => Self::Header(
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?,
            ),
            Input::Query(name) => Self::Query(name.clone()),
            Input::Claim(name) => Self::Claim(name.clone()),
            Input::Collection => Self::Collection,
            Input::ShardKey => Self::ShardKey,
            Input::Column(name) => Self::Column(name.clone()),
            Input::Tenant => Self::Tenant,
            Input::Class => Self::Class,
            Input::Region => Self::Region,
            Input::Other(kind) => return Err(format!("this gateway has no input {kind:?}")),
        };
        match (hook, &declared) {
            (Hook::Invalidate, Self::Column(_)) => Ok(declared),
            (Hook::Invalidate, _) => Err(format!("invalidate reads columns only, not {}", declared.describe())),
            (_, Self::Column(_)) => Err(format!("{} is for invalidate only", declared.describe())),
            (Hook::Classify, Self::ShardKey | Self::Tenant | Self::Class | Self::Region) => {
                Err(format!("{} is not known before a request is classified", declared.describe()))
            }
            _ => Ok(declared),
        }
    }

    /// As operators see it, and as questions name it.
    pub fn describe(&self) -> String {
        match self {
            Self::Method => "method".into(),
            Self::Path => "path".into(),
            Self::Header(name) => format!("header:{name}"),
            Self::Query(name) => format!("query:{name}"),
            Self::Claim(name) => format!("claim:{name}"),
            Self::Collection => "collection".into(),
            Self::ShardKey => "shard-key".into(),
            Self::Column(name) => format!("column:{name}"),
            Self::Tenant => "tenant".into(),
            Self::Class => "class".into(),
            Self::Region => "region".into(),
        }
    }

    /// Whether its values must not be written down, whatever the manifest says.
    pub fn always_secret(&self) -> bool {
        matches!(self, Self::Header(name) if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name))
    }

    fn read<'a>(&self, subject: &Subject<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Method => Some(Cow::Borrowed(subject.facts.method.as_str())),
            Self::Path => Some(Cow::Borrowed(subject.facts.path)),
            Self::Header(name) => header(subject.facts.headers, name),
            Self::Query(name) => parameter(subject.facts.query, name),
            // Nothing verifies tokens yet, and an unverified claim is no claim.
            Self::Claim(_) => None,
            Self::Collection => Some(Cow::Borrowed(&subject.collection.name)),
            Self::ShardKey => subject.shard_key.map(Cow::Borrowed),
            Self::Column(_) => None,
            Self::Tenant => {
                Some(Cow::Borrowed(&*subject.tenants.get(subject.who.tenant)?.name)).filter(|name| !name.is_empty())
            }
            Self::Class => subject.tenants.class_name(subject.who.class).map(|name| Cow::Borrowed(&**name)),
            Self::Region => subject.tenants.get(subject.who.tenant)?.region.as_deref().map(Cow::Borrowed),
        }
    }
}

/// The key of the answer: every declared input, written where the memo can compare it.
#[inline]
pub fn key<'d>(declared: impl IntoIterator<Item = &'d Declared>, subject: &Subject<'_>) -> MemoKey {
    let mut key = MemoKey::new(subject.who, subject.collection.id, subject.access);
    for input in declared {
        key.push(input.read(subject).as_deref());
    }
    key
}

/// The values of one request, in the order of their declaration.
pub type Values<'a> = SmallVec<[Option<Cow<'a, str>>; 8]>;

/// Reads every declared input again, for the guest. Cheaper than keeping them for the many requests
/// that end at the memo.
pub fn values<'a>(declared: &[Declared], subject: &Subject<'a>) -> Values<'a> {
    declared.iter().map(|input| input.read(subject)).collect()
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
            Declared::parse(Hook::Route, &Input::Other("weather:rain".into())),
            Err("this gateway has no input \"weather:rain\"".into())
        );
        assert_eq!(
            Declared::parse(Hook::Route, &Input::Header("a b".into())),
            Err("\"a b\" is not a header name".into())
        );
        assert_eq!(
            Declared::parse(Hook::Route, &Input::Header("X-Region".into())).map(|d| d.describe()),
            Ok("header:x-region".into())
        );
    }

    #[test]
    fn inputs_that_a_hook_cannot_have_are_refused() {
        let parse = |hook, input| Declared::parse(hook, &input).map(|declared| declared.describe());
        let column = || Input::Column("category_id".into());
        assert_eq!(parse(Hook::Invalidate, column()), Ok("column:category_id".into()));
        for hook in [Hook::Classify, Hook::Route, Hook::CachePolicy] {
            assert_eq!(parse(hook, column()), Err("column:category_id is for invalidate only".into()));
        }
        assert_eq!(parse(Hook::Invalidate, Input::Path), Err("invalidate reads columns only, not path".into()));
        for early in [Input::ShardKey, Input::Tenant, Input::Class, Input::Region] {
            assert!(
                parse(Hook::Classify, early.clone()).is_err_and(|text| text.contains("before a request is classified"))
            );
            assert!(parse(Hook::CachePolicy, early).is_ok());
        }
    }

    #[test]
    fn credentials_are_secret_whatever_the_manifest_says() {
        let header = |name: &str| Declared::parse(Hook::Classify, &Input::Header(name.into())).expect("parsed");
        for (name, secret) in
            [("Authorization", true), ("cookie", true), ("proxy-authorization", true), ("host", false)]
        {
            assert_eq!(header(name).always_secret(), secret, "{name}");
        }
    }
}
