//! Answers to list reads.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY},
};
use tidegate_types::{
    answer::{ETag, ListAnswer, ListBody},
    problem::{Problem, ProblemKind},
};

use super::{
    Reply, applied,
    cdn::{Cdn, Offered, What},
    fields,
    problem::problem,
    reply,
};
use crate::parse::{
    accept::Format,
    call::ListCall,
    condition::{self, Verdict},
};

/// The response to a list read: 200, 206, 304, 406, 412 or 416.
pub(crate) fn list(call: ListCall, request: &HeaderMap, answer: &ListAnswer, cdn: Cdn) -> Reply {
    let offset = call.read.query.offset;
    let rows = &answer.body;
    if let Some(total) = rows.total.filter(|total| offset > *total) {
        let mut outside = problem(&offset_outside(offset, total));
        outside.headers_mut().insert(CONTENT_RANGE, content_range(offset, 0, Some(total)));
        fields::cache(outside.headers_mut(), &answer.status);
        return outside;
    }
    let (body, etag) = match call.format {
        Format::Json => (rows.json.clone(), rows.etag(offset)),
        Format::Object if rows.rows == 1 => {
            // Of the row alone: the tag it has under its key.
            let row = only_element(&rows.json);
            let etag = ETag::of(&row);
            (row, etag)
        }
        Format::Object => {
            let mut refused = problem(&not_singular(rows.rows));
            fields::cache(refused.headers_mut(), &answer.status);
            return refused;
        }
    };
    let verdict = condition::evaluate(request, etag);
    if verdict == Verdict::Failed {
        let mut failed = problem(&condition::failed());
        fields::cache(failed.headers_mut(), &answer.status);
        return failed;
    }
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(ETAG, fields::etag(etag));
    headers.insert(CACHE_CONTROL, fields::cache_control(call.read.collection.visibility));
    headers.insert(VARY, fields::vary_list(answer.bounds.as_deref()));
    fields::cache(&mut headers, &answer.status);
    let (collection, bounds) = (&call.read.collection, answer.bounds.as_deref());
    cdn.offer(&mut headers, &Offered { collection, what: What::List, bounds, status: answer.status });
    headers.insert(CONTENT_RANGE, content_range(offset, rows.rows, rows.total));
    applied(&mut headers, call.applied);
    if verdict == Verdict::NotModified {
        return reply(StatusCode::NOT_MODIFIED, headers, Bytes::new());
    }
    headers.insert(CONTENT_TYPE, fields::content_type(call.format));
    reply(status(rows), headers, body)
}

fn status(body: &ListBody) -> StatusCode {
    match body.total {
        Some(total) if body.rows < total => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::OK,
    }
}

/// `first-last/total`, `*` for what is empty or unknown.
pub(super) fn content_range(offset: u64, rows: u64, total: Option<u64>) -> HeaderValue {
    let mut field = Vec::with_capacity(32);
    let mut digits = itoa::Buffer::new();
    if rows == 0 {
        field.push(b'*');
    } else {
        field.extend_from_slice(digits.format(offset).as_bytes());
        field.push(b'-');
        field.extend_from_slice(digits.format(offset.saturating_add(rows - 1)).as_bytes());
    }
    field.push(b'/');
    match total {
        Some(total) => field.extend_from_slice(digits.format(total).as_bytes()),
        None => field.push(b'*'),
    }
    fields::ascii(&field)
}

/// The one element of a JSON array, without its brackets.
fn only_element(array: &Bytes) -> Bytes {
    let trimmed = array.trim_ascii();
    match trimmed.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(element) => array.slice_ref(element.trim_ascii()),
        None => array.clone(),
    }
}

pub(super) fn not_singular(rows: u64) -> Problem {
    Problem::new(ProblemKind::NotAcceptable, "PGRST116", "Cannot coerce the result to a single JSON object")
        .details(format!("The result contains {rows} rows"))
}

fn offset_outside(offset: u64, total: u64) -> Problem {
    Problem::new(ProblemKind::RangeNotSatisfiable, "PGRST103", "Requested range not satisfiable")
        .details(format!("An offset of {offset} was requested, but there are only {total} rows."))
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;
    use http_body_util::BodyExt as _;
    use tidegate_types::{
        answer::{BypassReason, CacheStatus, Trace},
        query::ListQuery,
        request::ListRead,
    };

    use super::*;
    use crate::fixture;

    fn answered(
        offset: u64,
        json: &'static str,
        rows: u64,
        total: Option<u64>,
        format: Format,
        request: &HeaderMap,
    ) -> Reply {
        let query = ListQuery { offset, ..ListQuery::default() };
        let read = ListRead { collection: fixture::products(), query };
        let answer = ListAnswer {
            body: ListBody::new(Bytes::from_static(json.as_bytes()), rows, total),
            status: CacheStatus::Bypass(BypassReason::Mode),
            bounds: None,
            trace: Trace::default(),
        };
        list(ListCall { read, format, applied: None }, request, &answer, Cdn::OFF)
    }

    fn line(offset: u64, rows: u64, total: Option<u64>) -> String {
        let reply = answered(offset, "[]", rows, total, Format::Json, &HeaderMap::new());
        let range = reply.headers()[CONTENT_RANGE].to_str().expect("ascii").to_owned();
        format!("{} {range}", reply.status().as_u16())
    }

    #[test]
    fn status_and_content_range_follow_offset_rows_and_total() {
        assert_eq!(line(0, 5, None), "200 0-4/*");
        assert_eq!(line(10, 0, None), "200 */*");
        assert_eq!(line(0, 20, Some(20)), "200 0-19/20");
        assert_eq!(line(5, 5, Some(20)), "206 5-9/20");
        assert_eq!(line(0, 0, Some(0)), "200 */0");
        assert_eq!(line(20, 0, Some(20)), "206 */20");
        assert_eq!(line(21, 0, Some(20)), "416 */20");
    }

    #[tokio::test]
    async fn singular_takes_exactly_one() {
        let reply = answered(0, " [ {\"a\":[1]} ]\n", 1, None, Format::Object, &HeaderMap::new());
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/vnd.pgrst.object+json; charset=utf-8");
        assert_eq!(reply.into_body().collect().await.expect("body").to_bytes(), "{\"a\":[1]}");
        for rows in [0, 2] {
            let reply = answered(0, "[]", rows, None, Format::Object, &HeaderMap::new());
            assert_eq!(reply.status(), 406);
        }
    }

    #[test]
    fn lists_are_conditional_too() {
        let first = answered(0, "[{}]", 1, None, Format::Json, &HeaderMap::new());
        let request: HeaderMap = [(IF_NONE_MATCH, first.headers()[ETAG].clone())].into_iter().collect();
        assert_eq!(answered(0, "[{}]", 1, None, Format::Json, &request).status(), 304);
        assert_eq!(answered(0, "[{ }]", 1, None, Format::Json, &request).status(), 200);
    }
}
