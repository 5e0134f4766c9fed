//! Requests kept as text: what must be refused and with which code, what must be understood and as what.

use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::{BodyExt as _, Full};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use tidegate_types::{
    query::{
        ColumnRef, Direction, Filter, IsValue, JsonOutput, JsonStep, JsonTarget, ListQuery, Nulls, Operator, OrderTerm,
        Projection, SelectItem, Sense,
    },
    settings::{CdnKeys, HttpSettings},
};

use super::params::Params;
use crate::{
    fixture::{self, Fake},
    handler::Handler,
    limits::Limits,
    metrics::Metrics,
};

/// `CODE METHOD TARGET [BODY]`
const MALFORMED: &str = include_str!("corpus/malformed.txt");
/// `TARGET => MEANING`
const VALID: &str = include_str!("corpus/valid.txt");

fn handler(fake: &Fake) -> Handler<Fake> {
    let settings = HttpSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        max_connections: 1,
        header_timeout: std::time::Duration::from_secs(5),
        max_headers: 100,
        max_uri_bytes: 8192,
        max_body_bytes: 1 << 20,
        body_timeout: std::time::Duration::from_secs(5),
        max_streams: 1,
        request_timeout: std::time::Duration::from_secs(5),
        drain_delay: std::time::Duration::ZERO,
        drain_grace: std::time::Duration::ZERO,
        cdn: CdnKeys::Off,
    };
    Handler::new(fake.clone(), Limits::new(&settings), settings.cdn, Metrics::register(&mut Registry::default()))
}

async fn ask(handler: &Handler<Fake>, method: &str, target: &str, body: &str) -> (u16, Bytes) {
    // As the listener does it (server/line.rs).
    let target = target.replace('"', "%22").replace('<', "%3C").replace('>', "%3E");
    let request = http::Request::builder().method(method).uri(&target);
    let request =
        request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap_or_else(|e| panic!("{target}: {e}"));
    let (parts, body) = handler.handle(request).await.into_parts();
    (parts.status.as_u16(), body.collect().await.expect("in memory").to_bytes())
}

