//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), where it is honoured: in write-behind collections.

use http::{
    HeaderName,
    header::{ACCEPT, IF_MATCH, IF_NONE_MATCH},
    request::Parts,
};
use tidegate_types::{
    collection::{Collection, Mode},
    problem::{Problem, codes},
    request::{Idempotency, MAX_IDEMPOTENCY_KEY, WriteAction},
};

use super::problems::bad_request;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Fields that make a request another one.
const FIELDS: [HeaderName; 4] = [IF_MATCH, IF_NONE_MATCH, ACCEPT, PREFER];

/// The key of a write and a fingerprint of the request. `None` without one, and in collections that do not have them.
///
/// # Errors
/// A key that is none, and a request that cannot have one: only single rows are acknowledged by the journal, which is
/// what remembers keys.
pub(crate) fn idempotency(
    parts: &Parts,
    collection: &Collection,
    action: &WriteAction,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    if collection.mode != Mode::WriteBehind {
        return Ok(None);
    }
    let key = value.to_str().map_or("", str::trim);
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let message = format!("An Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} characters of ASCII");
        return Err(bad_request(codes::IDEMPOTENCY, message));
    }
    let one_row = match action {
        WriteAction::Insert { body, .. } => body.rows == 1,
        WriteAction::Put { .. } | WriteAction::Patch { .. } | WriteAction::Delete { .. } => true,
        WriteAction::PatchWhere { .. } | WriteAction::DeleteWhere { .. } => false,
    };
    if !one_row {
        return Err(bad_request(codes::IDEMPOTENCY, "An Idempotency-Key can be used with writes of one row only")
            .hint("Send the rows one by one, each with a key of its own."));
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let fields = FIELDS.into_iter().map(|name| parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes()));
    let all = [parts.method.as_str().as_bytes(), target.as_bytes(), body].into_iter().chain(fields);
    Ok(Some(Idempotency::new(key, all)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use tidegate_types::key::{KeyValue, RowKey};

    use super::*;
    use crate::fixture;

    fn of(mode: Mode, target: &str, key: &str, body: &str) -> Result<Option<Idempotency>, Problem> {
        let collection = Collection { mode, ..Arc::unwrap_or_clone(fixture::products()) };
        let request = Request::delete(target).header(IDEMPOTENCY_KEY, key).body(()).expect("valid");
        let action = WriteAction::Delete { key: RowKey::single(KeyValue::Int(1)) };
        idempotency(&request.into_parts().0, &collection, &action, body.as_bytes())
    }

    #[test]
    fn what_differs_makes_another_fingerprint_under_the_same_key() {
        let behind = |target, key, body| of(Mode::WriteBehind, target, key, body).expect("valid").expect("one");
        let first = behind("/v1/products/1", "\"a b\"", "x");
        assert_eq!(&*first.key, "a b");
        assert_eq!(behind("/v1/products/1", "a b", "x"), first, "with or without quotes");
        assert_ne!(behind("/v1/products/2", "a b", "x").fingerprint, first.fingerprint);
        assert_ne!(behind("/v1/products/1", "a b", "y").fingerprint, first.fingerprint);
    }

    #[test]
    fn other_collections_have_none_and_a_key_has_bounds() {
        assert_eq!(of(Mode::CacheAside, "/v1/products/1", "a", "").expect("ignored"), None);
        for key in ["", "\"\"", &"x".repeat(256)] {
            assert_eq!(of(Mode::WriteBehind, "/v1/products/1", key, "").expect_err(key).code, codes::IDEMPOTENCY);
        }
    }
}
