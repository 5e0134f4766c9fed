//! Header fields that several kinds of responses share. Constants where they can be: the hit path
//! formats two numbers and a tag.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, AGE, ALLOW, ORIGIN,
    },
};
use tidegate_types::{
    answer::{BypassReason, CacheStatus, Collapse, ETag, NotStored, StaleReason},
    collection::Visibility,
    policy::Narrowed,
};

use super::{Reply, reply};
use crate::parse::accept::Format;

pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `Cache-Status` of a write that filled the cache.
pub(super) const REFILLED: HeaderValue = HeaderValue::from_static("tidegate; fwd=method; stored");

/// What a row's representation depends on besides its URL.
const VARY_ROW: &str = "Accept, Prefer";
/// The same for a list.
const VARY_LIST: &str = "Accept, Prefer, Range";
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const OBJECT: HeaderValue = HeaderValue::from_static("application/vnd.pgrst.object+json; charset=utf-8");

/// `Content-Type`.
pub(super) const fn content_type(format: Format) -> HeaderValue {
    match format {
        Format::Json => JSON,
        Format::Object => OBJECT,
    }
}

/// `Cache-Control`: a client or shared cache may keep the response and asks again each time.
pub(super) const fn cache_control(visibility: Visibility) -> HeaderValue {
    match visibility {
        Visibility::Private => HeaderValue::from_static("private, no-cache"),
        Visibility::Public => HeaderValue::from_static("public, no-cache"),
    }
}

/// `Vary` of a row: what every representation depends on, and what a cache policy tells answers apart by.
pub(super) fn vary_row(bounds: Option<&Narrowed>) -> HeaderValue {
    vary(VARY_ROW, bounds)
}

/// The same for a list.
pub(super) fn vary_list(bounds: Option<&Narrowed>) -> HeaderValue {
    vary(VARY_LIST, bounds)
}

fn vary(always: &'static str, bounds: Option<&Narrowed>) -> HeaderValue {
    let policy = bounds.map_or(&[][..], |bounds| &bounds.vary);
    if policy.is_empty() {
        return HeaderValue::from_static(always);
    }
    let known = |name: &HeaderName| always.split(", ").any(|known| known.eq_ignore_ascii_case(name.as_str()));
    let mut field = always.to_owned();
    for name in policy.iter().filter(|name| !known(name)) {
        field.push_str(", ");
        field.push_str(name.as_str());
    }
    ascii(field.as_bytes())
}

/// `Cache-Status`, and `Age` of what was not read just now.
pub(super) fn cache(headers: &mut HeaderMap, status: &CacheStatus) {
    if let CacheStatus::Hit { age, .. } | CacheStatus::Stale { age, .. } = status {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    headers.insert(CACHE_STATUS, cache_status(status));
}

/// `Cache-Status` (RFC 9211).
fn cache_status(status: &CacheStatus) -> HeaderValue {
    use Collapse::{Joined, Led};
    match status {
        CacheStatus::Hit { ttl, .. } => hit(*ttl),
        CacheStatus::Stale { late, reason, .. } => stale(*late, *reason),
        CacheStatus::MissStored { collapse: Led, .. } => HeaderValue::from_static("tidegate; fwd=miss; stored"),
        CacheStatus::MissStored { collapse: Joined, .. } => {
            HeaderValue::from_static("tidegate; fwd=miss; stored; collapsed")
        }
        CacheStatus::MissNotStored { collapse, reason } => HeaderValue::from_static(match (collapse, reason) {
            (Led, NotStored::Floor) => "tidegate; fwd=miss; detail=floor",
            (Led, NotStored::TooLarge) => "tidegate; fwd=miss; detail=too-large",
            (Led, NotStored::Epoch) => "tidegate; fwd=miss; detail=epoch",
            (Led, NotStored::Purged) => "tidegate; fwd=miss; detail=purged",
            (Led, NotStored::FirstAsked) => "tidegate; fwd=miss; detail=first-asked",
            (Joined, NotStored::Floor) => "tidegate; fwd=miss; collapsed; detail=floor",
            (Joined, NotStored::TooLarge) => "tidegate; fwd=miss; collapsed; detail=too-large",
            (Joined, NotStored::Epoch) => "tidegate; fwd=miss; collapsed; detail=epoch",
            (Joined, NotStored::Purged) => "tidegate; fwd=miss; collapsed; detail=purged",
            (Joined, NotStored::FirstAsked) => "tidegate; fwd=miss; collapsed; detail=first-asked",
        }),
        CacheStatus::Dirty => HeaderValue::from_static("tidegate; hit; detail=dirty"),
        CacheStatus::Bypass(reason) => HeaderValue::from_static(match reason {
            BypassReason::Mode => "tidegate; fwd=bypass",
            BypassReason::Timely => "tidegate; fwd=bypass; detail=timely",
            BypassReason::Policy => "tidegate; fwd=bypass; detail=policy",
            BypassReason::PolicyFailed => "tidegate; fwd=bypass; detail=policy-failed",
            BypassReason::Behind => "tidegate; fwd=bypass; detail=feed-behind",
            BypassReason::Settling => "tidegate; fwd=bypass; detail=settling",
        }),
    }
}

fn hit(ttl: Duration) -> HeaderValue {
    const START: &[u8] = b"tidegate; hit; ttl=";
    // A u64 has at most 20 digits.
    let mut field = [0_u8; START.len() + 20];
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(ttl.as_secs()).as_bytes();
    let end = START.len() + digits.len();
    field[..START.len()].copy_from_slice(START);
    field[START.len()..end].copy_from_slice(digits);
    ascii(&field[..end])
}

/// The time it is late as a negative `ttl` (RFC 9211, 2.6), rounded away from zero.
fn stale(late: Duration, reason: StaleReason) -> HeaderValue {
    let detail = match reason {
        StaleReason::Revalidating => "stale-while-revalidate",
        StaleReason::Error => "stale-if-error",
    };
    ascii(format!("tidegate; hit; ttl=-{}; detail={detail}", late.as_secs() + 1).as_bytes())
}

/// `ETag`.
pub(super) fn etag(tag: ETag) -> HeaderValue {
    ascii(&tag.to_field())
}

/// A field of bytes that are known to be visible ASCII.
pub(super) fn ascii(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(bytes)).unwrap_or(HeaderValue::from_static(""))
}

