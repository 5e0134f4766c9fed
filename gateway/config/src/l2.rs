//! `[cache] l2`: the URL of the shared tier. No message of this module repeats it: it may hold a password.

use percent_encoding::percent_decode_str;
use tidegate_types::settings::{L2Layout, L2Servers, Secret};

use crate::section::Reading;

/// Where Redis and Valkey listen, and where sentinels do.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

const FORM: &str = "expected a URL such as \"redis://host:6379/0\", \"redis+sentinel://host:26379,host/service\", \
    \"redis+cluster://host:6379,host\", \"env:NAME\" or \"file:PATH\"";

/// What can be said about the URL without connecting.
pub(crate) fn servers(url: &str) -> Reading<L2Servers> {
    let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
    let scheme = scheme.to_ascii_lowercase();
    let (kind, sort) = scheme.split_once('+').unwrap_or((&scheme, ""));
    match kind {
        "redis" | "valkey" => {}
        "rediss" | "valkeys" => {
            return Err("TLS to the shared tier is not supported by this version; use a trusted network or a local \
                        proxy"
                .to_owned());
        }
        _ => return Err(FORM.to_owned()),
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces; write %20".to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("the URL takes no options after ? or #; write %3F and %23 in a password".to_owned());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    let (username, password) = credentials(login)?;
    let port = if sort == "sentinel" { SENTINEL_PORT } else { PORT };
    let nodes = hosts.split(',').map(|host| node(host, port)).collect::<Reading<Vec<_>>>()?;
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let layout = match sort {
        "" if nodes.len() > 1 => {
            return Err("names several servers; say redis+sentinel:// or redis+cluster:// before them".to_owned());
        }
        "" => L2Layout::Single,
        "cluster" => L2Layout::Cluster,
        "sentinel" => {
            let service = parts.next().ok_or("the URL names no service; write it after the sentinels: /service")?;
            L2Layout::Sentinel { service: decoded(service)? }
        }
        _ => return Err(FORM.to_owned()),
    };
    let database = match parts.next() {
        None => 0,
        Some(_) if layout == L2Layout::Cluster => {
            return Err("a cluster has no databases; end the URL with its hosts".to_owned());
        }
        Some(number) => {
            number.parse::<u16>().map_err(|_| "the URL's path is the number of a database, such as /0".to_owned())?
        }
    };
    if parts.next().is_some() {
        return Err("the URL's path is too long".to_owned());
    }
    Ok(L2Servers { layout, nodes, username, password, database })
}

fn credentials(login: Option<&str>) -> Reading<(Option<String>, Option<Secret>)> {
    let Some(login) = login else { return Ok((None, None)) };
    let (user, password) =
        login.split_once(':').ok_or("the URL names a user without a password; write user:password@")?;
    let user = (!user.is_empty()).then(|| decoded(user)).transpose()?;
    Ok((user, Some(Secret::new(decoded(password)?))))
}

fn decoded(text: &str) -> Reading<String> {
    for escape in text.split('%').skip(1) {
        if !escape.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err("a % in a URL is followed by two hexadecimal digits; write %25 for %".to_owned());
        }
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| "the URL is not UTF-8".to_owned())
}

fn node(host: &str, default: u16) -> Reading<(String, u16)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(bracketed) => {
            let (name, after) = bracketed.split_once(']').ok_or("the IPv6 address in the URL lacks its ]")?;
            (name, after.strip_prefix(':'))
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    if name.is_empty() {
        return Err("the URL names no host".to_owned());
    }
    let port = match port {
        None => default,
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("the URL's port is not a number between 1 and 65535")?,
    };
    Ok((name.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (L2Layout, Vec<(String, u16)>, u16) {
        let servers = servers(url).expect("valid");
        (servers.layout, servers.nodes, servers.database)
    }

    fn nodes(nodes: &[(&str, u16)]) -> Vec<(String, u16)> {
        nodes.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect()
    }

    #[test]
    fn each_layout_has_its_form() {
        assert_eq!(read("redis://cache"), (L2Layout::Single, nodes(&[("cache", 6379)]), 0));
        assert_eq!(read("valkey://[::1]:7000/3"), (L2Layout::Single, nodes(&[("::1", 7000)]), 3));
        let service = L2Layout::Sentinel { service: "shared".to_owned() };
        assert_eq!(read("redis+sentinel://a,b:7/shared/2"), (service, nodes(&[("a", 26_379), ("b", 7)]), 2));
        assert_eq!(read("redis+cluster://a,b:7/"), (L2Layout::Cluster, nodes(&[("a", 6379), ("b", 7)]), 0));
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let secret = servers("redis://us%40er:p%2Fw:d%25@cache").expect("valid");
        assert_eq!(secret.username.as_deref(), Some("us@er"));
        assert_eq!(secret.password.as_ref().map(Secret::reveal), Some("p/w:d%"));
        assert!(!format!("{secret:?}").contains("p/w"));
        assert_eq!(servers("redis://:pw@cache").expect("valid").username, None);
        for wrong in [
            "redis://u:hunter2@host:x",
            "redis://u:hunter2@",
            "redis://u:hunter2%@h",
            "hunter2://h",
            "redis://u:hunter2@h?x",
        ] {
            let error = servers(wrong).expect_err("wrong");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, part) in [
            ("cache:6379", "expected a URL"),
            ("http://cache", "expected a URL"),
            ("redis+proxy://cache", "expected a URL"),
            ("rediss://cache", "TLS"),
            ("redis://a,b", "several servers"),
            ("redis://a/x", "number of a database"),
            ("redis://a/1/2", "too long"),
            ("redis://", "no host"),
            ("redis://user@a", "without a password"),
            ("redis://a b", "no spaces"),
            ("redis://a?db=1", "no options"),
            ("redis+sentinel://a", "no service"),
            ("redis+cluster://a/1", "no databases"),
            ("redis://[::1", "lacks its ]"),
            ("redis://a:0", "between 1 and 65535"),
        ] {
            let error = servers(url).expect_err(url);
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
