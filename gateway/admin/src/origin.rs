//! Orders come from operators' tools, never from a page that happens to be open in their browser.
//!
//! A page of another site can make a browser send a request to a loopback address, without being able
//! to read the answer. So an order is refused where a browser says that it comes from elsewhere
//! (`Origin`, `Sec-Fetch-Site`). A page whose own name was pointed at this machine (DNS rebinding) would
//! pass that; where no token protects the listener, an order must therefore name it by an address or as
//! `localhost`. And a `POST` with a body must call it JSON, which no form of a page can.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header::HOST, header::ORIGIN};

use crate::{access::Access, reply::Refusal};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses orders that a foreign page may have sent.
pub(crate) fn check(access: &Access, headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if let Some(origin) = headers.get(ORIGIN) {
        let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Err(Refusal::ForeignOrigin);
        }
    }
    let site = headers.get(FETCH_SITE).map(|site| site.as_bytes());
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Err(Refusal::ForeignOrigin);
    }
    match access {
        Access::Loopback if !is_local(host) => Err(Refusal::ForeignHost),
        Access::Loopback | Access::Token(_) | Access::Closed => Ok(()),
    }
}

/// Whether an authority is an address or `localhost`: names can be pointed anywhere, these cannot.
fn is_local(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use tidegate_types::settings::Secret;

    use super::*;

    fn asked(access: &Access, headers: &[(&'static str, &'static str)]) -> Result<(), Refusal> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        check(access, &headers.collect())
    }

    #[test]
    fn tools_and_the_listeners_own_page_may_give_orders() {
        let local = ("host", "127.0.0.1:9090");
        assert_eq!(asked(&Access::Loopback, &[local]), Ok(()));
        assert_eq!(asked(&Access::Loopback, &[("host", "localhost:9090")]), Ok(()));
        assert_eq!(asked(&Access::Loopback, &[("host", "[::1]:9090")]), Ok(()));
        let own = [local, ("origin", "http://127.0.0.1:9090"), ("sec-fetch-site", "same-origin")];
        assert_eq!(asked(&Access::Loopback, &own), Ok(()));
    }

    #[test]
    fn other_pages_may_not() {
        let token = Access::Token(Secret::new("sesame".to_owned()));
        for access in [&Access::Loopback, &token] {
            for page in [
                ("origin", "http://evil.example"),
                ("origin", "http://127.0.0.1:9091"),
                ("origin", "null"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                assert_eq!(asked(access, &[("host", "127.0.0.1:9090"), page]), Err(Refusal::ForeignOrigin), "{page:?}");
            }
        }
    }

    #[test]
    fn a_name_pointed_at_this_machine_is_not_enough_without_a_token() {
        let rebound = [("host", "evil.example:9090"), ("origin", "http://evil.example:9090")];
        assert_eq!(asked(&Access::Loopback, &rebound), Err(Refusal::ForeignHost));
        assert_eq!(asked(&Access::Token(Secret::new("sesame".to_owned())), &rebound), Ok(()));
        for host in ["localhost.evil.example", "", "127.0.0.1.evil.example:9090"] {
            assert_eq!(asked(&Access::Loopback, &[("host", host)]), Err(Refusal::ForeignHost), "{host:?}");
        }
    }
}