/// `Server-Timing` of a request that was not a hit.
pub(crate) fn server_timing(headers: &mut HeaderMap, elapsed: Duration) {
    let micros = elapsed.as_micros();
    let field = format!("total;dur={}.{:03}", micros / 1000, micros % 1000);
    headers.insert(SERVER_TIMING, ascii(field.as_bytes()));
}

/// Lets browsers of any origin read the response: nothing here rests on ambient credentials.
pub(crate) fn cors(request: &HeaderMap, response: &mut HeaderMap) {
    if request.contains_key(ORIGIN) {
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, \
                 Transfer-Encoding, Range-Unit, ETag, Age, Cache-Status, Preference-Applied, Retry-After, Server-Timing, \
                 Tidegate-Durability, Tidegate-Sequence, Tidegate-Status",
            ),
        );
    }
}

/// The answer to OPTIONS, a CORS preflight included.
pub(crate) fn options(request: &HeaderMap, allow: HeaderValue) -> Reply {
    let mut headers = HeaderMap::with_capacity(8);
    if request.contains_key(ORIGIN) && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"),
        );
        let mut allowed = b"Authorization, Content-Type, Accept, Prefer, Range, Range-Unit, If-Match, If-None-Match, \
            Idempotency-Key, X-Retry-Count"
            .to_vec();
        if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            allowed.extend_from_slice(b", ");
            allowed.extend_from_slice(asked.as_bytes());
        }
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ascii(&allowed));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    headers.insert(ALLOW, allow);
    reply(StatusCode::OK, headers, Bytes::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_status_reads_as_rfc_9211_has_it() {
        let seconds = Duration::from_secs;
        let cases = [
            (CacheStatus::Hit { age: seconds(1), ttl: seconds(59) }, "tidegate; hit; ttl=59"),
            (CacheStatus::Hit { age: seconds(1), ttl: Duration::MAX }, "tidegate; hit; ttl=18446744073709551615"),
            (CacheStatus::MissStored { collapse: Collapse::Led, ttl: seconds(60) }, "tidegate; fwd=miss; stored"),
            (
                CacheStatus::MissStored { collapse: Collapse::Joined, ttl: seconds(60) },
                "tidegate; fwd=miss; stored; collapsed",
            ),
            (
                CacheStatus::MissNotStored { collapse: Collapse::Led, reason: NotStored::Floor },
                "tidegate; fwd=miss; detail=floor",
            ),
            (
                CacheStatus::MissNotStored { collapse: Collapse::Joined, reason: NotStored::Purged },
                "tidegate; fwd=miss; collapsed; detail=purged",
            ),
            (
                CacheStatus::Stale { age: seconds(63), late: seconds(3), reason: StaleReason::Revalidating },
                "tidegate; hit; ttl=-4; detail=stale-while-revalidate",
            ),
            (
                CacheStatus::Stale { age: seconds(63), late: seconds(0), reason: StaleReason::Error },
                "tidegate; hit; ttl=-1; detail=stale-if-error",
            ),
            (CacheStatus::Dirty, "tidegate; hit; detail=dirty"),
            (CacheStatus::Bypass(BypassReason::Behind), "tidegate; fwd=bypass; detail=feed-behind"),
            (CacheStatus::Bypass(BypassReason::Mode), "tidegate; fwd=bypass"),
            (CacheStatus::Bypass(BypassReason::Timely), "tidegate; fwd=bypass; detail=timely"),
            (CacheStatus::Bypass(BypassReason::Policy), "tidegate; fwd=bypass; detail=policy"),
            (CacheStatus::Bypass(BypassReason::PolicyFailed), "tidegate; fwd=bypass; detail=policy-failed"),
            (CacheStatus::Bypass(BypassReason::Settling), "tidegate; fwd=bypass; detail=settling"),
        ];
        for (status, field) in cases {
            assert_eq!(cache_status(&status), field);
        }
    }

    #[test]
    fn vary_names_what_a_policy_tells_answers_apart_by_each_once() {
        let names = ["x-region", "accept", "accept-language", "range"].map(HeaderName::from_static);
        let bounds = Narrowed { vary: names.to_vec(), ..Narrowed::default() };
        assert_eq!(vary_row(None), "Accept, Prefer");
        assert_eq!(vary_row(Some(&Narrowed::default())), "Accept, Prefer");
        assert_eq!(vary_row(Some(&bounds)), "Accept, Prefer, x-region, accept-language, range");
        assert_eq!(vary_list(Some(&bounds)), "Accept, Prefer, Range, x-region, accept-language");
    }

    #[test]
    fn timings_are_milliseconds() {
        let mut headers = HeaderMap::new();
        server_timing(&mut headers, Duration::from_micros(12_034));
        assert_eq!(headers[SERVER_TIMING], "total;dur=12.034");
    }
}
