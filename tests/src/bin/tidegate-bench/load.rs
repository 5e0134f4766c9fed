//! Load: `wrk` where it is installed, else a loop of hyper clients in this process.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// Keep-alive connections of every load.
pub(crate) const CONNECTIONS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// `/v1/products/N`, always the same.
    Same(u64),
    /// `/v1/products/N` for every N of 1..=rows in a scattered order, beginning at the nth.
    Scattered { rows: u64, from: u64 },
}

/// Steps through the rows so that each comes once before any comes twice: a prime that divides no
/// number of rows used here.
const STRIDE: u64 = 1_000_003;

/// The name of the load generator.
pub(crate) fn generator() -> String {
    if has_wrk() { format!("wrk -t1 -c{CONNECTIONS}") } else { format!("built-in load, {CONNECTIONS} connections") }
}

fn has_wrk() -> bool {
    // It exits with an error after printing its version.
    Command::new("wrk").arg("-v").output().is_ok()
}

/// Requests per second over `duration`. Answers other than 200 end the benchmark.
pub(crate) async fn run(address: SocketAddr, target: Target, duration: Duration) -> f64 {
    if has_wrk() {
        tokio::task::spawn_blocking(move || wrk(address, target, duration)).await.expect("wrk runs")
    } else {
        built_in(address, target, duration).await
    }
}

fn wrk(address: SocketAddr, target: Target, duration: Duration) -> f64 {
    let script = match target {
        Target::Same(id) => format!("request = function() return wrk.format(\"GET\", \"/v1/products/{id}\") end"),
        Target::Scattered { rows, from } => format!(
            "local n = {from}\nrequest = function()\n n = n + 1\n \
             return wrk.format(\"GET\", string.format(\"/v1/products/%d\", (n * {STRIDE}) % {rows} + 1))\nend"
        ),
    };
    // A fixed request is formatted once by wrk itself, without a script.
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("load.lua");
    std::fs::write(&path, script).expect("own folder");
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", duration.as_secs())]);
    let url = match target {
        Target::Same(id) => format!("http://{address}/v1/products/{id}"),
        Target::Scattered { .. } => {
            command.arg("-s").arg(&path);
            format!("http://{address}/")
        }
    };
    let output = command.arg(url).output().expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx"), "{text}");
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("wrk says: {text}"))
}

async fn built_in(address: SocketAddr, target: Target, duration: Duration) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let next = next.clone();
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let (mut client, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
            tokio::spawn(connection);
            while begun.elapsed() < duration {
                let n = next.fetch_add(1, Ordering::Relaxed) + 1;
                let id = match target {
                    Target::Same(id) => id,
                    Target::Scattered { rows, from } => ((from + n) * STRIDE) % rows + 1,
                };
                let request = http::Request::get(format!("/v1/products/{id}")).header("host", "bench");
                let request = request.body(Empty::<Bytes>::new()).expect("a request");
                let answer = client.send_request(request).await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.expect("a body");
            }
        });
    }
    clients.join_all().await;
    #[expect(clippy::cast_precision_loss, reason = "a rate has three digits")]
    let count = next.load(Ordering::Relaxed) as f64;
    count / begun.elapsed().as_secs_f64()
}
