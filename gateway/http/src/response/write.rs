//! Answers to writes.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION},
};
use tidegate_types::{
    answer::{Landed, Refill, RowChange, WriteAnswer, WrittenRow},
    problem::{Problem, ProblemKind, codes},
    query::Count,
    request::{Resolution, ReturnPreference, WriteAction, WriteRequest},
};

use super::{
    Reply, applied, behind, fields,
    list::{content_range, not_singular},
    problem::problem,
    reply,
};
use crate::parse::{
    accept::Format,
    call::{Form, WriteCall},
    key,
};

/// What of a write its response depends on; the rest went to the pipeline.
#[derive(Debug)]
pub(crate) struct Asked {
    kind: Kind,
    form: Form,
    format: Format,
    returning: ReturnPreference,
    count: Count,
    applied: Option<HeaderValue>,
    shown_key: String,
    collection: std::sync::Arc<tidegate_types::collection::Collection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert(Resolution),
    Put,
    Patch,
    Delete,
}

impl Asked {
    /// Splits a call into what the response needs and what the pipeline needs.
    pub(crate) fn split(call: WriteCall) -> (Self, WriteRequest) {
        let WriteCall { write, form, format, applied } = call;
        let (kind, shown_key) = match &write.action {
            WriteAction::Insert { resolution, .. } => (Kind::Insert(*resolution), String::new()),
            WriteAction::Put { key, .. } => (Kind::Put, key.to_string()),
            WriteAction::Patch { key, .. } => (Kind::Patch, key.to_string()),
            WriteAction::PatchWhere { .. } => (Kind::Patch, String::new()),
            WriteAction::Delete { key } => (Kind::Delete, key.to_string()),
            WriteAction::DeleteWhere { .. } => (Kind::Delete, String::new()),
        };
        let (returning, count, collection) = (write.returning, write.count, write.collection.clone());
        (Self { kind, form, format, returning, count, applied, shown_key, collection }, write)
    }
}

/// The response to a committed write.
pub(crate) fn write(asked: Asked, answer: &WriteAnswer) -> Reply {
    let rows = answer.rows.as_slice();
    if rows.is_empty() && asked.form == Form::Row {
        let message = format!("No row of {} has the key {}", asked.collection.name, asked.shown_key);
        return problem(&Problem::new(ProblemKind::RowNotFound, codes::ROW_NOT_FOUND, message));
    }
    let represented = asked.returning == ReturnPreference::Representation;
    let mut headers = HeaderMap::with_capacity(12);
    if let Some(range) = range(&asked, rows.len()) {
        headers.insert(CONTENT_RANGE, range);
    }
    if let (ReturnPreference::HeadersOnly, Kind::Insert(_), [row]) = (asked.returning, asked.kind, rows) {
        headers.insert(LOCATION, fields::ascii(key::path(&asked.collection, &row.key).as_bytes()));
    }
    if answer.refill == Refill::Stored {
        headers.insert(fields::CACHE_STATUS, fields::REFILLED);
    }
    let status = match &answer.landed {
        Landed::Shard => status(&asked, rows),
        Landed::Journal(acknowledged) => {
            behind::fields(&mut headers, acknowledged);
            StatusCode::ACCEPTED
        }
    };
    applied(&mut headers, asked.applied);
    if !represented {
        return reply(status, headers, Bytes::new());
    }
    if let [row] = rows
        && row.change != RowChange::Deleted
    {
        headers.insert(ETAG, fields::etag(row.body.etag));
    }
    let body = match (asked.format, rows) {
        (Format::Json, _) => array(rows),
        (Format::Object, [row]) => row.body.json.clone(),
        // The store rolls such writes back; this is the second lock on that door.
        (Format::Object, _) => return problem(&not_singular(rows.len() as u64)),
    };
    headers.insert(CONTENT_TYPE, fields::content_type(asked.format));
    reply(status, headers, body)
}

/// The response to a write that would change nothing: no rows, or no columns.
pub(crate) fn unchanged(asked: Asked) -> Reply {
    let nothing = WriteAnswer {
        rows: Vec::new(),
        refill: Refill::None,
        landed: Landed::Shard,
        trace: tidegate_types::answer::Trace::default(),
    };
    write(Asked { form: Form::Rows, ..asked }, &nothing)
}

