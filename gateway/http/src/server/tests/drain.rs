//! Stopping without a failed request.

use super::*;

#[tokio::test]
async fn draining_answers_what_is_in_flight_and_closes_the_rest() {
    let server = start(|_| {});
    let mut idle = server.connect().await;
    assert!(idle.still_serves().await);
    let mut busy = server.connect().await;
    busy.send("GET /v1/products/700 HTTP/1.1\r\n\r\n").await;
    let (client, connection) = http2::connect(&server).await;
    let (response, _) = client
        .ready()
        .await
        .expect("ready")
        .send_request(http2::request("GET", "/v1/products/700"), true)
        .expect("sent");
    soon("the requests", server.fake.arrived.acquire_many(2)).await.expect("never closed").forget();
    server.shutdown.cancel();
    soon("draining", server.drain.reached(DrainPhase::Draining)).await;
    assert!(idle.closed().await);
    soon("the listener's end", async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert_eq!(server.drain.phase(), DrainPhase::Draining, "requests are still in flight");
    server.fake.gate.add_permits(2);
    assert_eq!(busy.answer().await.expect("an answer").0, 200);
    assert!(busy.closed().await);
    assert_eq!(response.await.expect("an answer").status(), 200);
    soon("GOAWAY", connection).await.expect("no panic").expect("no error");
    soon("the end", server.drain.reached(DrainPhase::Done)).await;
}

#[tokio::test]
async fn while_draining_is_announced_requests_are_still_accepted() {
    let server = start(|s| s.drain_delay = 60 * SECOND);
    server.shutdown.cancel();
    soon("the announcement", server.drain.reached(DrainPhase::Announced)).await;
    assert!(server.connect().await.still_serves().await);
    assert_eq!(server.drain.phase(), DrainPhase::Announced);
}

#[tokio::test]
async fn draining_does_not_wait_longer_than_its_grace() {
    let server = start(|s| s.drain_grace = Duration::from_millis(150));
    let mut stuck = server.connect().await;
    stuck.send("GET /v1/products/700 HTTP/1.1\r\n\r\n").await;
    soon("the request", server.fake.arrived.acquire()).await.expect("never closed").forget();
    server.shutdown.cancel();
    soon("the end", server.drain.reached(DrainPhase::Done)).await;
    assert!(stuck.closed().await);
}
