//! Bounds on requests and how their bodies are read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::EXPECT, request::Parts};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tidegate_types::{
    problem::{Problem, ProblemKind, codes},
    settings::HttpSettings,
};
use tokio::time::timeout;

use crate::metrics::Rejection;

/// How much of a body that nobody wants is read so that the connection can be kept.
const DISCARD_BYTES: usize = 256 * 1024;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// The bounds of a request, from `[http]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_uri_bytes: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_body_bytes: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) request_timeout: Duration,
}

/// A request that a limit refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) problem: Box<Problem>,
    pub(crate) reason: Option<Rejection>,
}

impl Refused {
    fn new(problem: Problem, reason: Option<Rejection>) -> Self {
        Self { problem: Box::new(problem), reason }
    }
}

impl Limits {
    /// The bounds of these settings.
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        Self {
            max_uri_bytes: settings.max_uri_bytes,
            max_headers: settings.max_headers,
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
            request_timeout: settings.request_timeout,
        }
    }

    /// Checks a request's head. HTTP/1 heads that hyper could not hold were answered by hyper.
    pub(crate) fn check_head(&self, parts: &Parts) -> Result<(), Refused> {
        let uri = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
        if uri > self.max_uri_bytes {
            let problem = over(ProblemKind::UriTooLong, format!("The URI has {uri} bytes"), self.max_uri_bytes)
                .hint("Split long in.(...) lists over several requests.");
            return Err(Refused::new(problem, Some(Rejection::UriTooLong)));
        }
        let fields = parts.headers.len();
        if fields > self.max_headers {
            let what = format!("The request has {fields} header fields");
            let problem = over(ProblemKind::HeadersTooLarge, what, self.max_headers);
            return Err(Refused::new(problem, Some(Rejection::TooManyHeaders)));
        }
        Ok(())
    }

    /// Reads a whole body.
    pub(crate) async fn read<B>(&self, body: B, headers: &HeaderMap) -> Result<Bytes, Refused>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let declared = body.size_hint().lower();
        if declared > self.max_body_bytes as u64 {
            discard(body, headers);
            return Err(self.too_large());
        }
        match timeout(self.body_timeout, self.collect(body, headers)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("The body did not arrive within {} s", self.body_timeout.as_secs_f64());
                let problem = Problem::new(ProblemKind::RequestTimeout, codes::LIMIT_EXCEEDED, message);
                Err(Refused::new(problem, Some(Rejection::SlowBody)))
            }
        }
    }

    async fn collect<B>(&self, mut body: B, headers: &HeaderMap) -> Result<Bytes, Refused>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let mut whole = BytesMut::new();
        let mut first: Option<Bytes> = None;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(cut_short()) };
            let Ok(data) = frame.into_data() else { continue };
            let so_far = whole.len() + first.as_ref().map_or(0, Bytes::len);
            if so_far + data.len() > self.max_body_bytes {
                discard(body, headers);
                return Err(self.too_large());
            }
            // Small bodies come in one piece, which needs no copy.
            match first.take() {
                None if whole.is_empty() => first = Some(data),
                Some(before) => {
                    whole.extend_from_slice(&before);
                    whole.extend_from_slice(&data);
                }
                None => whole.extend_from_slice(&data),
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    }

    fn too_large(&self) -> Refused {
        let problem = over(ProblemKind::BodyTooLarge, "The body is too large".to_owned(), self.max_body_bytes)
            .hint("Send fewer rows per request.");
        Refused::new(problem, Some(Rejection::BodyTooLarge))
    }
}

fn over(kind: ProblemKind, what: String, most: usize) -> Problem {
    Problem::new(kind, codes::LIMIT_EXCEEDED, format!("{what}: at most {most} are taken"))
}

fn cut_short() -> Refused {
    let problem = Problem::new(ProblemKind::BadRequest, codes::BAD_HTTP, "The body ended early or is malformed");
    Refused::new(problem, None)
}

/// Reads on, within bounds, after the answer was decided: a connection whose request is not read to
/// its end has to be closed, and a close with unread bytes can destroy the answer on its way.
pub(crate) fn discard<B>(mut body: B, headers: &HeaderMap)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    // Polling would invite a client that waits for 100 Continue to send what nobody wants.
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIME, async move {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_BYTES {
                return;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const LIMITS: Limits = Limits {
        max_uri_bytes: 20,
        max_headers: 2,
        max_body_bytes: 10,
        body_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
    };

    async fn read_chunks(chunks: &[&'static str]) -> Result<Bytes, ProblemKind> {
        let frames: Vec<_> = chunks
            .iter()
            .map(|c| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(c.as_bytes()))))
            .collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        LIMITS.read(body, &HeaderMap::new()).await.map_err(|r| r.problem.kind)
    }

    #[tokio::test]
    async fn bodies_are_joined_up_to_the_limit() {
        assert_eq!(read_chunks(&[]).await.expect("fits"), "");
        assert_eq!(read_chunks(&["abc"]).await.expect("fits"), "abc");
        assert_eq!(read_chunks(&["abc", "", "def", "ghij"]).await.expect("fits"), "abcdefghij");
        assert_eq!(read_chunks(&["abc", "defghijk"]).await, Err(ProblemKind::BodyTooLarge));
        let declared = Full::new(Bytes::from_static(b"12345678901"));
        let refused = LIMITS.read(declared, &HeaderMap::new()).await.expect_err("declared too large");
        assert_eq!(refused.reason, Some(Rejection::BodyTooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_408() {
        let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>());
        let refused = LIMITS.read(Box::pin(never), &HeaderMap::new()).await.expect_err("slow");
        assert_eq!((refused.problem.kind, refused.reason), (ProblemKind::RequestTimeout, Some(Rejection::SlowBody)));
    }

    #[test]
    fn heads_are_bounded() {
        let parts = |uri: &str, fields: usize| {
            let mut request = http::Request::get(uri);
            for i in 0..fields {
                request = request.header(format!("x-{i}"), "1");
            }
            request.body(()).expect("valid").into_parts().0
        };
        assert!(LIMITS.check_head(&parts("/v1/aaaaaaaaaaaaaaaaa", 2)).is_err());
        assert!(LIMITS.check_head(&parts("/v1/aaaaaaaaaaaaaaaa", 2)).is_ok());
        let refused = LIMITS.check_head(&parts("/v1/a", 3)).expect_err("many");
        assert_eq!(refused.problem.kind, ProblemKind::HeadersTooLarge);
    }
}