#[tokio::test]
async fn every_malformed_request_is_refused_with_its_code_and_reaches_nobody() {
    let fake = Fake::new();
    let handler = handler(&fake);
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in MALFORMED.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.splitn(4, ' ');
        let mut next = || parts.next().unwrap_or("");
        let (code, method, target, body) = (next(), next(), next(), next());
        let (status, answer) = ask(&handler, method, target, body).await;
        let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let refused = (400..500).contains(&status) && problem["code"] == code;
        let keys: Vec<&str> = problem.as_object().map_or(Vec::new(), |o| o.keys().map(String::as_str).collect());
        if !refused || keys != ["code", "details", "hint", "message"] || problem["message"] == "" {
            wrong.push(format!("{line}\n    {status} {problem}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 200, "{count} cases");
    assert!(
        fake.lists.lock().expect("not poisoned").is_empty() && fake.writes.lock().expect("not poisoned").is_empty()
    );
}

#[tokio::test]
async fn every_valid_request_is_understood_as_it_was_meant() {
    let fake = Fake::new();
    let handler = handler(&fake);
    let mut count = 0;
    for line in VALID.lines().filter(|line| !line.starts_with('#')) {
        let (target, meaning) = line.split_once(" =>").expect("=>");
        let (status, answer) = ask(&handler, "GET", target, "").await;
        assert_eq!(status, 200, "{target}: {answer:?}");
        let understood = fake.lists.lock().expect("not poisoned").pop().expect("asked");
        assert_eq!(show(&understood.query), meaning.trim(), "{target}");
        count += 1;
    }
    assert!(count >= 80, "{count} cases");
}

fn show(query: &ListQuery) -> String {
    let mut parts = Vec::new();
    if query.projection != Projection::Whole {
        parts.push(format!("select {}", fixture::show_projection(&query.projection)));
    }
    if !query.filters.is_empty() {
        parts.push(format!("where {}", fixture::show_filters(&query.filters)));
    }
    if !query.order.is_empty() {
        parts.push(format!("order {}", fixture::show_order(&query.order)));
    }
    if let Some(limit) = query.limit.filter(|limit| *limit != 1000) {
        parts.push(format!("limit {limit}"));
    }
    if query.offset != 0 {
        parts.push(format!("offset {}", query.offset));
    }
    parts.join("; ")
}

fn column() -> impl Strategy<Value = ColumnRef> {
    let name = prop::sample::select(vec!["id", "name", "meta", "odd name", "da-sh", "größe", "order"]);
    let target = prop_oneof!["[^\0]{1,6}".prop_map(JsonTarget::Key), any::<i32>().prop_map(JsonTarget::Index),];
    (name, prop::collection::vec(target, 0..3), any::<bool>()).prop_map(|(name, targets, text)| {
        let last = targets.len().saturating_sub(1);
        let output = |i| if text && i == last { JsonOutput::Text } else { JsonOutput::Json };
        let path = targets.into_iter().enumerate().map(|(i, to)| JsonStep { to, output: output(i) }).collect();
        ColumnRef { name: name.into(), path }
    })
}

fn sense() -> impl Strategy<Value = Sense> {
    prop::sample::select(vec![Sense::Plain, Sense::Negated])
}

fn leaf() -> impl Strategy<Value = Filter> {
    use Operator::{Eq, Gt, Gte, Ilike, Like, Lt, Lte, Neq};
    let operator = prop::sample::select(vec![Eq, Neq, Gt, Gte, Lt, Lte, Like, Ilike]);
    let is =
        prop::sample::select(vec![IsValue::Null, IsValue::NotNull, IsValue::True, IsValue::False, IsValue::Unknown]);
    let text = "[^\0]{0,8}";
    prop_oneof![
        (column(), operator, text, sense()).prop_map(|(column, operator, value, sense)| Filter::Compare {
            column,
            operator,
            value,
            sense
        }),
        (column(), prop::collection::vec(text, 0..4), sense()).prop_map(|(column, values, sense)| Filter::In {
            column,
            values,
            sense
        }),
        (column(), is, sense()).prop_map(|(column, value, sense)| Filter::Is { column, value, sense }),
    ]
}

fn tree() -> impl Strategy<Value = Filter> {
    leaf().prop_recursive(3, 20, 4, |inner| {
        let terms = prop::collection::vec(inner, 1..4);
        prop_oneof![
            (terms.clone(), sense()).prop_map(|(terms, sense)| Filter::And { terms, sense }),
            (terms, sense()).prop_map(|(terms, sense)| Filter::Or { terms, sense }),
        ]
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn print_column(column: &ColumnRef) -> String {
    let mut text = quoted(&column.name);
    for step in &column.path {
        text += if step.output == JsonOutput::Text { "->>" } else { "->" };
        match &step.to {
            JsonTarget::Key(key) => text += &quoted(key),
            JsonTarget::Index(index) => text += &index.to_string(),
        }
    }
    text
}

/// The parameter that means this filter, as name and value.
fn print(filter: &Filter) -> (String, String) {
    let not = |sense: &Sense| if *sense == Sense::Negated { "not." } else { "" };
    let group = |join: &str, terms: &[Filter], sense: &Sense| {
        let inner: Vec<String> = terms.iter().map(print_in_tree).collect();
        (format!("{}{join}", not(sense)), format!("({})", inner.join(",")))
    };
    match filter {
        Filter::Compare { column, operator, value, sense } => {
            (print_column(column), format!("{}{}.{value}", not(sense), format!("{operator:?}").to_lowercase()))
        }
        Filter::In { column, values, sense } => {
            let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
            (print_column(column), format!("{}in.({})", not(sense), values.join(",")))
        }
        Filter::Is { column, value, sense } => {
            let word = match value {
                IsValue::Null => "null",
                IsValue::NotNull => "not_null",
                IsValue::True => "true",
                IsValue::False => "false",
                IsValue::Unknown => "unknown",
            };
            (print_column(column), format!("{}is.{word}", not(sense)))
        }
        Filter::And { terms, sense } => group("and", terms, sense),
        Filter::Or { terms, sense } => group("or", terms, sense),
    }
}

fn print_in_tree(filter: &Filter) -> String {
    match filter {
        Filter::Compare { column, operator, value, sense } => {
            let protected =
                Filter::Compare { column: column.clone(), operator: *operator, value: quoted(value), sense: *sense };
            let (name, value) = print(&protected);
            format!("{name}.{value}")
        }
        Filter::And { .. } | Filter::Or { .. } => {
            let (name, value) = print(filter);
            format!("{name}{value}")
        }
        Filter::In { .. } | Filter::Is { .. } => {
            let (name, value) = print(filter);
            format!("{name}.{value}")
        }
    }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn printed_filters_parse_to_themselves(filters in prop::collection::vec(tree(), 0..4)) {
        let query: Vec<String> = filters.iter().map(|f| {
            let (name, value) = print(f);
            format!("{}={}", encode(&name), encode(&value))
        }).collect();
        let params = Params::parse(&query.join("&"), &fixture::products());
        prop_assert_eq!(params.expect("valid").filters, filters);
    }

    #[test]
    fn printed_orders_and_selects_parse_to_themselves(
        columns in prop::collection::vec((column(), any::<bool>(), any::<bool>(), prop::option::of("[^\0]{1,5}")), 1..6),
    ) {
        let order: Vec<OrderTerm> = columns.iter().map(|(column, desc, last, _)| OrderTerm {
            column: column.clone(),
            direction: if *desc { Direction::Desc } else { Direction::Asc },
            nulls: if *last { Nulls::Last } else { Nulls::First },
        }).collect();
        let items: Vec<SelectItem> = columns.iter().map(|(column, cast, _, alias)| SelectItem::Column {
            alias: alias.clone(),
            column: column.clone(),
            cast: cast.then(|| "double precision".to_owned()),
        }).collect();
        let order_text: Vec<String> = order.iter().map(|t| {
            let direction = if t.direction == Direction::Desc { "desc" } else { "asc" };
            let nulls = if t.nulls == Nulls::Last { "nullslast" } else { "nullsfirst" };
            format!("{}.{direction}.{nulls}", print_column(&t.column))
        }).collect();
        let select_text: Vec<String> = items.iter().map(|item| {
            let SelectItem::Column { alias, column, cast } = item else { unreachable!("no star was made") };
            let alias = alias.as_ref().map(|a| format!("{}:", quoted(a))).unwrap_or_default();
            let cast = cast.as_ref().map(|c| format!("::{c}")).unwrap_or_default();
            format!("{alias}{}{cast}", print_column(column))
        }).collect();
        let query = format!("order={}&select={}", encode(&order_text.join(",")), encode(&select_text.join(", ")));
        let params = Params::parse(&query, &fixture::products()).expect("valid");
        prop_assert_eq!(params.order, Some(order));
        prop_assert_eq!(params.projection, Some(Projection::Items(items.into())));
    }

    #[test]
    fn no_query_panics(query in "\\PC{0,60}") {
        let _ = Params::parse(&query, &fixture::products());
    }

    #[test]
    fn no_mixture_of_the_dialects_words_panics(words in prop::collection::vec(prop::sample::select(vec![
        "id", "name", "meta", "select", "order", "limit", "or", "and", "not", "in", "is", "eq", "=", "&", ".", ",", "(", ")",
        "\"", "\\", "->", "->>", "::", ":", "*", "%22", "%", "%00", "+", " ", "{", "}", "-", "1", "é", "null", "columns",
    ]), 0..24)) {
        let _ = Params::parse(&words.concat(), &fixture::products());
    }

    #[test]
    fn no_body_panics(words in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"id\"", "\"name\"", "1", "-", "1.5", "null", "true", "\"", "\\", "\\u0000", "\\ud800", " ",
    ]), 0..20)) {
        let body = Bytes::from(words.concat());
        let _ = super::body::parse(body.clone(), &fixture::products(), None, super::body::Rows::Many);
        let _ = super::body::parse(body, &fixture::items(), None, super::body::Rows::One);
    }

    #[test]
    fn no_path_panics(path in "/v1/[a-z%/,\"0-9]{0,20}") {
        if path.parse::<Uri>().is_ok() {
            let _ = crate::router::route(&Method::GET, &path);
        }
    }
}
