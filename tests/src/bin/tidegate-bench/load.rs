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

/// A request, repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) target: Target,
    /// A header field of each request.
    pub(crate) header: Option<(&'static str, &'static str)>,
}

/// What came of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) requests: u64,
    /// Without an answer, or with another than 200.
    pub(crate) failed: u64,
    pub(crate) p99: Duration,
}

impl Outcome {
    /// Insists that nothing failed.
    pub(crate) fn flawless(self) -> Self {
        assert_eq!(self.failed, 0, "failed requests: {self:?}");
        self
    }
}

/// Requests per second over `duration`. Answers other than 200 end the benchmark.
pub(crate) async fn run(address: SocketAddr, target: Target, duration: Duration) -> f64 {
    measure(address, Asked { target, header: None }, duration).await.flawless().rate
}

/// Asks over `duration`.
pub(crate) async fn measure(address: SocketAddr, asked: Asked, duration: Duration) -> Outcome {
    if has_wrk() {
        tokio::task::spawn_blocking(move || wrk(address, asked, duration)).await.expect("wrk runs")
    } else {
        built_in(address, asked, duration).await
    }
}

fn wrk(address: SocketAddr, asked: Asked, duration: Duration) -> Outcome {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("load.lua");
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{}s", duration.as_secs())]);
    if let Some((name, value)) = asked.header {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let url = match asked.target {
        // Formatted once by wrk itself, without a script.
        Target::Same(id) => format!("http://{address}/v1/products/{id}"),
        Target::Scattered { rows, from } => {
            let script = format!(
                "local n = {from}\nrequest = function()\n n = n + 1\n \
                 return wrk.format(\"GET\", string.format(\"/v1/products/%d\", (n * {STRIDE}) % {rows} + 1))\nend"
            );
            std::fs::write(&path, script).expect("own folder");
            command.arg("-s").arg(&path);
            format!("http://{address}/")
        }
    };
    let output = command.arg(url).output().expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout);
    outcome_of(&text).unwrap_or_else(|| panic!("wrk says: {text}"))
}

/// Reads what wrk prints.
fn outcome_of(text: &str) -> Option<Outcome> {
    let after = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let rate = after("Requests/sec:")?.parse().ok()?;
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let refused: u64 = after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?;
    // connect 0, read 0, write 0, timeout 0
    let errors = after("Socket errors:").unwrap_or_default();
    let broken: u64 = errors.split(|c: char| !c.is_ascii_digit()).filter_map(|count| count.parse::<u64>().ok()).sum();
    let late = after("99%")?;
    let (number, unit) = late.split_at(late.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    let p99 = Duration::from_secs_f64(number.parse::<f64>().ok()? * seconds);
    Some(Outcome { rate, requests, failed: refused + broken, p99 })
}

async fn built_in(address: SocketAddr, asked: Asked, duration: Duration) -> Outcome {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(connection(address, asked, next.clone(), begun + duration));
    }
    let (mut failed, mut latencies) = (0, Vec::new());
    for (more_failed, more) in clients.join_all().await {
        failed += more_failed;
        latencies.extend(more);
    }
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
    let requests = latencies.len() as u64;
    #[expect(clippy::cast_precision_loss, reason = "a rate has three digits")]
    let rate = requests as f64 / begun.elapsed().as_secs_f64();
    Outcome { rate, requests, failed, p99 }
}

/// One keep-alive connection: failed requests, and the time each took.
async fn connection(address: SocketAddr, asked: Asked, next: Arc<AtomicU64>, until: Instant) -> (u64, Vec<Duration>) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let (mut failed, mut latencies) = (0, Vec::new());
    while Instant::now() < until {
        let n = next.fetch_add(1, Ordering::Relaxed) + 1;
        let id = match asked.target {
            Target::Same(id) => id,
            Target::Scattered { rows, from } => ((from + n) * STRIDE) % rows + 1,
        };
        let request = http::Request::get(format!("/v1/products/{id}")).header("host", "bench");
        let request = asked.header.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let sent = Instant::now();
        match client.send_request(request).await {
            Ok(answer) => {
                failed += u64::from(answer.status() != 200);
                failed += u64::from(answer.into_body().collect().await.is_err());
            }
            Err(_) => {
                failed += 1;
                break;
            }
        }
        latencies.push(sent.elapsed());
    }
    (failed, latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 4s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Latency Distribution\n\
                    \x20    50%    1.01ms\n     99%  950.00us\n  1234 requests in 4.00s, 1.0MB read\n\
                    \x20 Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\n\
                    Requests/sec:  308.50\nTransfer/sec: 1MB\n";
        let outcome = outcome_of(text).expect("understood");
        assert_eq!((outcome.requests, outcome.failed, outcome.p99), (1234, 7, Duration::from_micros(950)));
        assert!((outcome.rate - 308.5).abs() < 0.01);
        let outcome = outcome_of("99%    1.20s\n 10 requests in 4.00s, 1MB read\nRequests/sec: 2.5\n");
        let outcome = outcome.expect("understood");
        assert_eq!((outcome.failed, outcome.p99), (0, Duration::from_millis(1200)));
    }
}
