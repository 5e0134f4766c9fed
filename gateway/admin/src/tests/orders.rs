//! Orders: what they say, who may give them, and what becomes of them.

use bytes::Bytes;
use tidegate_types::settings::Moves;

use super::*;
use crate::control::{Age, Decision, Letter};

fn order(reason: Option<&str>, moves: Moves) -> Order {
    Order { actor: "127.0.0.1".to_owned(), reason: reason.map(str::to_owned), moves }
}

fn upload(wasm: &'static [u8]) -> Upload {
    Upload { wasm: Bytes::from_static(wasm), config: None, signature: None, age: Age::NotOlder }
}

#[tokio::test]
async fn a_put_stages_its_body() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let (status, _, report) = admin.order("PUT /admin/plugins/router", "", b"\0asm").await;
    assert_eq!((status, &report["name"]), (201, &"router".into()));
    assert_eq!(admin.told(), Told::Stage("router".into(), upload(b"\0asm"), order(None, Moves::Refused)));
}

#[tokio::test]
async fn a_configuration_comes_by_header_or_by_query() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let with_config = Upload { config: Some(json!({ "buckets": 4 })), ..upload(b"x") };
    let headers = "tidegate-config: {\"buckets\":4}\r\n";
    assert_eq!(admin.order("PUT /admin/plugins/router", headers, b"x").await.0, 201);
    assert_eq!(admin.told(), Told::Stage("router".into(), with_config.clone(), order(None, Moves::Refused)));
    let line = "PUT /admin/plugins/router?config=%7B%22buckets%22:4%7D&force=true";
    assert_eq!(admin.order(line, "", b"x").await.0, 201);
    let forced = Upload { age: Age::Any, ..with_config };
    assert_eq!(admin.told(), Told::Stage("router".into(), forced, order(None, Moves::Refused)));
    for (line, headers) in [
        ("PUT /admin/plugins/router?config=%7B%7D", "tidegate-config: {}\r\n"),
        ("PUT /admin/plugins/router?config=%7B", ""),
        ("PUT /admin/plugins/router?config=4", ""),
        ("PUT /admin/plugins/router?forced=true", ""),
        ("PUT /admin/plugins/router?force", ""),
    ] {
        let (status, _, error) = admin.order(line, headers, b"x").await;
        assert_eq!((status, &error["code"]), (400, &"TG027".into()), "{line}: {error}");
        assert!(error["hint"].is_string(), "{error}");
    }
    assert!(admin.fake.told.lock().is_empty());
}

#[tokio::test]
async fn a_signature_is_handed_on_as_it_came() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    admin.order("PUT /admin/plugins/router", "tidegate-signature: ed25519:abc=\r\n", b"x").await;
    let signed = Upload { signature: Some("ed25519:abc=".into()), ..upload(b"x") };
    assert_eq!(admin.told(), Told::Stage("router".into(), signed, order(None, Moves::Refused)));
}

#[tokio::test]
async fn each_step_is_told_with_its_words() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let steps = [
        ("shadow", "", Step::Shadow, order(None, Moves::Refused)),
        ("shadow", "{\"reason\":\" look \"}", Step::Shadow, order(Some("look"), Moves::Refused)),
        ("canary", "", Step::Canary { percent: 10 }, order(None, Moves::Refused)),
        ("canary", "{\"percent\":25}", Step::Canary { percent: 25 }, order(None, Moves::Refused)),
        (
            "canary",
            "{\"percent\":1,\"reason\":\"copied\"}",
            Step::Canary { percent: 1 },
            order(Some("copied"), Moves::Refused),
        ),
        (
            "promote",
            "{\"allow_moves\":true,\"reason\":\"copied\"}",
            Step::Promote,
            order(Some("copied"), Moves::Allowed),
        ),
        ("promote", "{\"allow_moves\":false}", Step::Promote, order(None, Moves::Refused)),
        ("rollback", "{}", Step::RollBack, order(None, Moves::Refused)),
    ];
    for (way, body, step, order) in steps {
        let (status, report) = admin.post(&format!("/admin/plugins/router/{way}"), body).await;
        assert_eq!((status, &report["name"]), (200, &"router".into()), "{way} {body}: {report}");
        assert_eq!(admin.told(), Told::Steer("router".into(), step, order));
    }
    assert_eq!(admin.post("/admin/config/reload", "").await.0, 200);
    assert_eq!(admin.told(), Told::Reload(order(None, Moves::Refused)));
}

