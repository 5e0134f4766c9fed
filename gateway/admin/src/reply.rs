//! Bodies, and errors in the gateway's one shape: `{code, details, hint, message}`.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{self, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use serde::Serialize;
use tidegate_types::problem::codes;

use crate::control::{Refused, Why};

pub(crate) type Reply = Response<Full<Bytes>>;

pub(crate) const JSON: &str = "application/json; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// What `prometheus-client` writes; every Prometheus since 2.5 asks for it.
pub(crate) const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The console has a style and nothing else: no script, no form, no frame around it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Why a request gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    /// With the methods that the path has.
    MethodNotAllowed(&'static str),
    TokenMissing,
    WrongToken,
    NoTokenConfigured,
    Starting,
    Unprintable,
    /// No plugin of this name.
    NoSuchPlugin,
    /// A browser says that the order comes from a page of another site.
    ForeignOrigin,
    /// The order names the listener by a name that anybody could point here.
    ForeignHost,
    NotJson,
    BodyTooLarge {
        limit: usize,
    },
    BodyTimeout,
    BodyCut,
    TooManyOrders,
    OrderFailed,
    /// The order was understood, or nearly, and changed nothing.
    Order(Refused),
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    details: Option<&'a str>,
    hint: Option<&'a str>,
    message: &'a str,
}

/// An order that makes no sense.
pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused { why: Why::Invalid, message: message.into(), details: None, hint: Some(hint.into()) }
}

/// The status and code of an order that changed nothing.
const fn of_order(why: Why) -> (StatusCode, &'static str) {
    match why {
        Why::UnknownPlugin => (StatusCode::NOT_FOUND, codes::UNKNOWN_PLUGIN),
        Why::NothingStaged => (StatusCode::CONFLICT, codes::NOTHING_STAGED),
        Why::NothingBefore => (StatusCode::CONFLICT, codes::NOTHING_BEFORE),
        Why::Refused => (StatusCode::UNPROCESSABLE_ENTITY, codes::PLUGIN_REFUSED),
        Why::Moves => (StatusCode::CONFLICT, codes::ROWS_WOULD_MOVE),
        Why::Signature => (StatusCode::FORBIDDEN, codes::SIGNATURE),
        Why::Downgrade => (StatusCode::CONFLICT, codes::DOWNGRADE),
        Why::Invalid => (StatusCode::BAD_REQUEST, codes::BAD_ORDER),
        Why::Disk => (StatusCode::INTERNAL_SERVER_ERROR, codes::DISK),
        Why::Configuration => (StatusCode::UNPROCESSABLE_ENTITY, codes::CONFIGURATION),
        Why::NoLetter => (StatusCode::NOT_FOUND, codes::NO_LETTER),
        Why::StillDead => (StatusCode::CONFLICT, codes::STILL_DEAD),
        Why::ShardDown => (StatusCode::SERVICE_UNAVAILABLE, codes::SHARD_UNAVAILABLE),
        Why::Unheard => (StatusCode::SERVICE_UNAVAILABLE, codes::PURGED_HERE_ONLY),
        Why::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "XX000"),
    }
}

