//! A pooled HTTP client and the answers it gets.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// A client with connections of its own; clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    /// A client of one listener.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { inner: legacy::Client::builder(TokioExecutor::new()).build(connector), address }
    }

    /// A client that speaks HTTP/2 over one connection.
    #[must_use]
    pub fn http2(address: SocketAddr) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
        Self { inner, address }
    }

    /// A request, to be completed and sent.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Call {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        Call { client: self.clone(), request, body: Bytes::new() }
    }

    /// `GET`.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).send().await
    }

    /// `POST` of JSON.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.request(Method::POST, path).json(body)
    }

    /// `PATCH` of JSON.
    #[must_use]
    pub fn patch(&self, path: &str, body: &Value) -> Call {
        self.request(Method::PATCH, path).json(body)
    }

    /// `PUT` of JSON.
    #[must_use]
    pub fn put(&self, path: &str, body: &Value) -> Call {
        self.request(Method::PUT, path).json(body)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete(&self, path: &str) -> Call {
        self.request(Method::DELETE, path)
    }
}

/// A request under construction.
#[derive(Debug)]
pub struct Call {
    client: Client,
    request: http::request::Builder,
    body: Bytes,
}

impl Call {
    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Adds `Prefer`.
    #[must_use]
    pub fn prefer(self, value: &str) -> Self {
        self.header("prefer", value)
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// If the connection fails: the outcome is unknown.
    ///
    /// # Panics
    /// If the request cannot be built.
    pub async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let request = self.request.body(Full::new(self.body)).expect("a request that can be built");
        let (head, body) = self.client.inner.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Insists on a status.
    ///
    /// # Panics
    /// If it is another; the message has the body.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "answer: {self}");
        self
    }

    /// Insists on 200.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect_status(200)
    }

    /// Insists on an error of this status and code in PostgREST's shape.
    ///
    /// # Panics
    /// If it is another, or of another shape.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let answer = self;
        assert_eq!(answer.status, status, "answer: {answer}");
        let problem = answer.json();
        let keys: Vec<&String> = problem.as_object().expect("an error is an object").keys().collect();
        assert_eq!(keys, ["code", "details", "hint", "message"], "answer: {answer}");
        assert_eq!(problem["code"], code, "answer: {answer}");
        assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
        problem
    }

    /// A header field, empty if absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// What the cache did, by its `Cache-Status`.
    ///
    /// # Panics
    /// If the field is absent or not ours.
    #[must_use]
    #[track_caller]
    pub fn cache(&self) -> &str {
        let value = self.header("cache-status");
        value.strip_prefix("tidegate; ").unwrap_or_else(|| panic!("Cache-Status is {value:?}: {self}"))
    }

    /// Whether it came from the cache.
    #[must_use]
    #[track_caller]
    pub fn is_hit(&self) -> bool {
        self.cache().starts_with("hit")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }

    /// The values of a column in a list.
    ///
    /// # Panics
    /// If the body is not an array of objects.
    #[must_use]
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<Value> {
        self.json().as_array().expect("an array").iter().map(|row| row[name].clone()).collect()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}
