//! `If-Match` and `If-None-Match` (RFC 9110, section 13).

use http::{
    HeaderMap, HeaderName,
    header::{IF_MATCH, IF_NONE_MATCH},
};
use tidegate_types::{
    answer::ETag,
    problem::{Problem, ProblemKind, codes},
    request::{IfMatch, IfNoneMatch},
};

use super::problems::bad_request;

/// Tags read at most per request; the rest of a longer list matches nothing.
const MAX_TAGS: usize = 64;

/// How tags are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Equal opaque parts.
    Weak,
    /// Equal opaque parts, neither weak.
    Strong,
}

/// What the conditions of a read say about a representation that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it.
    Send,
    /// The client has it already: 304.
    NotModified,
    /// It is not the one the client wants: 412.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD.
pub(crate) fn evaluate(headers: &HeaderMap, etag: ETag) -> Verdict {
    if headers.contains_key(IF_MATCH) && !matches(headers, &IF_MATCH, etag, Comparison::Strong) {
        return Verdict::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) && matches(headers, &IF_NONE_MATCH, etag, Comparison::Weak) {
        return Verdict::NotModified;
    }
    Verdict::Send
}

/// The 412.
pub(crate) fn failed() -> Problem {
    Problem::new(
        ProblemKind::PreconditionFailed,
        codes::PRECONDITION_FAILED,
        "The row does not have the version that If-Match names",
    )
    .hint("Read the row again and repeat the request with its ETag.")
}

/// `If-Match` of a write. Tags that are weak, foreign or malformed match nothing.
pub(crate) fn if_match(headers: &HeaderMap) -> IfMatch {
    if !headers.contains_key(IF_MATCH) {
        return IfMatch::Absent;
    }
    let mut wanted = Vec::new();
    for tag in tags(headers, &IF_MATCH) {
        match tag {
            Tag::Any => return IfMatch::Any,
            Tag::Strong(quoted) => wanted.extend(ETag::parse(quoted)),
            Tag::Weak(_) => {}
        }
    }
    IfMatch::OneOf(wanted)
}

/// `If-None-Match` of a write: only `*` is offered.
pub(crate) fn if_none_match(headers: &HeaderMap) -> Result<IfNoneMatch, Problem> {
    if !headers.contains_key(IF_NONE_MATCH) {
        return Ok(IfNoneMatch::Absent);
    }
    match tags(headers, &IF_NONE_MATCH).next() {
        Some(Tag::Any) => Ok(IfNoneMatch::Any),
        _ => Err(bad_request(codes::BAD_HTTP, "If-None-Match on a write takes only *")
            .hint("Use If-Match to write only if the row has a certain version.")),
    }
}

fn matches(headers: &HeaderMap, name: &HeaderName, etag: ETag, comparison: Comparison) -> bool {
    let current = etag.to_field();
    tags(headers, name).any(|tag| match tag {
        Tag::Any => true,
        Tag::Strong(quoted) => quoted.as_bytes() == current,
        Tag::Weak(quoted) => comparison == Comparison::Weak && quoted.as_bytes() == current,
    })
}

enum Tag<'a> {
    /// `*`
    Any,
    /// The opaque part with its quotes.
    Strong(&'a str),
    /// The opaque part with its quotes, of a tag marked `W/`.
    Weak(&'a str),
}

fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Tag<'a>> {
    let fields = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| Tags { rest: field, first: true }).take(MAX_TAGS)
}

/// The tags of one field; ends at the first that is malformed.
struct Tags<'a> {
    rest: &'a str,
    first: bool,
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let rest = self.rest.trim_start_matches([' ', '\t', ',']);
        if std::mem::take(&mut self.first) && rest.trim_end() == "*" {
            self.rest = "";
            return Some(Tag::Any);
        }
        let (weak, opaque) = match rest.strip_prefix("W/") {
            Some(opaque) => (true, opaque),
            None => (false, rest),
        };
        let end = opaque.strip_prefix('"')?.find('"')? + 2;
        self.rest = &opaque[end..];
        let quoted = &opaque[..end];
        Some(if weak { Tag::Weak(quoted) } else { Tag::Strong(quoted) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: ETag = ETag(0xab);
    const TAG: &str = "\"00000000000000ab\"";

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("valid"));
        headers
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (value, verdict) in [
            (TAG.to_owned(), Verdict::NotModified),
            (format!("W/{TAG}"), Verdict::NotModified),
            (format!("\"x\" , W/\"y,z\",{TAG}"), Verdict::NotModified),
            ("*".to_owned(), Verdict::NotModified),
            ("\"x\"".to_owned(), Verdict::Send),
            (format!("garbage, {TAG}"), Verdict::Send),
            (String::new(), Verdict::Send),
        ] {
            assert_eq!(evaluate(&headers(IF_NONE_MATCH, &value), CURRENT), verdict, "{value}");
        }
    }

    #[test]
    fn if_match_compares_strongly() {
        for (value, verdict) in [
            (TAG.to_owned(), Verdict::Send),
            ("*".to_owned(), Verdict::Send),
            (format!("W/{TAG}"), Verdict::Failed),
            ("\"x\"".to_owned(), Verdict::Failed),
            (String::new(), Verdict::Failed),
        ] {
            assert_eq!(evaluate(&headers(IF_MATCH, &value), CURRENT), verdict, "{value}");
        }
    }

    #[test]
    fn conditions_of_writes() {
        assert_eq!(if_match(&HeaderMap::new()), IfMatch::Absent);
        assert_eq!(if_match(&headers(IF_MATCH, "*")), IfMatch::Any);
        assert_eq!(if_match(&headers(IF_MATCH, &format!("\"x\", {TAG}, W/{TAG}"))), IfMatch::OneOf(vec![CURRENT]));
        assert_eq!(if_match(&headers(IF_MATCH, "garbage")), IfMatch::OneOf(vec![]));
        assert_eq!(if_none_match(&headers(IF_NONE_MATCH, "*")).ok(), Some(IfNoneMatch::Any));
        assert!(if_none_match(&headers(IF_NONE_MATCH, TAG)).is_err());
    }
}
