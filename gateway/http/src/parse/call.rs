//! From a request to what is asked of the pipelines: each kind of request is parsed here once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::IF_NONE_MATCH, request::Parts};
use tidegate_types::{
    collection::Collection,
    key::RowKey,
    problem::{Problem, ProblemKind, codes},
    query::{Count, ListQuery, Projection},
    request::{Cardinality, IfMatch, IfNoneMatch, ListRead, Resolution, RowRead, WriteAction, WriteRequest},
};

use super::{
    accept::{Format, negotiate},
    body::{self, ParsedBody, Rows},
    condition,
    idempotency::idempotency,
    key,
    params::Params,
    prefer::{Preferences, preferences},
    problems::{bad_request, clip},
    range::Page,
};
use crate::router::{Endpoint, Route};

const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A keyed read.
#[derive(Debug)]
pub(crate) struct RowCall {
    pub(crate) read: RowRead,
    pub(crate) format: Format,
    pub(crate) applied: Option<HeaderValue>,
}

/// A list read.
#[derive(Debug)]
pub(crate) struct ListCall {
    pub(crate) read: ListRead,
    pub(crate) format: Format,
    pub(crate) applied: Option<HeaderValue>,
}

/// Which of a write's forms the client used: keyed paths answer for one row, filters for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The path named the row.
    Row,
    /// Filters chose rows, or the body brought them.
    Rows,
}

/// A write.
#[derive(Debug)]
pub(crate) struct WriteCall {
    pub(crate) write: WriteRequest,
    pub(crate) form: Form,
    pub(crate) format: Format,
    pub(crate) applied: Option<HeaderValue>,
}

/// Parses `GET /v1/{collection}/{key}`.
pub(crate) fn row(parts: &Parts, route: &Route<'_>, collection: Arc<Collection>) -> Result<RowCall, Problem> {
    check_profile(parts, &ACCEPT_PROFILE, &collection)?;
    let projection = match parts.uri.query() {
        None | Some("") => Projection::Whole,
        Some(query) => {
            let params = Params::parse(query, &collection)?;
            params.only_for_one_row()?;
            params.projection.unwrap_or_default()
        }
    };
    let applied =
        if parts.headers.contains_key(PREFER) { preferences(&parts.headers)?.of_row().applied() } else { None };
    let format = negotiate(&parts.headers)?;
    let key = key::parse(route.key, &collection)?;
    Ok(RowCall { read: RowRead { collection, key, projection }, format, applied })
}

/// Parses `GET /v1/{collection}`.
pub(crate) fn list(parts: &Parts, collection: &Arc<Collection>) -> Result<ListCall, Problem> {
    check_profile(parts, &ACCEPT_PROFILE, collection)?;
    let params = Params::parse(parts.uri.query().unwrap_or(""), collection)?;
    let preferences = preferences(&parts.headers)?;
    let format = negotiate(&parts.headers)?;
    let page = params.window.page(&parts.method, &parts.headers)?;
    let query = asked(params, page, collection, preferences.count.unwrap_or_default());
    let applied = preferences.of_read().applied();
    Ok(ListCall { read: ListRead { collection: collection.clone(), query }, format, applied })
}

/// Parses a query string alone, as a GET without header fields has it.
pub(crate) fn list_query(collection: &Collection, query: &str) -> Result<ListQuery, Problem> {
    let params = Params::parse(query, collection)?;
    let page = params.window.page(&Method::GET, &HeaderMap::new())?;
    Ok(asked(params, page, collection, Count::None))
}

fn asked(params: Params, page: Page, collection: &Collection, count: Count) -> ListQuery {
    ListQuery {
        projection: params.projection.unwrap_or_default(),
        filters: params.filters,
        order: params.order.unwrap_or_default(),
        limit: Some(page.limit.map_or(collection.max_rows, |limit| limit.min(collection.max_rows))),
        offset: page.offset,
        count,
    }
}

