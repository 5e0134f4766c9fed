//! HTTP/2 with prior knowledge.

use super::*;

pub(super) async fn connect(server: &Running) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(server.address).await.expect("accepts");
    let (client, connection) = h2::client::handshake(stream).await.expect("an HTTP/2 server");
    (client, tokio::spawn(connection))
}

pub(super) fn request(method: &str, path: &str) -> http::Request<()> {
    http::Request::builder().method(method).uri(format!("http://x{path}")).body(()).expect("valid")
}

#[tokio::test]
async fn http2_is_served_with_its_limits() {
    let server = start(|_| {});
    let (client, _connection) = connect(&server).await;
    let mut client = client.ready().await.expect("ready");
    for (method, path, status, length) in [
        ("GET", "/v1/products/1", 200, "8"),
        ("HEAD", "/v1/products/1", 200, "8"),
        ("GET", "/v1/products?id=foo.1", 400, ""),
        ("DELETE", "/v1/products/1", 204, ""),
    ] {
        let (response, _) = client.send_request(request(method, path), true).expect("sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), status, "{method} {path}");
        if !length.is_empty() {
            assert_eq!(response.headers()["content-length"], length, "{method} {path}");
        }
        let mut body = response.into_body();
        let mut read = 0;
        while let Some(data) = body.data().await {
            read += data.expect("data").len();
        }
        assert_eq!(read > 0, method == "GET", "{method} {path}");
    }
    assert_eq!(client.current_max_send_streams(), 8);

    let mut many = request("GET", "/v1/products/1");
    for n in 0..21 {
        many.headers_mut()
            .insert(http::HeaderName::try_from(format!("x-{n}")).expect("valid"), "1".parse().expect("valid"));
    }
    let (response, _) = client.send_request(many, true).expect("sent");
    assert_eq!(response.await.expect("an answer").status(), 431);

    let mut large = request("GET", "/v1/products/1");
    large.headers_mut().insert("x", "y".repeat(20_000).parse().expect("valid"));
    let (response, _) = client.send_request(large, true).expect("sent");
    assert!(response.await.map_or(true, |r| r.status() == 431), "over the header list's size");
}

#[tokio::test]
async fn http2_streams_over_the_limit_are_refused() {
    let server = start(|s| s.max_streams = 2);
    let mut wire = server.connect().await;
    // Written by hand, since clients keep to the limit: preface, SETTINGS, three requests that wait.
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    // :method GET, :scheme http, :path /v1/products/700, from the static table and as a literal.
    let block = b"\x82\x86\x04\x10/v1/products/700";
    let length = u8::try_from(block.len()).expect("short");
    for stream in [1, 3, 5] {
        let mut frame = vec![0, 0, length, 1, 5, 0, 0, 0, stream];
        frame.extend_from_slice(block);
        wire.send(frame).await;
    }
    let refused = loop {
        let reset = wire.read.windows(9).position(|w| w[3] == 3 && w[..3] == [0, 0, 4] && w[8] == 5);
        if let Some(at) = reset
            && wire.read.len() >= at + 13
        {
            break wire.read[at + 12];
        }
        wire.more().await.expect("the connection goes on");
    };
    assert_eq!(refused, 7, "REFUSED_STREAM");
    drop(soon("two requests", server.fake.arrived.acquire_many(2)).await);
    assert_eq!(server.fake.arrived.available_permits(), 2, "the third never reached the backend");
}

#[tokio::test]
async fn http2_floods_of_resets_end_the_connection() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    let block = b"\x82\x86\x04\x10/v1/products/700";
    for stream in (1..4000_u32).step_by(2) {
        flood.extend_from_slice(&[0, 0, u8::try_from(block.len()).expect("short"), 1, 5]);
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(block);
        flood.extend_from_slice(&[0, 0, 4, 3, 0]);
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(&8_u32.to_be_bytes());
    }
    wire.send(flood).await;
    while wire.more().await.is_some() {}
    // GOAWAY (type 7) with ENHANCE_YOUR_CALM (11) as its error.
    let calm = wire.read.windows(17).any(|w| w[3] == 7 && w[13..17] == [0, 0, 0, 11]);
    assert!(calm, "{:?}", wire.read);
    assert!(server.connect().await.still_serves().await);
}
