//! Fields for a CDN in front: what an answer may be purged by, and how long it may be served from there.
//!
//! Only for what is the same for everybody: answers of a public collection, to no tenant, that a cache policy does not
//! tell apart by more than their URL. An answer whose names do not fit is offered neither way: it could not be purged
//! by those left out.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_types::{
    answer::{CacheStatus, NotStored},
    collection::{Collection, Consistency, Staleness, Visibility},
    key::RowKey,
    policy::Narrowed,
    settings::CdnKeys,
    tenant::TenantId,
};

use super::fields;

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Bytes of one name. CDNs take no longer one in an order to purge.
const MAX_NAME: usize = 1024;
/// Bytes of all names of an answer: together with the other fields they must fit into the buffers of proxies.
const MAX_NAMES: usize = 4096;

/// What stands in a name as it is; the rest, separators and `%` among it, is percent-encoded.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// How a CDN is told of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cdn {
    /// By which field.
    pub(crate) keys: CdnKeys,
    /// To whom it is.
    pub(crate) tenant: TenantId,
}

/// An answer that may be offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offered<'a> {
    pub(super) collection: &'a Collection,
    pub(super) what: What<'a>,
    pub(super) bounds: Option<&'a Narrowed>,
    pub(super) status: CacheStatus,
}

/// What an answer shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    Row(&'a RowKey),
    /// That there is none.
    NoRow(&'a RowKey),
    List,
}

impl Cdn {
    /// No names, for the answers of nobody in particular.
    #[cfg(test)]
    pub(super) const OFF: Self = Self { keys: CdnKeys::Off, tenant: TenantId::SHARED };

    /// Adds the fields that an answer may have.
    pub(super) fn offer(self, headers: &mut HeaderMap, offered: &Offered<'_>) {
        let of_everybody = offered.collection.visibility == Visibility::Public
            && self.tenant == TenantId::SHARED
            && offered.bounds.is_none_or(|bounds| bounds.variant.is_none());
        if !of_everybody {
            return;
        }
        let named = match self.keys {
            CdnKeys::Off => None,
            CdnKeys::SurrogateKey => Some((SURROGATE_KEY, " ")),
            CdnKeys::CacheTag => Some((CACHE_TAG, ",")),
        };
        if let Some((field, separator)) = named {
            let Some(names) = names(offered, separator) else { return };
            headers.insert(field, names);
        }
        if let Some(lifetime) = lifetime(offered) {
            headers.insert(CDN_CACHE_CONTROL, lifetime);
        }
    }
}

/// `c:products r:products/42 t:category:7`, or `c:products l:products`; `None` if they are too long.
fn names(offered: &Offered<'_>, separator: &str) -> Option<HeaderValue> {
    let collection = &*offered.collection.name;
    let mut names = Names { field: String::with_capacity(64), separator };
    names.add("c:", &[collection])?;
    match offered.what {
        What::Row(key) | What::NoRow(key) => names.add("r:", &[collection, &key.path_text()])?,
        What::List => names.add("l:", &[collection])?,
    }
    for tag in offered.bounds.map_or(&[][..], |bounds| &bounds.tag_names) {
        names.add("t:", &[tag])?;
    }
    Some(fields::ascii(names.field.as_bytes()))
}

struct Names<'a> {
    field: String,
    separator: &'a str,
}

impl Names<'_> {
    /// Adds a name of these parts; `None` if it does not fit.
    fn add(&mut self, kind: &str, parts: &[&str]) -> Option<()> {
        if !self.field.is_empty() {
            self.field.push_str(self.separator);
        }
        let begin = self.field.len();
        self.field.push_str(kind);
        for (i, part) in parts.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(self.field, "{}{}", if i > 0 { "/" } else { "" }, utf8_percent_encode(part, ENCODED));
        }
        (self.field.len() - begin <= MAX_NAME && self.field.len() <= MAX_NAMES).then_some(())
    }
}

/// `CDN-Cache-Control` (RFC 9213): never longer than the cache policy allows, and nothing for an answer that this
/// gateway would not serve to the next reader either.
fn lifetime(offered: &Offered<'_>) -> Option<HeaderValue> {
    let Offered { collection, what, bounds, status } = offered;
    match status {
        CacheStatus::Hit { .. }
        | CacheStatus::MissStored { .. }
        | CacheStatus::MissNotStored { reason: NotStored::TooLarge | NotStored::FirstAsked, .. } => {}
        CacheStatus::Stale { .. } | CacheStatus::MissNotStored { .. } | CacheStatus::Bypass(_) | CacheStatus::Dirty => {
            return None;
        }
    }
    let mut longest = collection.cdn_ttl?;
    if let What::NoRow(_) = what {
        longest = longest.min(collection.negative_ttl);
    }
    longest = bounds.and_then(|bounds| bounds.ttl).map_or(longest, |bound| bound.min(longest));
    let stale = match collection.consistency {
        Consistency::Strict => Duration::ZERO,
        Consistency::Bounded(Staleness { while_revalidate, .. }) => {
            bounds.map_or(while_revalidate, |bounds| bounds.stale.min(while_revalidate))
        }
    };
    let mut field = format!("max-age={}", longest.as_secs());
    if stale.as_secs() > 0 {
        let _ = write!(field, ", stale-while-revalidate={}", stale.as_secs());
    }
    Some(fields::ascii(field.as_bytes()))
}

#[cfg(test)]
mod tests;
