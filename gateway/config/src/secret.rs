//! Values that must not stand in the file: `env:NAME` and `file:PATH`. No message of this module
//! repeats a secret, and a URL may hold one.

use std::path::{Path, PathBuf};

use tidegate_types::settings::{L2Servers, Secret};
use toml::de::DeValue;

use crate::{
    section::{Reading, found},
    value,
};

/// Shorter ones could be guessed from what is seen on the network.
const MIN_SHARED_SECRET: usize = 16;

/// Where `env:` and `file:` look.
pub(crate) struct Resolver<'e> {
    base: PathBuf,
    environment: Lookup<'e>,
}

/// An environment: the value of a variable, if it is set.
type Lookup<'e> = Box<dyn Fn(&str) -> Option<String> + 'e>;

impl<'e> Resolver<'e> {
    /// The process's environment; relative paths start at `base`.
    pub(crate) fn of_process(base: &Path) -> Self {
        Self::new(base, |name| std::env::var(name).ok())
    }

    pub(crate) fn new(base: &Path, environment: impl Fn(&str) -> Option<String> + 'e) -> Self {
        Self { base: base.to_owned(), environment: Box::new(environment) }
    }

    /// A path of the file, made relative to the file's folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// The value behind `env:NAME` or `file:PATH`; any other text is the value itself.
    fn resolve(&self, text: &str) -> Reading<String> {
        let resolved = if let Some(name) = text.strip_prefix("env:") {
            (self.environment)(name).ok_or_else(|| format!("the environment variable {name:?} is not set"))?
        } else if let Some(path) = text.strip_prefix("file:") {
            let path = self.path(path);
            let content = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            content.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            return Ok(text.to_owned());
        };
        if resolved.is_empty() { Err(format!("{text} is empty")) } else { Ok(resolved) }
    }

    /// A bearer token.
    pub(crate) fn token(&self, value: &DeValue<'_>) -> Reading<Secret> {
        let token = self.resolve(&secret_text(value)?)?;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a token is printable ASCII without spaces, and not empty".to_owned());
        }
        Ok(Secret::new(token))
    }

    /// Where the shared tier is.
    pub(crate) fn l2(&self, value: &DeValue<'_>) -> Reading<L2Servers> {
        crate::l2::servers(&self.resolve(&secret_text(value)?)?)
    }

    /// What several gateways know and nobody else.
    pub(crate) fn shared_secret(&self, value: &DeValue<'_>) -> Reading<Secret> {
        let secret = self.resolve(&secret_text(value)?)?;
        if secret.len() < MIN_SHARED_SECRET {
            return Err(format!("must have at least {MIN_SHARED_SECRET} characters; `openssl rand -hex 32` makes one"));
        }
        Ok(Secret::new(secret))
    }

    /// The URL of a PostgreSQL server.
    pub(crate) fn postgres_url(&self, value: &DeValue<'_>) -> Reading<Secret> {
        let url = self.resolve(&secret_text(value)?)?;
        check_url(&url)?;
        Ok(Secret::new(url))
    }
}

/// Like [`value::text`], without repeating what was found: it may be a secret.
fn secret_text(value: &DeValue<'_>) -> Reading<String> {
    if value.is_str() { value::text(value) } else { Err(format!("expected a string, found {}", kind(value))) }
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(_) => "an integer".to_owned(),
        DeValue::Float(_) => "a float".to_owned(),
        other => found(other),
    }
}

/// What can be said about a `postgres://` URL without connecting. The driver has the last word.
pub(crate) fn check_url(url: &str) -> Reading<()> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest =
        rest.ok_or("expected a URL such as \"postgres://user@host:5432/database\", \"env:NAME\" or \"file:PATH\"")?;
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces; write %20".to_owned());
    }
    for escape in rest.split('%').skip(1) {
        if !escape.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err("a % in a URL is followed by two hexadecimal digits; write %25 for %".to_owned());
        }
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.contains(',') {
        return Err("names several hosts; a shard has one primary".to_owned());
    }
    if host.is_empty() {
        // A socket folder may stand in the query: postgres:///db?host=/run/postgresql
        let in_query = tail.split_once('?').is_some_and(|(_, query)| query.split('&').any(|p| p.starts_with("host=")));
        return if in_query { Ok(()) } else { Err("the URL names no host".to_owned()) };
    }
    check_port(host)
}

fn check_port(host: &str) -> Reading<()> {
    let after_name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').ok_or("the IPv6 address in the URL lacks its ]")?.1,
        None => host.find(':').map_or("", |colon| &host[colon..]),
    };
    if after_name.is_empty() {
        return Ok(());
    }
    let port = after_name.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    port.map(|_| ()).ok_or_else(|| "the URL's port is not a number between 1 and 65535".to_owned())
}