/// Parses a write.
pub(crate) fn write(
    parts: &Parts,
    route: &Route<'_>,
    collection: &Arc<Collection>,
    json: Bytes,
) -> Result<WriteCall, Problem> {
    check_profile(parts, &CONTENT_PROFILE, collection)?;
    let mut params = Params::parse(parts.uri.query().unwrap_or(""), collection)?;
    let preferences = preferences(&parts.headers)?.unless_behind(collection.mode);
    let format = negotiate(&parts.headers)?;
    let projection = params.projection.take().unwrap_or_default();
    let form = match route.endpoint {
        Endpoint::PutRow | Endpoint::PatchRow | Endpoint::DeleteRow => Form::Row,
        _ => Form::Rows,
    };
    let applied = match route.endpoint {
        Endpoint::Insert => preferences.applied(),
        _ => preferences.of_change().applied(),
    };
    if !matches!(route.endpoint, Endpoint::DeleteRow | Endpoint::DeleteFiltered) {
        body::check_content_type(&parts.headers)?;
    }
    let action = action(route, collection, params, &preferences, json.clone())?;
    let idempotency = idempotency(parts, collection, &action, &json)?;
    let write = WriteRequest {
        collection: collection.clone(),
        if_match: if_match(parts, &action)?,
        if_none_match: if_none_match(parts, &action)?,
        action,
        returning: preferences.returning.unwrap_or_default(),
        projection,
        count: preferences.count.unwrap_or(Count::None),
        cardinality: match format {
            Format::Json => Cardinality::Many,
            Format::Object => Cardinality::Singular,
        },
        wait: Duration::from_secs(preferences.wait.unwrap_or(0).into()),
        idempotency,
    };
    Ok(WriteCall { write, form, format, applied })
}

fn action(
    route: &Route<'_>,
    collection: &Collection,
    mut params: Params,
    preferences: &Preferences,
    json: Bytes,
) -> Result<WriteAction, Problem> {
    let keyed = |params: &Params| {
        params.only_for_one_row()?;
        key::parse(route.key, collection)
    };
    match route.endpoint {
        Endpoint::Insert => insert(collection, params, preferences, json),
        Endpoint::PutRow => put(keyed(&params)?, collection, params, json),
        Endpoint::PutFiltered => put(put_key(&params, collection)?, collection, params, json),
        Endpoint::PatchRow => {
            let key = keyed(&params)?;
            let body = body::parse(json, collection, params.columns, Rows::One)?;
            patch_row(key, collection, body)
        }
        Endpoint::PatchFiltered => {
            let columns = params.columns.take();
            match target(params, collection)? {
                Target::Row(key) => patch_row(key, collection, body::parse(json, collection, columns, Rows::One)?),
                Target::Rows(query) => {
                    let body = body::parse(json, collection, columns, Rows::One)?;
                    keep_keys(collection, &body)?;
                    Ok(WriteAction::PatchWhere { query, body: body.rows })
                }
            }
        }
        Endpoint::DeleteRow => Ok(WriteAction::Delete { key: keyed(&params)? }),
        Endpoint::DeleteFiltered => Ok(match target(params, collection)? {
            Target::Row(key) => WriteAction::Delete { key },
            Target::Rows(query) => WriteAction::DeleteWhere { query },
        }),
        Endpoint::ReadRow | Endpoint::ReadList | Endpoint::Status | Endpoint::Options => {
            // The handler sends these elsewhere.
            Err(Problem::new(ProblemKind::Internal, "XX000", "A read was parsed as a write"))
        }
    }
}

fn insert(
    collection: &Collection,
    params: Params,
    preferences: &Preferences,
    json: Bytes,
) -> Result<WriteAction, Problem> {
    if !params.filters.is_empty() {
        return Err(bad_request("PGRST100", "Filters cannot be used with POST")
            .hint("PATCH changes the rows that filters choose; PUT replaces one."));
    }
    let resolution = preferences.resolution.unwrap_or(Resolution::Fail);
    // Without a resolution PostgREST does not look at on_conflict either.
    if resolution != Resolution::Fail {
        params.check_conflict_target(collection)?;
    }
    let body = body::parse(json, collection, params.columns, Rows::Many)?.rows;
    Ok(WriteAction::Insert { body, resolution, missing: preferences.missing.unwrap_or_default() })
}

fn put(key: RowKey, collection: &Collection, params: Params, json: Bytes) -> Result<WriteAction, Problem> {
    let body = body::parse(json, collection, params.columns, Rows::One)?;
    let differs =
        body.first_key.iter().zip(key.values()).any(|(given, named)| given.as_ref().is_some_and(|g| g != named));
    if differs {
        return Err(bad_request("PGRST115", "Payload values do not match URL in primary key column(s)"));
    }
    Ok(WriteAction::Put { key, body: body.rows })
}