type Parts = (StatusCode, &'static str, &'static str, Option<&'static str>);

impl Refusal {
    /// All but orders, which bring their own words.
    fn parts(&self) -> Parts {
        match self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "PGRST125",
                "There is nothing at this path of the admin listener",
                Some("GET / lists what there is. Data is on the public listener, under /v1/."),
            ),
            Self::MethodNotAllowed(_) => {
                (StatusCode::METHOD_NOT_ALLOWED, "PGRST117", "This path does not have this method; see Allow", None)
            }
            Self::NoTokenConfigured | Self::TokenMissing | Self::WrongToken => self.token_parts(),
            Self::Starting => {
                (StatusCode::SERVICE_UNAVAILABLE, codes::STARTING, "The gateway is still reading its catalogs", None)
            }
            Self::Unprintable => (StatusCode::INTERNAL_SERVER_ERROR, "XX000", "The answer could not be written", None),
            Self::NoSuchPlugin => (
                StatusCode::NOT_FOUND,
                codes::UNKNOWN_PLUGIN,
                "There is no plugin of this name",
                Some("GET /admin/plugins lists them; their names are those of [policies.HOOK] plugin."),
            ),
            Self::ForeignOrigin | Self::ForeignHost => self.origin_parts(),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                codes::BAD_ORDER,
                "The body of this order must be called JSON",
                Some("Send Content-Type: application/json, or no body."),
            ),
            Self::BodyTooLarge { .. } | Self::BodyTimeout | Self::BodyCut => self.body_parts(),
            Self::TooManyOrders => (
                StatusCode::TOO_MANY_REQUESTS,
                codes::OVERLOADED,
                "Other orders are being carried out",
                Some("Repeat it when they are done."),
            ),
            Self::OrderFailed | Self::Order(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "XX000", "The order failed; the log says why", None)
            }
        }
    }

    fn token_parts(&self) -> Parts {
        match self {
            Self::NoTokenConfigured => (
                StatusCode::FORBIDDEN,
                codes::ADMIN_TOKEN,
                "This path is closed: the listener is not on a loopback address and there is no admin token",
                Some("Set token in [admin] of the configuration."),
            ),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, codes::ADMIN_TOKEN, "This is not the admin token", None),
            _ => (
                StatusCode::UNAUTHORIZED,
                codes::ADMIN_TOKEN,
                "This path needs the admin token",
                Some("Send Authorization: Bearer TOKEN with the token of [admin] in the configuration."),
            ),
        }
    }

    fn origin_parts(&self) -> Parts {
        match self {
            Self::ForeignHost => (
                StatusCode::FORBIDDEN,
                codes::FOREIGN_ORDER,
                "Without an admin token, orders must name this listener by its address or as localhost",
                Some("Use http://127.0.0.1:PORT, or set token in [admin]: any page could have sent this."),
            ),
            _ => (
                StatusCode::FORBIDDEN,
                codes::FOREIGN_ORDER,
                "Orders are not taken from pages of other sites",
                Some("Give orders with curl or another tool, or from a page of this listener."),
            ),
        }
    }

    fn body_parts(&self) -> Parts {
        match self {
            Self::BodyTooLarge { limit } if *limit > 1 << 20 => {
                (StatusCode::PAYLOAD_TOO_LARGE, codes::LIMIT_EXCEEDED, "A plugin has at most 64 MiB", None)
            }
            Self::BodyTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, codes::LIMIT_EXCEEDED, "This body has at most 16 KiB", None)
            }
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, codes::LIMIT_EXCEEDED, "The body did not arrive in time", None)
            }
            _ => (StatusCode::BAD_REQUEST, codes::BAD_HTTP, "The body was cut short", None),
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let reply =
            |status, body: &ErrorBody<'_>| with_body(status, JSON, serde_json::to_vec(body).unwrap_or_default());
        let mut reply = match &refusal {
            Refusal::Order(Refused { why, message, details, hint }) => {
                let (status, code) = of_order(*why);
                reply(status, &ErrorBody { code, details: details.as_deref(), hint: hint.as_deref(), message })
            }
            other => {
                let (status, code, message, hint) = other.parts();
                reply(status, &ErrorBody { code, details: None, hint, message })
            }
        };
        let mut header = |name, value| drop(reply.headers_mut().insert(name, HeaderValue::from_static(value)));
        match refusal {
            Refusal::MethodNotAllowed(allowed) => header(ALLOW, allowed),
            Refusal::TokenMissing => header(WWW_AUTHENTICATE, "Bearer"),
            Refusal::WrongToken => header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            Refusal::Starting => header(RETRY_AFTER, "1"),
            Refusal::TooManyOrders => header(RETRY_AFTER, "5"),
            _ => {}
        }
        reply
    }
}

/// An answer. It describes this moment, so nobody may keep it.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if content_type == HTML {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    }
    reply
}

/// A value as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Refusal> {
    let body = serde_json::to_vec(value).map_err(|_| Refusal::Unprintable)?;
    Ok(with_body(status, JSON, body))
}
