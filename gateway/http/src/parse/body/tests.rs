use super::*;
use crate::fixture;

fn parse_in(collection: &Collection, json: &str, rows: Rows) -> Result<ParsedBody, Problem> {
    parse(Bytes::copy_from_slice(json.as_bytes()), collection, None, rows)
}

fn many(json: &str) -> Result<RowsBody, Problem> {
    parse_in(&fixture::products(), json, Rows::Many).map(|p| p.rows)
}

#[test]
fn text_stays_as_it_came_and_single_objects_are_wrapped() {
    let body = many("[ {\"id\": 9007199254740993, \"price\": 1.10} ]").expect("valid");
    assert_eq!(body.json, "[ {\"id\": 9007199254740993, \"price\": 1.10} ]");
    assert_eq!(body.columns, ["id", "price"]);
    assert_eq!(body.keys[0].as_ref().expect("key").to_string(), "9007199254740993");
    assert_eq!(body.shard_keys[0].as_deref(), Some("9007199254740993"));
    let body = many(" {\"name\":\"x\"}\n").expect("valid");
    assert_eq!(body.json, "[ {\"name\":\"x\"}\n]");
    assert_eq!((body.rows, &body.keys[0], &body.shard_keys[0]), (1, &None, &None));
}

#[test]
fn one_row_is_the_first_of_an_array() {
    let body = parse_in(&fixture::products(), "[{\"id\":1}, {\"id\":2}]", Rows::One).expect("valid").rows;
    assert_eq!((&body.json[..], body.rows), (&b"[{\"id\":1}]"[..], 1));
    assert!(parse_in(&fixture::products(), "[]", Rows::One).is_err());
}

#[test]
fn keys_are_read_through_escapes_and_types() {
    let body = many(r#"[{"\u0069d":"0042"},{"id":null}]"#).expect("valid");
    assert_eq!(body.keys[0].as_ref().expect("key").to_string(), "42");
    assert_eq!(body.keys[1], None);
    let items = parse_in(&fixture::items(), r#"[{"order_id":7,"sku":"x"}]"#, Rows::Many).expect("valid");
    assert_eq!((items.rows.keys[0].as_ref(), items.rows.shard_keys[0].as_deref()), (None, Some("7")));
    assert_eq!(items.first_key.as_slice(), [Some(KeyValue::Int(7)), None]);
}

#[test]
fn refused_bodies_name_the_code() {
    for (json, code) in [
        ("", "PGRST102"),
        ("  ", "PGRST102"),
        ("{", "PGRST102"),
        ("[1]", "PGRST102"),
        ("[[]]", "PGRST102"),
        ("[null]", "PGRST102"),
        ("\"x\"", "PGRST102"),
        ("42", "PGRST102"),
        ("null", "PGRST102"),
        ("{}{}", "PGRST102"),
        ("[{}],", "PGRST102"),
        ("\u{feff}{}", "PGRST102"),
        ("{\"id\":1,}", "PGRST102"),
        ("{'id':1}", "PGRST102"),
        ("[{\"id\":1},{\"name\":\"x\"}]", "PGRST102"),
        ("[{\"id\":1},{}]", "PGRST102"),
        ("{\"id\":1,\"id\":2}", "PGRST102"),
        ("{\"id\":1,\"\\u0069d\":2}", "PGRST102"),
        ("{\"name\":\"a\\u0000b\"}", "PGRST102"),
        ("{\"meta\":{\"\\u0000\":1}}", "PGRST102"),
        ("{\"nope\":1}", "PGRST204"),
        ("{\"search\":\"x\"}", "428C9"),
        ("{\"id\":\"x\"}", "22P02"),
        ("{\"id\":1.5}", "22P02"),
        ("{\"id\":true}", "22P02"),
        ("{\"id\":[1]}", "22P02"),
        ("{\"id\":99999999999999999999}", "22P02"),
    ] {
        assert_eq!(many(json).expect_err(json).code, code, "{json}");
    }
    let deep = format!("{{\"meta\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert_eq!(many(&deep).expect_err("deep").code, "TG008");
    let very_deep = "[".repeat(1_000_000);
    assert_eq!(many(&very_deep).expect_err("deep").code, "TG008");
}

#[test]
fn an_escaped_backslash_before_u0000_is_text() {
    assert!(many(r#"{"name":"a\\u0000b"}"#).is_ok());
    assert!(many(r#"{"name":"[[\"{{"}"#).is_ok());
}

#[test]
fn the_columns_parameter_decides_what_counts() {
    let columns = Some(vec!["name".to_owned()]);
    let json = Bytes::from_static(b"[{\"id\":1,\"nope\":2},{\"name\":\"x\"}]");
    let body = parse(json, &fixture::products(), columns, Rows::Many).expect("valid").rows;
    assert_eq!((body.columns, body.keys), (vec!["name".to_owned()], vec![None, None]));
}

#[test]
fn numbers_in_text_keys_must_be_digits() {
    let notes = fixture::notes();
    assert!(parse_in(&notes, r#"{"topic":12,"slug":"x"}"#, Rows::Many).is_ok());
    for bad in ["1e2", "1.0", "-0"] {
        assert!(parse_in(&notes, &format!("{{\"topic\":{bad}}}"), Rows::Many).is_err(), "{bad}");
    }
}

#[test]
fn content_types() {
    let check = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().expect("valid"));
        check_content_type(&headers)
    };
    assert!(check_content_type(&HeaderMap::new()).is_ok());
    assert!(check("Application/JSON; charset=utf-8").is_ok());
    for bad in ["text/csv", "application/x-www-form-urlencoded", ""] {
        assert_eq!(check(bad).expect_err(bad).code, "PGRST102");
    }
}
