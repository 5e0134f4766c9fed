//! The whole public surface, in one place: which method on which path is which endpoint.

use http::{HeaderValue, Method};
use tidegate_types::problem::{Problem, ProblemKind};

/// What is asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// One row by its key.
    ReadRow,
    /// Rows by filters.
    ReadList,
    /// New rows, or merged ones.
    Insert,
    /// Insert or replace the row that the path names.
    PutRow,
    /// Insert or replace the row that filters on the primary key name.
    PutFiltered,
    /// Change the row that the path names.
    PatchRow,
    /// Change the rows that filters choose.
    PatchFiltered,
    /// Delete the row that the path names.
    DeleteRow,
    /// Delete the rows that filters choose.
    DeleteFiltered,
    /// What became of an acknowledged write.
    Status,
    /// Methods of a path, and CORS preflight.
    Options,
}

/// A request line taken apart. Segments are still percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) collection: &'a str,
    /// The key's segment; empty where the path has none.
    pub(crate) key: &'a str,
}

/// What the path of a status URL begins with.
pub(crate) const STATUS_PATH: &str = "/v1/$status/";
/// The first segment of it, which no collection has.
const STATUS: &str = "$status";

const STATUS_METHODS: HeaderValue = HeaderValue::from_static("OPTIONS,GET,HEAD");
const COLLECTION_METHODS: HeaderValue = HeaderValue::from_static("OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE");
const ROW_METHODS: HeaderValue = HeaderValue::from_static("OPTIONS,GET,HEAD,PUT,PATCH,DELETE");

/// Finds the endpoint.
///
/// ```text
/// /v1/{collection}        GET HEAD POST PUT PATCH DELETE OPTIONS
/// /v1/{collection}/{key}  GET HEAD      PUT PATCH DELETE OPTIONS
/// /v1/$status/{token}     GET HEAD                       OPTIONS
/// ```
///
/// # Errors
/// Another path: 404 `PGRST125`. Another method: 405 `PGRST117`.
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, Problem> {
    let (collection, key) = segments(path).ok_or_else(unknown_path)?;
    let endpoint = match (key, method.as_str()) {
        (Some(_), "GET" | "HEAD") if collection == STATUS => Endpoint::Status,
        (Some(_), "PUT" | "PATCH" | "DELETE") if collection == STATUS => return Err(unknown_method(method)),
        (Some(_), "GET" | "HEAD") => Endpoint::ReadRow,
        (None, "GET" | "HEAD") => Endpoint::ReadList,
        (None, "POST") => Endpoint::Insert,
        (Some(_), "PUT") => Endpoint::PutRow,
        (None, "PUT") => Endpoint::PutFiltered,
        (Some(_), "PATCH") => Endpoint::PatchRow,
        (None, "PATCH") => Endpoint::PatchFiltered,
        (Some(_), "DELETE") => Endpoint::DeleteRow,
        (None, "DELETE") => Endpoint::DeleteFiltered,
        (_, "OPTIONS") => Endpoint::Options,
        _ => return Err(unknown_method(method)),
    };
    Ok(Route { endpoint, collection, key: key.unwrap_or("") })
}

/// The `Allow` field of a path.
pub(crate) fn allow(path: &str) -> HeaderValue {
    match segments(path) {
        Some((STATUS, Some(_))) => STATUS_METHODS,
        Some((_, Some(_))) => ROW_METHODS,
        _ => COLLECTION_METHODS,
    }
}

fn segments(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix("/v1/")?;
    let (collection, key) = match rest.split_once('/') {
        None => (rest, None),
        Some((collection, key)) => (collection, Some(key)),
    };
    let fits = !collection.is_empty() && key.is_none_or(|key| !key.is_empty() && !key.contains('/'));
    fits.then_some((collection, key))
}

fn unknown_path() -> Problem {
    Problem::new(ProblemKind::UnknownResource, "PGRST125", "Invalid path specified in request URL")
        .hint("Paths are /v1/{collection} and /v1/{collection}/{key}.")
}

fn unknown_method(method: &Method) -> Problem {
    let shown: String = method.as_str().chars().take(32).collect();
    Problem::new(ProblemKind::MethodNotAllowed, "PGRST117", format!("Unsupported HTTP method: {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_collection_and_key() {
        let routed = route(&Method::GET, "/v1/products/42").expect("a row");
        assert_eq!(routed, Route { endpoint: Endpoint::ReadRow, collection: "products", key: "42" });
        let routed = route(&Method::DELETE, "/v1/odd%20name").expect("a list");
        assert_eq!(routed, Route { endpoint: Endpoint::DeleteFiltered, collection: "odd%20name", key: "" });
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in
            ["", "/", "*", "/v1", "/v1/", "/v1//", "/v1/a/", "/v1/a/b/c", "/v1/a/b/", "/v2/a", "/products", "//v1/a"]
        {
            assert_eq!(route(&Method::GET, path).expect_err(path).code, "PGRST125", "{path}");
        }
    }

    #[test]
    fn other_methods_are_refused() {
        assert_eq!(route(&Method::TRACE, "/v1/a").expect_err("TRACE").code, "PGRST117");
        assert_eq!(route(&Method::POST, "/v1/a/1").expect_err("POST on a row").code, "PGRST117");
        assert_eq!(route(&Method::PUT, "/v1/$status/1").expect_err("PUT on a status").code, "PGRST117");
        assert_eq!(allow("/v1/$status/1"), STATUS_METHODS);
        assert_eq!(allow("/v1/a/1"), ROW_METHODS);
        assert_eq!(allow("/v1/a"), COLLECTION_METHODS);
    }
}
