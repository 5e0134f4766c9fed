//! `[http]` and `[admin]`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tidegate_types::settings::{AdminSettings, CdnKeys, HttpSettings};

use crate::{
    report::Report,
    secret::Resolver,
    section::Section,
    value::{address, choice, duration, integer, size},
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TENTH: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
const CDNS: &[(&str, CdnKeys)] =
    &[("off", CdnKeys::Off), ("surrogate-key", CdnKeys::SurrogateKey), ("cache-tag", CdnKeys::CacheTag)];

pub(crate) fn http(mut section: Section<'_>, report: &mut Report<'_>) -> HttpSettings {
    let s = &mut section;
    let settings = HttpSettings {
        listen: s.or(report, "listen", SocketAddr::new(LOOPBACK, 8080), address),
        max_connections: s.or(report, "max_connections", 10_000, integer(1..=1_000_000)),
        header_timeout: s.or(report, "header_timeout", Duration::from_secs(10), duration(TENTH..=HOUR)),
        max_headers: s.or(report, "max_headers", 100, integer(8..=1_000)),
        max_uri_bytes: s.or(report, "max_uri_bytes", 8 << 10, size(256..=60 * KIB)),
        max_body_bytes: s.or(report, "max_body_bytes", 1 << 20, size(1..=256 * MIB)),
        body_timeout: s.or(report, "body_timeout", Duration::from_secs(30), duration(TENTH..=HOUR)),
        max_streams: s.or(report, "max_streams", 128, integer(1..=10_000)),
        request_timeout: s.or(report, "request_timeout", Duration::from_secs(30), duration(TENTH..=HOUR)),
        drain_delay: s.or(report, "drain_delay", Duration::from_secs(10), duration(Duration::ZERO..=HOUR)),
        drain_grace: s.or(report, "drain_grace", Duration::from_secs(20), duration(Duration::ZERO..=HOUR)),
        cdn: s.or(report, "cdn", CdnKeys::Off, choice(CDNS, &[])),
    };
    section.finish(report);
    settings
}

pub(crate) fn admin(mut section: Section<'_>, report: &mut Report<'_>, resolver: &Resolver<'_>) -> AdminSettings {
    let settings = AdminSettings {
        listen: section.or(report, "listen", SocketAddr::new(LOOPBACK, 9090), address),
        token: section.optional(report, "token", |value| resolver.token(value)),
    };
    section.finish(report);
    settings
}
