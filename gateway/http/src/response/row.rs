//! Answers to keyed reads.

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY},
};
use tidegate_types::{
    answer::RowAnswer,
    problem::{Problem, ProblemKind, codes},
};

use super::{
    Reply, applied,
    cdn::{Cdn, Offered, What},
    fields,
    problem::problem,
    reply,
};
use crate::parse::{
    call::RowCall,
    condition::{self, Verdict},
};

/// The response to a keyed read: 200, 304, 404 or 412, each with what the cache did.
pub(crate) fn row(call: RowCall, request: &HeaderMap, answer: RowAnswer, cdn: Cdn) -> Reply {
    let collection = &call.read.collection;
    let offered = Offered {
        collection,
        what: if answer.row.is_some() { What::Row(&call.read.key) } else { What::NoRow(&call.read.key) },
        bounds: answer.bounds.as_deref(),
        status: answer.status,
    };
    let Some(row) = answer.row else {
        let mut missing = problem(&row_not_found(&call));
        let headers = missing.headers_mut();
        headers.insert(CACHE_CONTROL, fields::cache_control(collection.visibility));
        headers.insert(VARY, fields::vary_row(answer.bounds.as_deref()));
        fields::cache(headers, &answer.status);
        cdn.offer(headers, &offered);
        return missing;
    };
    let verdict = condition::evaluate(request, row.etag);
    if verdict == Verdict::Failed {
        let mut failed = problem(&condition::failed());
        fields::cache(failed.headers_mut(), &answer.status);
        return failed;
    }
    // As many as a hit has without a CDN.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(ETAG, fields::etag(row.etag));
    headers.insert(CACHE_CONTROL, fields::cache_control(collection.visibility));
    headers.insert(VARY, fields::vary_row(answer.bounds.as_deref()));
    fields::cache(&mut headers, &answer.status);
    cdn.offer(&mut headers, &offered);
    applied(&mut headers, call.applied);
    if verdict == Verdict::NotModified {
        return reply(StatusCode::NOT_MODIFIED, headers, Bytes::new());
    }
    headers.insert(CONTENT_TYPE, fields::content_type(call.format));
    reply(StatusCode::OK, headers, row.json)
}

fn row_not_found(call: &RowCall) -> Problem {
    let message = format!("No row of {} has the key {}", call.read.collection.name, call.read.key);
    Problem::new(ProblemKind::RowNotFound, codes::ROW_NOT_FOUND, message)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http::header::{AGE, IF_MATCH, IF_NONE_MATCH};
    use http_body_util::BodyExt as _;
    use tidegate_types::{
        answer::{CacheStatus, Collapse, RowBody, Trace},
        key::{KeyValue, RowKey},
        policy::Narrowed,
        query::Projection,
        request::RowRead,
    };

    use super::*;
    use crate::{fixture, parse::accept::Format};

    const HIT: CacheStatus = CacheStatus::Hit { age: Duration::from_secs(3), ttl: Duration::from_secs(57) };
    const MISS: CacheStatus = CacheStatus::MissStored { collapse: Collapse::Led, ttl: Duration::from_secs(60) };

    fn answered(json: Option<&'static str>, status: CacheStatus, condition: &[(http::HeaderName, &str)]) -> Reply {
        answered_within(json, status, condition, None)
    }

    fn answered_within(
        json: Option<&'static str>,
        status: CacheStatus,
        condition: &[(http::HeaderName, &str)],
        bounds: Option<Arc<Narrowed>>,
    ) -> Reply {
        let read = RowRead {
            collection: fixture::products(),
            key: RowKey::single(KeyValue::Int(42)),
            projection: Projection::Whole,
        };
        let request = condition.iter().map(|(n, v)| (n.clone(), v.parse().expect("valid"))).collect();
        let found = json.map(|json| RowBody::new(Bytes::from_static(json.as_bytes())));
        let answer = RowAnswer { row: found, status, bounds, trace: Trace::default() };
        row(RowCall { read, format: Format::Json, applied: None }, &request, answer, Cdn::OFF)
    }

    fn shown(reply: &Reply) -> Vec<String> {
        let mut fields: Vec<_> =
            reply.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().expect("ascii"))).collect();
        fields.sort();
        fields
    }

    #[tokio::test]
    async fn a_hit_says_so_with_age_and_tag() {
        let reply = answered(Some("{\"id\":42}"), HIT, &[]);
        assert_eq!(reply.status(), StatusCode::OK);
        let tag = RowBody::new(Bytes::from_static(b"{\"id\":42}")).etag.to_field();
        let tag = format!("etag: {}", std::str::from_utf8(&tag).expect("ascii"));
        assert_eq!(
            shown(&reply),
            [
                "age: 3",
                "cache-control: private, no-cache",
                "cache-status: tidegate; hit; ttl=57",
                "content-type: application/json; charset=utf-8",
                tag.as_str(),
                "vary: Accept, Prefer",
            ]
        );
        assert_eq!(reply.into_body().collect().await.expect("body").to_bytes(), "{\"id\":42}");
    }

    #[test]
    fn a_miss_has_no_age() {
        let reply = answered(Some("{}"), MISS, &[]);
        assert!(!reply.headers().contains_key(AGE));
        assert_eq!(reply.headers()[fields::CACHE_STATUS], "tidegate; fwd=miss; stored");
    }

    #[tokio::test]
    async fn a_known_version_is_304_without_body() {
        let tag = answered(Some("{}"), HIT, &[]).headers()[ETAG].to_str().expect("ascii").to_owned();
        let reply = answered(Some("{}"), HIT, &[(IF_NONE_MATCH, &tag)]);
        assert_eq!(reply.status(), StatusCode::NOT_MODIFIED);
        assert!(!reply.headers().contains_key(CONTENT_TYPE));
        assert_eq!(reply.headers()[fields::CACHE_STATUS], "tidegate; hit; ttl=57");
        assert!(reply.into_body().collect().await.expect("body").to_bytes().is_empty());
    }

    #[test]
    fn what_a_policy_tells_answers_apart_by_stands_in_vary_of_every_answer() {
        let vary = vec![http::HeaderName::from_static("x-region")];
        let bounds = Some(Arc::new(Narrowed { vary, ..Narrowed::default() }));
        let tag = answered(Some("{}"), HIT, &[]).headers()[ETAG].to_str().expect("ascii").to_owned();
        for (json, condition, status) in [
            (Some("{}"), &[][..], StatusCode::OK),
            (Some("{}"), &[(IF_NONE_MATCH, &*tag)][..], StatusCode::NOT_MODIFIED),
            (None, &[][..], StatusCode::NOT_FOUND),
        ] {
            let reply = answered_within(json, HIT, condition, bounds.clone());
            assert_eq!(
                (reply.status(), &reply.headers()[VARY]),
                (status, &"Accept, Prefer, x-region".parse().expect("valid"))
            );
        }
    }

    #[test]
    fn if_match_guards_reads_too() {
        assert_eq!(answered(Some("{}"), HIT, &[(IF_MATCH, "\"x\"")]).status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(answered(Some("{}"), HIT, &[(IF_MATCH, "*")]).status(), StatusCode::OK);
    }

    #[test]
    fn a_missing_row_is_404_with_cache_fields() {
        let reply = answered(None, HIT, &[]);
        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
        assert_eq!(reply.headers()[fields::CACHE_STATUS], "tidegate; hit; ttl=57");
        assert_eq!(reply.headers()[AGE], "3");
        assert_eq!(reply.headers()[CACHE_CONTROL], "private, no-cache");
        assert_eq!(reply.headers()[VARY], "Accept, Prefer");
    }
}
