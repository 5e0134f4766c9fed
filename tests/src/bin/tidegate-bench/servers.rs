//! The competitors: a bare hyper server, and one query per request with a pool.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Carries the answer that `serve-bare` repeats: header lines, an empty line, the body.
const ANSWER: &str = "TIDEGATE_BENCH_ANSWER";
/// As many connections as the naive server's pool has.
const NAIVE_POOL: usize = 8;

/// A server in a process of its own, ended on drop.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// A bare hyper server that answers every request with these fields and this body.
    pub(crate) fn bare(headers: &HeaderMap, body: &Bytes) -> Self {
        let mut answer = String::new();
        // hyper adds these two itself, as it does for the gateway.
        for (name, value) in headers.iter().filter(|(name, _)| *name != "date" && *name != "content-length") {
            answer.push_str(&format!("{name}: {}\n", value.to_str().expect("plain text")));
        }
        answer.push('\n');
        answer.push_str(std::str::from_utf8(body).expect("JSON"));
        Self::spawn(&["serve-bare"], &[(ANSWER, &answer)])
    }

    /// hyper, deadpool and one query per request.
    pub(crate) fn naive(url: &str) -> Self {
        Self::spawn(&["serve-naive", url], &[])
    }

    fn spawn(args: &[&str], env: &[(&str, &str)]) -> Self {
        let me = std::env::current_exe().expect("own path");
        let mut command = Command::new(me);
        command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the benchmark runs itself");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
        Self { child, address: line.trim().parse().expect("an address") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tidegate-bench serve-bare`
pub(crate) async fn serve_bare() {
    let answer = std::env::var(ANSWER).expect("an answer to repeat");
    let (head, body) = answer.split_once("\n\n").expect("a head and a body");
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        );
    }
    let (headers, body) = (Arc::new(headers), Bytes::copy_from_slice(body.as_bytes()));
    serve(move |_| {
        let mut response = Response::new(Full::new(body.clone()));
        *response.headers_mut() = (*headers).clone();
        std::future::ready(response)
    })
    .await;
}

/// `tidegate-bench serve-naive URL`
pub(crate) async fn serve_naive(url: &str) {
    let manager = Manager::from_config(
        url.parse().expect("a URL"),
        tokio_postgres::NoTls,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager).max_size(NAIVE_POOL).runtime(Runtime::Tokio1).build().expect("a pool");
    serve(move |request| {
        let pool = pool.clone();
        async move { naive_answer(&pool, request.uri().path()).await }
    })
    .await;
}

/// What a careful programmer writes first: a pooled connection, a cached statement, one row as JSON.
async fn naive_answer(pool: &Pool, path: &str) -> Response<Full<Bytes>> {
    let id: i64 = path.rsplit('/').next().and_then(|id| id.parse().ok()).expect("the load asks for numbers");
    let client = pool.get().await.expect("a connection");
    let sql = "SELECT row_to_json(p)::text FROM products p WHERE id = $1";
    let statement = client.prepare_cached(sql).await.expect("a statement");
    let row = client.query_opt(&statement, &[&id]).await.expect("an answer");
    let mut response = Response::new(Full::default());
    match row {
        Some(row) => *response.body_mut() = Full::new(Bytes::from(row.get::<_, String>(0))),
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

async fn serve<F, R>(answer: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("its address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            // The load closes connections when it is done.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
