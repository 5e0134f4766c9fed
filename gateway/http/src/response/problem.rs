//! Errors as clients see them: exactly `{"code","details","hint","message"}`.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use tidegate_types::problem::{Problem, Retry};

use super::{Reply, fields, reply};
use crate::status;

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    details: Option<&'a str>,
    hint: Option<&'a str>,
    message: &'a str,
}

/// The response to a request that failed.
pub(crate) fn problem(problem: &Problem) -> Reply {
    let body = Body {
        code: &problem.code,
        details: problem.details.as_deref(),
        hint: problem.hint.as_deref(),
        message: &problem.message,
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, fields::JSON);
    headers.insert(CACHE_CONTROL, fields::NO_STORE);
    if let Retry::After(delay) = problem.retry {
        // Whole seconds, and never 0: that would invite a storm.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    // Strings always serialize.
    let json = serde_json::to_vec(&body).unwrap_or_default();
    reply(status::of(problem.kind), headers, Bytes::from(json))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use tidegate_types::problem::ProblemKind;

    use super::*;

    #[tokio::test]
    async fn the_body_has_four_members_in_order() {
        let reply = problem(&Problem::new(ProblemKind::BadRequest, "PGRST100", "a \"quoted\" part").hint("h"));
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
        assert_eq!(
            reply.into_body().collect().await.expect("body").to_bytes(),
            r#"{"code":"PGRST100","details":null,"hint":"h","message":"a \"quoted\" part"}"#
        );
    }

    #[test]
    fn retry_after_is_rounded_up_to_seconds() {
        for (delay, field) in [(Duration::ZERO, "1"), (Duration::from_millis(1500), "2"), (Duration::from_secs(3), "3")]
        {
            let reply = problem(&Problem::new(ProblemKind::ShardUnavailable, "TG003", "x").retry_after(delay));
            assert_eq!((reply.status().as_u16(), reply.headers()[RETRY_AFTER].to_str().expect("ascii")), (503, field));
        }
    }
}