fn status(asked: &Asked, rows: &[WrittenRow]) -> StatusCode {
    let inserted = rows.iter().any(|row| row.change == RowChange::Inserted);
    let changed = match asked.returning {
        ReturnPreference::Representation => StatusCode::OK,
        ReturnPreference::Minimal | ReturnPreference::HeadersOnly => StatusCode::NO_CONTENT,
    };
    match asked.kind {
        Kind::Insert(Resolution::Fail) => StatusCode::CREATED,
        Kind::Insert(_) if inserted => StatusCode::CREATED,
        Kind::Insert(_) => StatusCode::OK,
        // PostgREST's form of PUT answers 204 without a representation, whatever it did.
        Kind::Put if inserted && (asked.form == Form::Row || changed == StatusCode::OK) => StatusCode::CREATED,
        Kind::Put | Kind::Patch | Kind::Delete => changed,
    }
}

fn range(asked: &Asked, rows: usize) -> Option<HeaderValue> {
    let rows = rows as u64;
    let total = match asked.count {
        Count::Exact => Some(rows),
        Count::None => None,
    };
    match asked.kind {
        Kind::Insert(_) | Kind::Delete => Some(content_range(0, 0, total)),
        Kind::Patch => Some(content_range(0, rows, total)),
        Kind::Put => None,
    }
}