#[tokio::test]
async fn a_decision_names_a_dead_letter() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let (status, _, body) = admin.get("/admin/journal", "").await;
    assert_eq!((status, body.as_str()), (200, "{\"journal\":{\"depth\":3}}"));
    for (path, decision) in [("requeue", Decision::Requeue), ("discard", Decision::Discard)] {
        let body = r#"{"shard":"a","sequence":7,"reason":"mended"}"#;
        assert_eq!(admin.post(&format!("/admin/journal/{path}"), body).await.0, 200);
        let letter = Letter { shard: "a".into(), sequence: 7 };
        assert_eq!(admin.told(), Told::Decide(letter, decision, order(Some("mended"), Moves::Refused)));
    }
    for body in ["", "{}", r#"{"shard":"a"}"#, r#"{"shard":"a","sequence":7,"all":true}"#] {
        let (status, error) = admin.post("/admin/journal/discard", body).await;
        assert_eq!((status, error["code"].as_str()), (400, Some("TG027")), "{body}: {error}");
    }
    let refused = |why| Refused { why, message: "no".into(), details: None, hint: None };
    for (why, status, code) in
        [(Why::NoLetter, 404, "TG034"), (Why::StillDead, 409, "TG035"), (Why::ShardDown, 503, "TG003")]
    {
        *admin.fake.refuses.lock() = Some(refused(why));
        let (answered, error) = admin.post("/admin/journal/requeue", r#"{"shard":"a","sequence":7}"#).await;
        assert_eq!((answered, error["code"].as_str()), (status, Some(code)));
    }
}

#[tokio::test]
async fn a_purge_names_what_is_to_be_forgotten() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let body = r#"{"keys":[{"collection":"carts","key":"7,42"}],"tags":[{"tag":"a"},{"tenant":"acme","tag":"b"}],
        "queries":[{"collection":"products","query":"stock=eq.3"}],
        "collections":["products"],"tenants":["acme"],"everything":true,"reason":" moved "}"#;
    assert_eq!(admin.post("/admin/cache/purge", body).await.0, 200);
    let targets = vec![
        PurgeTarget::Row { collection: "carts".into(), key: "7,42".into() },
        PurgeTarget::Tag { tenant: None, tag: "a".into() },
        PurgeTarget::Tag { tenant: Some("acme".into()), tag: "b".into() },
        PurgeTarget::Query { tenant: None, collection: "products".into(), query: "stock=eq.3".into() },
        PurgeTarget::Collection("products".into()),
        PurgeTarget::Tenant("acme".into()),
        PurgeTarget::Everything,
    ];
    assert_eq!(admin.told(), Told::Purge(targets, Softness::Hard, order(Some("moved"), Moves::Refused)));
    assert_eq!(admin.post("/admin/cache/purge", r#"{"collections":["products"],"soft":true}"#).await.0, 200);
    let targets = vec![PurgeTarget::Collection("products".into())];
    assert_eq!(admin.told(), Told::Purge(targets, Softness::Soft, order(None, Moves::Refused)));
    let many = format!("{{\"collections\":[{}\"x\"]}}", "\"x\",".repeat(1000));
    for (body, says) in [
        ("{}", "names nothing"),
        ("{\"everything\":false,\"reason\":\"x\"}", "names nothing"),
        ("", "cannot be taken"),
        ("{\"everthing\":true}", "unknown field"),
        ("{\"soft\":true}", "names nothing"),
        ("{\"keys\":[\"42\"]}", "cannot be taken"),
        (&many, "names 1001 things"),
    ] {
        let (status, error) = admin.post("/admin/cache/purge", body).await;
        assert_eq!((status, &error["code"]), (400, &"TG027".into()), "{body}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{body}: {error}");
    }
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_not_given() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    for (way, body, says) in [
        ("promote", "{\"allow_moves\":true}", "needs a reason"),
        ("promote", "{\"allow_moves\":true,\"reason\":\"  \"}", "needs a reason"),
        ("rollback", "{\"allow_moves\":true,\"reason\":\"x\"}", "promote only"),
        ("canary", "{\"percent\":1,\"allow_moves\":true,\"reason\":\"x\"}", "promote only"),
        ("promote", "{\"percent\":3}", "canary only"),
        ("canary", "{\"percent\":0}", "1 to 99"),
        ("canary", "{\"percent\":100}", "1 to 99"),
        ("canary", "{\"percent\":1000}", "cannot be taken"),
        ("canary", "{\"percents\":3}", "unknown field"),
        ("shadow", "[]", "cannot be taken"),
        ("shadow", "{", "cannot be taken"),
    ] {
        let (status, error) = admin.post(&format!("/admin/plugins/router/{way}"), body).await;
        assert_eq!((status, &error["code"]), (400, &"TG027".into()), "{way} {body}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{body}: {error}");
    }
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(1025));
    assert_eq!(admin.post("/admin/plugins/router/promote", &long).await.0, 400);
    let (status, _, _) = admin.order("PUT /admin/plugins/router", "", b"").await;
    assert_eq!(status, 400, "an empty body is no plugin");
    assert!(admin.fake.told.lock().is_empty());
}

