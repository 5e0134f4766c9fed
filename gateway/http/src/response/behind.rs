//! Fields and bodies of writes that were acknowledged before their shard has them.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
};
use serde::Serialize;
use tidegate_types::answer::{Acknowledged, WriteFate, WriteStatus};

use super::{Reply, fields, reply};
use crate::router::STATUS_PATH;

const DURABILITY: HeaderName = HeaderName::from_static("tidegate-durability");
const SEQUENCE: HeaderName = HeaderName::from_static("tidegate-sequence");
const STATUS: HeaderName = HeaderName::from_static("tidegate-status");

/// What an acknowledgement says besides its status. `Location` of a new row stays where it was asked for.
pub(super) fn fields(headers: &mut HeaderMap, acknowledged: &Acknowledged) {
    let Acknowledged { class, sequence, token } = acknowledged;
    headers.insert(DURABILITY, HeaderValue::from_static(class.as_str()));
    headers.insert(SEQUENCE, HeaderValue::from(sequence.0));
    let url = fields::ascii(format!("{STATUS_PATH}{token}").as_bytes());
    headers.entry(LOCATION).or_insert(url.clone());
    headers.insert(STATUS, url);
}

#[derive(Serialize)]
struct StatusBody<'a> {
    status: &'static str,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// What became of a write.
pub(crate) fn status(status: &WriteStatus) -> Reply {
    let (word, code, reason) = match &status.fate {
        WriteFate::Pending => ("pending", None, None),
        WriteFate::Applied => ("applied", None, None),
        WriteFate::Failed { code, reason } => ("failed", Some(&**code), Some(&**reason)),
    };
    let body = StatusBody { status: word, sequence: status.sequence.0, code, reason };
    let json = serde_json::to_vec(&body).unwrap_or_default();
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, fields::JSON);
    headers.insert(CACHE_CONTROL, fields::NO_STORE);
    reply(StatusCode::OK, headers, Bytes::from(json))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tidegate_types::mutation::Sequence;

    use super::*;

    #[tokio::test]
    async fn a_status_says_where_the_write_is_and_why_it_failed() {
        let failed = WriteFate::Failed { code: "23514".into(), reason: "violates a check".into() };
        for (fate, expected) in [
            (WriteFate::Pending, r#"{"status":"pending","sequence":7}"#),
            (WriteFate::Applied, r#"{"status":"applied","sequence":7}"#),
            (failed, r#"{"status":"failed","sequence":7,"code":"23514","reason":"violates a check"}"#),
        ] {
            let reply = status(&WriteStatus { sequence: Sequence(7), fate });
            assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(reply.into_body().collect().await.expect("body").to_bytes(), expected);
        }
    }
}