fn put_key(params: &Params, collection: &Collection) -> Result<RowKey, Problem> {
    if params.window.is_given() {
        return Err(bad_request("PGRST114", "limit/offset querystring parameters are not allowed for PUT"));
    }
    match params.exact_key(collection) {
        Some(values) => filter_key(values, collection),
        None => Err(Problem::new(
            ProblemKind::MethodNotAllowed,
            "PGRST105",
            "Filters must include all and only primary key columns with 'eq' operators",
        )),
    }
}

fn patch_row(key: RowKey, collection: &Collection, body: ParsedBody) -> Result<WriteAction, Problem> {
    for ((column, given), named) in collection.key_columns().zip(&body.first_key).zip(key.values()) {
        let unchanged = given.as_ref() == Some(named) || !body.rows.columns.contains(&column.name);
        if !unchanged {
            return Err(key_change(&column.name));
        }
    }
    Ok(WriteAction::Patch { key, body: body.rows })
}

fn keep_keys(collection: &Collection, body: &ParsedBody) -> Result<(), Problem> {
    match collection.key_columns().find(|column| body.rows.columns.contains(&column.name)) {
        Some(column) => Err(key_change(&column.name)),
        None => Ok(()),
    }
}

fn key_change(column: &str) -> Problem {
    bad_request(codes::KEY_CHANGE, format!("The key column \"{column}\" cannot be changed"))
        .details("The key names the row and places it on a shard.")
        .hint("Insert the row under its new key and delete the old one.")
}

enum Target {
    Row(RowKey),
    Rows(ListQuery),
}

fn target(params: Params, collection: &Collection) -> Result<Target, Problem> {
    if params.filters.is_empty() {
        return Err(bad_request(codes::UNSAFE_WRITE, "A write without filters would touch every row")
            .hint("Add a filter, or name one row by its key in the path."));
    }
    match params.exact_key(collection) {
        Some(values) => filter_key(values, collection).map(Target::Row),
        None => Ok(Target::Rows(params.chosen_rows())),
    }
}

fn filter_key(values: Vec<&str>, collection: &Collection) -> Result<RowKey, Problem> {
    collection.parse_key(values.into_iter()).map_err(|error| bad_request("22P02", error.to_string()))
}

fn if_match(parts: &Parts, action: &WriteAction) -> Result<IfMatch, Problem> {
    let condition = condition::if_match(&parts.headers);
    let keyed = matches!(action, WriteAction::Put { .. } | WriteAction::Patch { .. } | WriteAction::Delete { .. });
    if keyed || condition == IfMatch::Absent {
        return Ok(condition);
    }
    Err(bad_request(codes::BAD_HTTP, "If-Match needs a request that names one row")
        .hint("Use the keyed path, or filter every key column by eq."))
}

fn if_none_match(parts: &Parts, action: &WriteAction) -> Result<IfNoneMatch, Problem> {
    if !parts.headers.contains_key(IF_NONE_MATCH) {
        return Ok(IfNoneMatch::Absent);
    }
    match action {
        WriteAction::Put { .. } | WriteAction::Insert { .. } => condition::if_none_match(&parts.headers),
        _ => Err(bad_request(codes::BAD_HTTP, "If-None-Match can be used with PUT and POST only")),
    }
}

/// Clients may name the schema; it must be the collection's, or `public`, which some always send.
fn check_profile(parts: &Parts, name: &HeaderName, collection: &Collection) -> Result<(), Problem> {
    let Some(value) = parts.headers.get(name) else { return Ok(()) };
    let schema = schema(collection);
    if value == schema.as_str() || value == "public" {
        return Ok(());
    }
    let shown = clip(value.to_str().unwrap_or("?"));
    Err(Problem::new(ProblemKind::NotAcceptable, "PGRST106", format!("Invalid schema: {shown}"))
        .hint(format!("The collection {} is in the schema {schema}.", collection.name)))
}

/// The schema, unquoted from `"schema"."table"`.
fn schema(collection: &Collection) -> String {
    let mut name = String::new();
    let mut chars = collection.relation.strip_prefix('"').unwrap_or("").chars().peekable();
    while let Some(c) = chars.next() {
        if c == '"' && chars.next_if_eq(&'"').is_none() {
            break;
        }
        name.push(c);
    }
    name
}