fn array(rows: &[WrittenRow]) -> Bytes {
    let size: usize = rows.iter().map(|row| row.body.json.len() + 1).sum();
    let mut json = BytesMut::with_capacity(size + 2);
    json.extend_from_slice(b"[");
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            json.extend_from_slice(b",");
        }
        json.extend_from_slice(&row.body.json);
    }
    json.extend_from_slice(b"]");
    json.freeze()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tidegate_types::{
        answer::{Acknowledged, RowBody, Trace},
        key::{KeyValue, RowKey},
        mutation::Sequence,
        settings::DurabilityClass,
    };

    use super::*;
    use crate::fixture;

    fn asked(kind: Kind, form: Form, returning: ReturnPreference) -> Asked {
        Asked {
            kind,
            form,
            format: Format::Json,
            returning,
            count: Count::None,
            applied: None,
            shown_key: "1".into(),
            collection: fixture::products(),
        }
    }

    fn rows(changes: &[RowChange]) -> WriteAnswer {
        let row = |(i, change): (usize, &RowChange)| WrittenRow {
            key: RowKey::single(KeyValue::Int(i64::try_from(i).expect("small"))),
            change: *change,
            body: RowBody::new(Bytes::from(format!("{{\"id\":{i}}}"))),
        };
        WriteAnswer {
            rows: changes.iter().enumerate().map(row).collect(),
            refill: Refill::None,
            landed: Landed::Shard,
            trace: Trace::default(),
        }
    }

    fn line(asked: Asked, changes: &[RowChange]) -> String {
        let reply = write(asked, &rows(changes));
        let range = reply.headers().get(CONTENT_RANGE).map_or("-", |v| v.to_str().expect("ascii"));
        format!("{} {range}", reply.status().as_u16())
    }

    const MINIMAL: ReturnPreference = ReturnPreference::Minimal;
    const FULL: ReturnPreference = ReturnPreference::Representation;

    #[test]
    fn statuses_of_inserts_and_upserts() {
        use RowChange::{Inserted, Updated};
        let merge = Kind::Insert(Resolution::MergeDuplicates);
        let plain = Kind::Insert(Resolution::Fail);
        assert_eq!(line(asked(plain, Form::Rows, MINIMAL), &[Inserted]), "201 */*");
        assert_eq!(line(asked(plain, Form::Rows, FULL), &[]), "201 */*");
        assert_eq!(line(asked(merge, Form::Rows, FULL), &[Inserted, Updated]), "201 */*");
        assert_eq!(line(asked(merge, Form::Rows, MINIMAL), &[Updated]), "200 */*");
        let counted = Asked { count: Count::Exact, ..asked(plain, Form::Rows, MINIMAL) };
        assert_eq!(line(counted, &[Inserted, Inserted]), "201 */2");
    }

    #[test]
    fn statuses_of_changes() {
        use RowChange::{Deleted, Inserted, Updated};
        assert_eq!(line(asked(Kind::Put, Form::Row, MINIMAL), &[Inserted]), "201 -");
        assert_eq!(line(asked(Kind::Put, Form::Row, MINIMAL), &[Updated]), "204 -");
        assert_eq!(line(asked(Kind::Put, Form::Rows, MINIMAL), &[Inserted]), "204 -");
        assert_eq!(line(asked(Kind::Put, Form::Rows, FULL), &[Inserted]), "201 -");
        assert_eq!(line(asked(Kind::Put, Form::Rows, FULL), &[Updated]), "200 -");
        assert_eq!(line(asked(Kind::Patch, Form::Rows, MINIMAL), &[Updated, Updated]), "204 0-1/*");
        assert_eq!(line(asked(Kind::Patch, Form::Rows, MINIMAL), &[]), "204 */*");
        assert_eq!(line(asked(Kind::Patch, Form::Row, MINIMAL), &[]), "404 -");
        assert_eq!(line(asked(Kind::Delete, Form::Rows, FULL), &[]), "200 */*");
        assert_eq!(line(asked(Kind::Delete, Form::Row, MINIMAL), &[Deleted]), "204 */*");
        assert_eq!(line(asked(Kind::Delete, Form::Row, MINIMAL), &[]), "404 -");
    }

    #[test]
    fn an_acknowledged_write_is_accepted_and_says_where_to_ask() {
        let acknowledged = Acknowledged { class: DurabilityClass::Local, sequence: Sequence(7), token: "abc".into() };
        let landed = Landed::Journal(acknowledged);
        let answer = WriteAnswer { landed: landed.clone(), ..rows(&[RowChange::Updated]) };
        let reply = write(asked(Kind::Put, Form::Row, MINIMAL), &answer);
        assert_eq!(reply.status(), StatusCode::ACCEPTED);
        let field = |name| reply.headers()[name].to_str().expect("ascii");
        assert_eq!((field("tidegate-durability"), field("tidegate-sequence")), ("local", "7"));
        assert_eq!((field("tidegate-status"), field("location")), ("/v1/$status/abc", "/v1/$status/abc"));
        let answer = WriteAnswer { landed, ..rows(&[RowChange::Inserted]) };
        let asked = asked(Kind::Insert(Resolution::Fail), Form::Rows, ReturnPreference::HeadersOnly);
        let reply = write(asked, &answer);
        assert_eq!(reply.headers()[LOCATION], "/v1/products/0", "the new row's");
        assert_eq!(reply.headers()["tidegate-status"], "/v1/$status/abc");
    }

    async fn body(reply: Reply) -> Bytes {
        reply.into_body().collect().await.expect("body").to_bytes()
    }

    #[tokio::test]
    async fn representations_are_arrays_unless_one_object_is_asked_for() {
        use RowChange::Updated;
        let many = write(asked(Kind::Patch, Form::Rows, FULL), &rows(&[Updated, Updated]));
        assert!(!many.headers().contains_key(ETAG));
        assert_eq!(body(many).await, "[{\"id\":0},{\"id\":1}]");
        let one = write(asked(Kind::Patch, Form::Row, FULL), &rows(&[Updated]));
        assert!(one.headers().contains_key(ETAG), "the version of the row, for If-Match");
        assert_eq!(body(one).await, "[{\"id\":0}]");
        let object = Asked { format: Format::Object, ..asked(Kind::Patch, Form::Row, FULL) };
        assert_eq!(body(write(object, &rows(&[Updated]))).await, "{\"id\":0}");
        let singular = Asked { format: Format::Object, ..asked(Kind::Patch, Form::Rows, FULL) };
        assert_eq!(write(singular, &rows(&[Updated, Updated])).status(), 406);
        let deleted = write(asked(Kind::Delete, Form::Row, FULL), &rows(&[RowChange::Deleted]));
        assert!(!deleted.headers().contains_key(ETAG));
    }

    #[test]
    fn headers_only_names_the_new_row() {
        let reply = write(
            asked(Kind::Insert(Resolution::Fail), Form::Rows, ReturnPreference::HeadersOnly),
            &rows(&[RowChange::Inserted]),
        );
        assert_eq!(reply.headers()[LOCATION], "/v1/products/0");
        assert!(!reply.headers().contains_key(CONTENT_TYPE));
    }

    #[test]
    fn nothing_to_change_is_not_an_error() {
        assert_eq!(unchanged(asked(Kind::Patch, Form::Rows, MINIMAL)).status(), 204);
        assert_eq!(unchanged(asked(Kind::Insert(Resolution::Fail), Form::Rows, FULL)).status(), 201);
    }
}
