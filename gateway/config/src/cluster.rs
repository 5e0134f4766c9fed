//! `[cluster]`

use std::{net::SocketAddr, time::Duration};

use tidegate_types::settings::ClusterSettings;
use toml::de::DeValue;

use crate::{
    report::Report,
    secret::Resolver,
    section::{Reading, Section},
    value::{address, duration, text},
};

const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(10);
/// Bytes of a gateway's name.
const MAX_ID: usize = 64;

/// `None` without the table: there is one gateway.
pub(crate) fn read(
    mut section: Section<'_>,
    report: &mut Report<'_>,
    resolver: &Resolver<'_>,
) -> Option<ClusterSettings> {
    if !section.is_given() {
        return None;
    }
    let s = &mut section;
    let id = s.or(report, "id", "gateway".to_owned(), id);
    let listen: Option<SocketAddr> = s.required(report, "listen", address);
    let advertise = s.optional(report, "advertise", host_and_port);
    let secret = s.required(report, "secret", |value| resolver.shared_secret(value));
    let lease = s.or(report, "lease", Duration::from_secs(1), duration(LEASES));
    if listen.is_some_and(|listen| listen.ip().is_unspecified()) && !section.has("advertise") {
        section.complain(
            report,
            "advertise",
            "is required where `listen` is on every address: other gateways must know one that reaches this one",
        );
    }
    section.finish(report);
    Some(ClusterSettings { id, listen: listen?, advertise, secret: secret?, lease })
}

fn id(value: &DeValue<'_>) -> Reading<String> {
    let id = text(value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > MAX_ID || !id.chars().all(plain) {
        return Err(format!("expected 1 to {MAX_ID} letters, digits, `.`, `_` or `-`"));
    }
    Ok(id)
}

fn host_and_port(value: &DeValue<'_>) -> Reading<String> {
    let address = text(value)?;
    let fits = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_fits = !host.is_empty() && (bracketed || !host.contains(':'));
        host_fits && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
    });
    if fits && address.len() <= 255 {
        Ok(address)
    } else {
        Err("expected a host and a port such as \"gateway-1.internal:7946\" or \"[fd00::1]:7946\"".to_owned())
    }
}
