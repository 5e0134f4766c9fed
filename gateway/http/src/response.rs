//! From what the pipelines answer to HTTP responses: one module per kind of answer.

mod behind;
mod cdn;
mod fields;
mod list;
mod problem;
mod row;
mod write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

pub(crate) use self::{
    behind::status,
    cdn::Cdn,
    fields::{cors, options, server_timing},
    list::list,
    problem::problem,
    row::row,
    write::{Asked, unchanged, write},
};

/// A response whose body is in memory.
pub type Reply = Response<Full<Bytes>>;

/// A response of parts.
fn reply(status: StatusCode, headers: HeaderMap, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

/// `Preference-Applied`, where a preference was.
fn applied(headers: &mut HeaderMap, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(fields::PREFERENCE_APPLIED, value);
    }
}