#[tokio::test]
async fn the_actor_is_a_name_or_the_peers_address() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    admin.order("POST /admin/plugins/router/shadow", "tidegate-actor: ada\r\n", b"").await;
    let named = Order { actor: "ada".into(), ..order(None, Moves::Refused) };
    assert_eq!(admin.told(), Told::Steer("router".into(), Step::Shadow, named));
    for wrong in [format!("tidegate-actor: {}\r\n", "a".repeat(129)), "tidegate-actor: \r\n".to_owned()] {
        let (status, _, error) = admin.order("POST /admin/plugins/router/shadow", &wrong, b"").await;
        assert_eq!((status, &error["code"]), (400, &"TG027".into()), "{error}");
    }
}

#[tokio::test]
async fn each_refusal_has_its_status_and_code() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    for (why, status, code) in [
        (Why::UnknownPlugin, 404, "TG020"),
        (Why::NothingStaged, 409, "TG021"),
        (Why::NothingBefore, 409, "TG022"),
        (Why::Refused, 422, "TG023"),
        (Why::Moves, 409, "TG024"),
        (Why::Signature, 403, "TG025"),
        (Why::Downgrade, 409, "TG026"),
        (Why::Invalid, 400, "TG027"),
        (Why::Disk, 500, "TG028"),
        (Why::Configuration, 422, "TG029"),
        (Why::Unheard, 503, "TG031"),
        (Why::Internal, 500, "XX000"),
    ] {
        let (details, hint) = (Some("where".to_owned()), Some("do".to_owned()));
        *admin.fake.refuses.lock() = Some(Refused { why, message: "no".into(), details, hint });
        let (got, error) = admin.post("/admin/plugins/router/promote", "").await;
        assert_eq!(got, status, "{error}");
        assert_eq!(error, json!({ "code": code, "message": "no", "details": "where", "hint": "do" }));
    }
}

