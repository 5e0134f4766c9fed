//! Bodies, and errors in the gateway's one shape: `{code, details, hint, message}`.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use serde::Serialize;
use tidegate_types::problem::codes;

pub(crate) type Reply = Response<Full<Bytes>>;

pub(crate) const JSON: &str = "application/json; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// What `prometheus-client` writes; every Prometheus since 2.5 asks for it.
pub(crate) const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why a request gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    MethodNotAllowed,
    TokenMissing,
    WrongToken,
    NoTokenConfigured,
    Starting,
    Unprintable,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    details: Option<&'a str>,
    hint: Option<&'a str>,
    message: &'a str,
}

impl Refusal {
    fn parts(self) -> (StatusCode, &'static str, &'static str, Option<&'static str>) {
        match self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "PGRST125",
                "There is nothing at this path of the admin listener",
                Some("GET / lists what there is. Data is on the public listener, under /v1/."),
            ),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "PGRST117", "This path is read with GET or HEAD", None)
            }
            Self::TokenMissing => (
                StatusCode::UNAUTHORIZED,
                codes::ADMIN_TOKEN,
                "This path needs the admin token",
                Some("Send Authorization: Bearer TOKEN with the token of [admin] in the configuration."),
            ),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, codes::ADMIN_TOKEN, "This is not the admin token", None),
            Self::NoTokenConfigured => (
                StatusCode::FORBIDDEN,
                codes::ADMIN_TOKEN,
                "This path is closed: the listener is not on a loopback address and there is no admin token",
                Some("Set token in [admin] of the configuration."),
            ),
            Self::Starting => {
                (StatusCode::SERVICE_UNAVAILABLE, codes::STARTING, "The gateway is still reading its catalogs", None)
            }
            Self::Unprintable => (StatusCode::INTERNAL_SERVER_ERROR, "XX000", "The answer could not be written", None),
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let (status, code, message, hint) = refusal.parts();
        let body = serde_json::to_vec(&ErrorBody { code, details: None, hint, message }).unwrap_or_default();
        let mut reply = with_body(status, JSON, body);
        let mut header = |name, value| drop(reply.headers_mut().insert(name, HeaderValue::from_static(value)));
        match refusal {
            Refusal::MethodNotAllowed => header(ALLOW, "GET, HEAD"),
            Refusal::TokenMissing => header(WWW_AUTHENTICATE, "Bearer"),
            Refusal::WrongToken => header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            Refusal::Starting => header(RETRY_AFTER, "1"),
            Refusal::NotFound | Refusal::NoTokenConfigured | Refusal::Unprintable => {}
        }
        reply
    }
}

/// An answer. It describes this moment, so nobody may keep it.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Reply, Refusal> {
    let body = serde_json::to_vec(value).map_err(|_| Refusal::Unprintable)?;
    Ok(with_body(StatusCode::OK, JSON, body))
}
