use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use tidegate_types::request::{IfNoneMatch, Resolution, ReturnPreference};

use super::*;
use crate::fixture::Fake;

const LIMITS: Limits = Limits {
    max_uri_bytes: 8192,
    max_headers: 100,
    max_body_bytes: 1 << 20,
    body_timeout: Duration::from_secs(5),
    request_timeout: Duration::from_secs(5),
};

/// A response, read to its end.
struct Got {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }

    fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).expect("json");
        problem["code"].as_str().expect("a code").to_owned()
    }
}

async fn ask_with(fake: &Fake, method: &str, uri: &str, fields: &[(&str, &str)], body: &str) -> Got {
    let handler = Handler::new(fake.clone(), LIMITS, CdnKeys::Off, Metrics::register(&mut Registry::default()));
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("valid");
    let (parts, body) = handler.handle(request).await.into_parts();
    let body = body.collect().await.expect("in memory").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("text");
    Got { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn ask(method: &str, uri: &str) -> Got {
    ask_with(&Fake::new(), method, uri, &[], "").await
}

async fn write(method: &str, uri: &str, fields: &[(&str, &str)], body: &str) -> (Got, Vec<WriteRequest>) {
    let fake = Fake::new();
    let got = ask_with(&fake, method, uri, fields, body).await;
    let writes = std::mem::take(&mut *fake.writes.lock().expect("not poisoned"));
    (got, writes)
}

#[tokio::test]
async fn a_hit_is_answered_without_timing() {
    let got = ask("GET", "/v1/products/42").await;
    assert_eq!((got.status, got.body.as_str()), (200, "{\"id\":42}"));
    assert_eq!(got.field("cache-status"), "tidegate; hit; ttl=57");
    assert_eq!(got.field("server-timing"), "", "hits stay small");
    assert!(ask("GET", "/v1/products").await.field("server-timing").starts_with("total;dur="));
}

#[tokio::test]
async fn head_has_the_fields_of_get_and_its_length() {
    for path in ["/v1/products/42", "/v1/products"] {
        let (get, head) = (ask("GET", path).await, ask("HEAD", path).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""));
        assert_eq!(head.field("content-length"), get.body.len().to_string());
        for field in ["etag", "cache-status", "content-type", "content-range", "vary"] {
            assert_eq!(head.field(field), get.field(field), "{field}");
        }
    }
    assert_eq!(ask("HEAD", "/v1/products/404").await.status, 404);
}

#[tokio::test]
async fn problems_have_their_status_code_and_fields() {
    for (method, uri, status, code) in [
        ("GET", "/v1/products/404", 404, "TG001"),
        ("GET", "/v1/products/x", 400, "22P02"),
        ("GET", "/v1/items/1", 400, "TG011"),
        ("GET", "/v1/products/1?id=eq.1", 400, "PGRST100"),
        ("GET", "/v1/products/403", 403, "TG016"),
        ("GET", "/v1/products/500", 500, "XX000"),
        ("GET", "/v1/products/503", 503, "TG003"),
        ("GET", "/v1/nothing", 404, "PGRST205"),
        ("OPTIONS", "/v1/nothing", 404, "PGRST205"),
        ("GET", "/nothing", 404, "PGRST125"),
        ("POST", "/v1/products/1", 405, "PGRST117"),
        ("BREW", "/v1/products", 405, "PGRST117"),
        ("PATCH", "/v1/products", 400, "TG007"),
        ("DELETE", "/v1/products", 400, "TG007"),
        ("GET", "/v1/products?limit=-1", 416, "PGRST103"),
    ] {
        let got = ask(method, uri).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{method} {uri}");
        assert_eq!(got.field("content-type"), "application/json; charset=utf-8");
    }
    assert_eq!(ask("GET", "/v1/products/503").await.field("retry-after"), "1");
    assert_eq!(ask("POST", "/v1/products/1").await.field("allow"), "OPTIONS,GET,HEAD,PUT,PATCH,DELETE");
    assert!(ask("GET", "/v1/prodcts").await.body.contains("Perhaps you meant the table 'products'"));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_takes_too_long_is_504_and_a_write_is_unknown() {
    let got = ask("GET", "/v1/products/504").await;
    assert_eq!((got.status, got.code().as_str()), (504, "TG015"));
    let (got, _) = write("DELETE", "/v1/products/504", &[], "").await;
    assert_eq!((got.status, got.code().as_str()), (504, "TG004"));
}

#[tokio::test]
async fn lists_are_clamped_and_preferences_echoed() {
    let fake = Fake::new();
    let got = ask_with(&fake, "GET", "/v1/products?limit=5000&offset=3", &[("prefer", "count=exact")], "").await;
    assert_eq!((got.status, got.field("content-range")), (200, "3-4/*"));
    assert_eq!(got.field("preference-applied"), "count=exact");
    assert_eq!(got.field("vary"), "Accept, Prefer, Range");
    let lists = fake.lists.lock().expect("not poisoned");
    assert_eq!((lists[0].query.limit, lists[0].query.offset), (Some(1000), 3));
}

#[tokio::test]
async fn writes_reach_the_backend_as_they_were_meant() {
    let (got, writes) = write("PUT", "/v1/products/42", &[("if-none-match", "*")], "{\"name\":\"x\"}").await;
    assert_eq!(got.status, 204);
    assert!(matches!(&writes[0].action, WriteAction::Put { key, body } if key.to_string() == "42" && body.rows == 1));
    assert_eq!(writes[0].if_none_match, IfNoneMatch::Any);

    let filtered = "/v1/items?order_id=eq.7&line=eq.2";
    let (got, writes) = write("PATCH", filtered, &[("prefer", "return=representation")], "{\"amount\":1}").await;
    assert_eq!((got.status, got.field("content-range")), (200, "0-0/*"));
    assert!(matches!(&writes[0].action, WriteAction::Patch { key, .. } if key.to_string() == "7,2"), "a keyed patch");
    assert_eq!(writes[0].returning, ReturnPreference::Representation);

    let (_, writes) = write("DELETE", "/v1/items?order_id=eq.7", &[], "{}").await;
    assert!(matches!(&writes[0].action, WriteAction::DeleteWhere { query } if query.filters.len() == 1));

    let prefer = [("prefer", "resolution=merge-duplicates")];
    let (got, writes) = write("POST", "/v1/products?on_conflict=id", &prefer, "[{\"id\":1},{\"id\":2}]").await;
    assert_eq!(got.status, 200);
    let WriteAction::Insert { body, resolution, .. } = &writes[0].action else { panic!("an insert") };
    assert_eq!((body.rows, *resolution), (2, Resolution::MergeDuplicates));
}

/// Method, URI, fields and body; status and code.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, u16, &'static str);

#[tokio::test]
async fn writes_that_make_no_sense_never_reach_the_backend() {
    const TAG: &str = "\"00000000000000ab\"";
    let cases: &[Case] = &[
        ("PUT", "/v1/products/42", &[], "{\"id\":43}", 400, "PGRST115"),
        ("PUT", "/v1/items/7,2", &[], "{\"line\":3}", 400, "PGRST115"),
        ("PUT", "/v1/products?name=eq.x", &[], "{}", 405, "PGRST105"),
        ("PUT", "/v1/products?id=eq.1&id=eq.2", &[], "{}", 405, "PGRST105"),
        ("PUT", "/v1/products?id=gt.1", &[], "{}", 405, "PGRST105"),
        ("PUT", "/v1/products?id=eq.1&limit=1", &[], "{}", 400, "PGRST114"),
        ("PUT", "/v1/products?id=eq.x", &[], "{}", 400, "22P02"),
        ("PATCH", "/v1/products/42", &[], "{\"id\":43}", 400, "TG009"),
        ("PATCH", "/v1/products/42", &[], "{\"id\":null}", 400, "TG009"),
        ("PATCH", "/v1/products?price=gt.1", &[], "{\"id\":43}", 400, "TG009"),
        ("PATCH", "/v1/products?price=gt.1", &[("if-match", TAG)], "{\"name\":\"x\"}", 400, "TG012"),
        ("POST", "/v1/products", &[("if-match", "*")], "{}", 400, "TG012"),
        ("DELETE", "/v1/products/42", &[("if-none-match", "*")], "", 400, "TG012"),
        ("PUT", "/v1/products/42", &[("if-none-match", TAG)], "{}", 400, "TG012"),
        ("POST", "/v1/products?id=eq.1", &[], "{}", 400, "PGRST100"),
        ("POST", "/v1/products?on_conflict=name", &[("prefer", "resolution=merge-duplicates")], "{}", 400, "PGRST127"),
        ("POST", "/v1/products", &[("content-type", "text/csv")], "{}", 400, "PGRST102"),
        ("POST", "/v1/products", &[("content-profile", "other")], "{}", 406, "PGRST106"),
        ("POST", "/v1/products", &[("accept", "text/csv")], "{}", 406, "PGRST107"),
        ("POST", "/v1/products", &[("prefer", "handling=strict, x=y")], "{}", 400, "PGRST122"),
    ];
    for (method, uri, fields, body, status, code) in cases {
        let (got, writes) = write(method, uri, fields, body).await;
        assert_eq!((got.status, got.code().as_str()), (*status, *code), "{method} {uri} {fields:?} {body}");
        assert!(writes.is_empty(), "{method} {uri}");
    }
}

#[tokio::test]
async fn a_patch_may_repeat_the_key() {
    let (got, writes) = write("PATCH", "/v1/products/42", &[], "{\"id\":42,\"name\":\"x\"}").await;
    assert_eq!((got.status, writes.len()), (204, 1));
}

#[tokio::test]
async fn nothing_to_write_is_answered_without_a_write() {
    for (method, uri, status) in [
        ("PATCH", "/v1/products/42", 204),
        ("PATCH", "/v1/products/404", 404),
        ("PATCH", "/v1/products?id=eq.404", 204),
        ("PATCH", "/v1/products?price=gt.1", 204),
    ] {
        let (got, writes) = write(method, uri, &[], "{}").await;
        assert_eq!((got.status, writes.len()), (status, 0), "{method} {uri}");
    }
    let (got, writes) = write("POST", "/v1/products", &[("prefer", "return=representation")], "[]").await;
    assert_eq!((got.status, got.body.as_str(), writes.len()), (201, "[]", 0));
    let stale = [("if-match", "\"00000000000000ab\"")];
    let (got, _) = write("PATCH", "/v1/products/42", &stale, "{}").await;
    assert_eq!((got.status, got.code().as_str()), (412, "TG002"));
}

#[tokio::test]
async fn keyed_writes_of_missing_rows_are_404_and_filtered_ones_are_not() {
    assert_eq!(write("DELETE", "/v1/products/404", &[], "").await.0.code(), "TG001");
    assert_eq!(write("DELETE", "/v1/products?id=eq.404", &[], "").await.0.status, 204);
}

#[tokio::test]
async fn browsers_of_any_origin_may_ask() {
    let fields = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "x-custom"),
    ];
    let got = ask_with(&Fake::new(), "OPTIONS", "/v1/products", &fields, "").await;
    assert_eq!((got.status, got.field("access-control-allow-origin")), (200, "*"));
    assert!(got.field("access-control-allow-headers").ends_with(", x-custom"));
    assert_eq!(got.field("access-control-max-age"), "86400");
    let plain = ask("OPTIONS", "/v1/products/1").await;
    assert_eq!((plain.status, plain.field("allow")), (200, "OPTIONS,GET,HEAD,PUT,PATCH,DELETE"));
    let simple = ask_with(&Fake::new(), "GET", "/v1/products/1", &fields[..1], "").await;
    assert!(simple.field("access-control-expose-headers").contains("Cache-Status"));
}

#[tokio::test]
async fn schemas_may_be_named() {
    let fields = [("accept-profile", "public")];
    assert_eq!(ask_with(&Fake::new(), "GET", "/v1/products/1", &fields, "").await.status, 200);
    let fields = [("accept-profile", "secret")];
    assert_eq!(ask_with(&Fake::new(), "GET", "/v1/products/1", &fields, "").await.code(), "PGRST106");
}

#[tokio::test]
async fn no_answer_names_the_tenant_or_the_class() {
    for (method, uri) in [
        ("GET", "/v1/products/42"),
        ("GET", "/v1/products"),
        ("GET", "/v1/products/403"),
        ("DELETE", "/v1/products/42"),
    ] {
        let got = ask(method, uri).await;
        let shown = format!("{:?} {}", got.headers, got.body);
        assert!(!shown.contains("acme") && !shown.contains("free"), "{shown}");
    }
}