#[tokio::test]
async fn orders_need_the_token_where_there_is_one() {
    let admin = Admin::serving("127.0.0.1:0", Some("sesame")).await;
    for line in ["PUT /admin/plugins/router", "POST /admin/plugins/router/promote", "POST /admin/config/reload"] {
        assert_eq!(admin.order(line, "", b"").await.0, 401, "{line}");
        assert_eq!(admin.order(line, "authorization: Bearer wrong\r\n", b"").await.0, 401, "{line}");
    }
    let exposed = Admin::serving("0.0.0.0:0", None).await;
    assert_eq!(exposed.order("POST /admin/config/reload", "", b"").await.0, 403);
    assert!(admin.fake.told.lock().is_empty() && exposed.fake.told.lock().is_empty());
    let (status, _, _) = admin.order("POST /admin/config/reload", "authorization: Bearer sesame\r\n", b"").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn web_pages_cannot_give_orders() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let (line, none) = ("POST /admin/plugins/router/promote", &b""[..]);
    let (status, _, error) = admin.order(line, "origin: http://evil.example\r\n", none).await;
    assert_eq!((status, &error["code"]), (403, &"TG030".into()), "{error}");
    assert_eq!(admin.order(line, "sec-fetch-site: cross-site\r\n", none).await.0, 403);
    let rebound = format!("{line} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    assert!(admin.send(&rebound).await.0.starts_with("HTTP/1.1 403"));
    // What a form can send.
    for form in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"] {
        let (status, _, _) = admin.order(line, &format!("content-type: {form}\r\n"), b"{}").await;
        assert_eq!(status, 415, "{form}");
    }
    assert_eq!(admin.order(line, "", b"{}").await.0, 415, "a body that is not called JSON");
    assert!(admin.fake.told.lock().is_empty());
    assert_eq!(admin.order(line, "content-type: application/json; charset=utf-8\r\n", b"{}").await.0, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    for (line, length) in [("PUT /admin/plugins/router", 64 << 20), ("POST /admin/plugins/router/shadow", 16 << 10)] {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n\r\n",
            length + 1
        );
        let (head, body) = admin.send(&head).await;
        assert!(head.starts_with("HTTP/1.1 413") && body.contains("\"TG008\""), "{line}: {head}\n{body}");
    }
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", (16 << 10) + 1, " ".repeat((16 << 10) + 1));
    let chunked = format!(
        "POST /admin/plugins/router/shadow HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
    );
    assert!(admin.send(&chunked).await.0.starts_with("HTTP/1.1 413"));
    assert!(admin.fake.told.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_cut_off() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let head = "PUT /admin/plugins/router HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\nabc";
    // Time is paused: it jumps to the timeout as soon as everybody waits.
    let sent = tokio::time::timeout(Duration::from_secs(600), admin.send(head)).await.expect("an end");
    assert!(sent.0.starts_with("HTTP/1.1 408"), "{}", sent.0);
}

#[tokio::test]
async fn an_order_goes_on_when_its_client_goes_away() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let gate = Arc::new(Notify::new());
    *admin.fake.gate.lock() = Some(gate.clone());
    let mut client = TcpStream::connect(admin.address).await.expect("connected");
    let request = "POST /admin/plugins/router/promote HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("sent");
    admin.fake.begun.notified().await;
    drop(client);
    // The listener answers others meanwhile, also after it has noticed.
    assert_eq!(admin.status("/admin/plugins").await, 200);
    gate.notify_one();
    tokio::time::timeout(Duration::from_secs(30), admin.fake.done.notified()).await.expect("carried out");
}

#[tokio::test]
async fn only_so_many_orders_are_taken_at_once() {
    let admin = Arc::new(Admin::serving("127.0.0.1:0", None).await);
    let gate = Arc::new(Notify::new());
    *admin.fake.gate.lock() = Some(gate.clone());
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move { admin.post("/admin/plugins/router/promote", "").await.0 })
        })
        .collect();
    admin.fake.begun.notified().await;
    while admin.fake.told.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    let (status, head, error) = admin.order("POST /admin/plugins/router/shadow", "", b"").await;
    assert_eq!((status, &error["code"]), (429, &"TG010".into()), "{error}");
    assert!(head.to_lowercase().contains("retry-after: 5"), "{head}");
    for order in waiting {
        gate.notify_waiters();
        gate.notify_one();
        assert_eq!(order.await.expect("answered"), 200);
    }
}

#[tokio::test]
async fn paths_have_their_methods() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    for (line, allowed) in [
        ("POST /admin/plugins/router", "get, head, put"),
        ("GET /admin/plugins/router/promote", "post"),
        ("PUT /admin/config/reload", "post"),
        ("PUT /admin/config", "get, head"),
    ] {
        let (status, head, _) = admin.order(line, "", b"").await;
        assert_eq!(status, 405, "{line}");
        assert!(head.to_lowercase().contains(&format!("allow: {allowed}\r\n")), "{line}: {head}");
    }
    let (status, _, error) = admin.get("/admin/plugins/other", "").await;
    assert_eq!((status, error.contains("\"TG020\"")), (404, true), "{error}");
}
