//! One request, from its head to its response.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    Method, Request, StatusCode,
    header::{ALLOW, CONTENT_LENGTH},
    request::Parts,
};
use http_body_util::Full;
use hyper::body::Body;
use tidegate_types::{
    answer::{CacheStatus, Landed, Refill, RowChange, Trace, WriteAnswer, WrittenRow},
    collection::Collection,
    key::RowKey,
    problem::{Problem, ProblemKind, codes},
    request::{Facts, IfMatch, RowRead, WriteAction, WriteRequest},
    settings::CdnKeys,
};
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::{
    backend::Backend,
    limits::{Limits, Refused, discard},
    metrics::{Metrics, Rejection, RouteKind},
    parse::{
        call, condition,
        problems::{clip, nearest},
        text::{Plus, decode},
    },
    response::{self, Asked, Cdn, Reply},
    router::{self, Endpoint, Route},
    span,
};

/// Of a request's time, kept for its answer by a write that waits for its shard.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Answers requests with what a [`Backend`] says. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Handler<B>(Arc<Shared<B>>);

impl<B> Clone for Handler<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Shared<B> {
    backend: B,
    limits: Limits,
    cdn: CdnKeys,
    metrics: Metrics,
}

/// A response and what is known about its making.
struct Answered {
    reply: Reply,
    /// `None` where no pipeline was asked.
    trace: Option<Trace>,
    /// `None` where the cache has no part, as in writes.
    cache: Option<CacheStatus>,
}

type Outcome = Result<Answered, Problem>;

/// What a request is about.
enum Found<'a> {
    Collection(Route<'a>, Arc<Collection>),
    /// An acknowledged write, by its token.
    Status(&'a str),
}

impl<B: Backend> Handler<B> {
    /// A handler over `backend`.
    pub(crate) fn new(backend: B, limits: Limits, cdn: CdnKeys, metrics: Metrics) -> Self {
        Self(Arc::new(Shared { backend, limits, cdn, metrics }))
    }

    /// Answers one request.
    pub(crate) async fn handle<T>(&self, request: Request<T>) -> Reply
    where
        T: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let _in_flight = self.0.metrics.in_flight();
        let span = span::request(&parts.method);
        let (route, outcome) = if span.is_disabled() {
            self.answer(&parts, body, started).await
        } else {
            self.answer(&parts, body, started).instrument(span.clone()).await
        };
        self.finish(&parts, route, outcome, started, &span)
    }

    async fn answer<T>(&self, parts: &Parts, body: T, started: Instant) -> (RouteKind, Outcome)
    where
        T: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (route, collection) = match self.find(parts) {
            Ok(Found::Collection(route, collection)) => (route, collection),
            Ok(Found::Status(token)) => {
                discard(body, &parts.headers);
                return (RouteKind::Status, Box::pin(self.status(token, started)).await);
            }
            Err(problem) => {
                discard(body, &parts.headers);
                return (RouteKind::Unmatched, Err(problem));
            }
        };
        match route.endpoint {
            Endpoint::ReadRow => {
                discard(body, &parts.headers);
                (RouteKind::RowRead, self.row(parts, &route, collection, started).await)
            }
            // Only the keyed read is hot: the others are boxed, so that its future stays small.
            Endpoint::ReadList => {
                discard(body, &parts.headers);
                (RouteKind::ListRead, Box::pin(self.list(parts, &collection, started)).await)
            }
            Endpoint::Insert => (RouteKind::Insert, self.write(parts, &route, &collection, body, started).await),
            Endpoint::PutRow | Endpoint::PatchRow | Endpoint::DeleteRow => {
                (RouteKind::RowWrite, self.write(parts, &route, &collection, body, started).await)
            }
            Endpoint::PutFiltered | Endpoint::PatchFiltered | Endpoint::DeleteFiltered => {
                (RouteKind::FilteredWrite, self.write(parts, &route, &collection, body, started).await)
            }
            Endpoint::Options | Endpoint::Status => {
                discard(body, &parts.headers);
                let reply = response::options(&parts.headers, router::allow(parts.uri.path()));
                (RouteKind::Options, Ok(Answered { reply, trace: None, cache: None }))
            }
        }
    }

    /// The endpoint and the collection, after the limits on the head.
    fn find<'a>(&self, parts: &'a Parts) -> Result<Found<'a>, Problem> {
        self.0.limits.check_head(parts).map_err(|refused| self.refused(refused))?;
        let route = router::route(&parts.method, parts.uri.path())?;
        if route.endpoint == Endpoint::Status {
            return Ok(Found::Status(route.key));
        }
        let name = decode(route.collection, Plus::Literal, "The collection's name")?;
        match self.0.backend.collection(&name) {
            Some(collection) => {
                span::collection(&collection.name);
                Ok(Found::Collection(route, collection))
            }
            None => {
                let message = format!("Could not find the table '{}' in the schema cache", clip(&name));
                let problem = Problem::new(ProblemKind::UnknownResource, "PGRST205", message);
                let collections = self.0.backend.collections();
                Err(match nearest(&name, collections.iter().map(|c| &*c.name)) {
                    Some(near) => problem.hint(format!("Perhaps you meant the table '{near}'")),
                    None => problem,
                })
            }
        }
    }

    async fn status(&self, token: &str, started: Instant) -> Outcome {
        let status = self.in_time(started, self.0.backend.write_status(token)).await?.ok_or_else(|| {
            Problem::new(ProblemKind::RowNotFound, codes::UNKNOWN_STATUS, "No write has this status URL")
        })?;
        Ok(unasked(response::status(&status)))
    }

    async fn row(&self, parts: &Parts, route: &Route<'_>, collection: Arc<Collection>, started: Instant) -> Outcome {
        let call = call::row(parts, route, collection)?;
        let facts = Facts::of(parts);
        let mut answer = self.in_time(started, self.0.backend.read_row(&facts, &call.read)).await?;
        let trace = std::mem::take(&mut answer.trace);
        let (cache, cdn) = (Some(answer.status), Cdn { keys: self.0.cdn, tenant: trace.who.tenant });
        Ok(Answered { reply: response::row(call, &parts.headers, answer, cdn), trace: Some(trace), cache })
    }

    async fn list(&self, parts: &Parts, collection: &Arc<Collection>, started: Instant) -> Outcome {
        let call = call::list(parts, collection)?;
        let facts = Facts::of(parts);
        let answer = self.in_time(started, self.0.backend.read_list(&facts, &call.read)).await?;
        let cdn = Cdn { keys: self.0.cdn, tenant: answer.trace.who.tenant };
        let reply = response::list(call, &parts.headers, &answer, cdn);
        Ok(Answered { reply, trace: Some(answer.trace), cache: Some(answer.status) })
    }

    fn write<'a, T>(
        &'a self,
        parts: &'a Parts,
        route: &'a Route<'a>,
        collection: &'a Arc<Collection>,
        body: T,
        started: Instant,
    ) -> std::pin::Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>
    where
        T: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let json = match route.endpoint {
                // Some clients send one with DELETE; it means nothing.
                Endpoint::DeleteRow | Endpoint::DeleteFiltered => {
                    discard(body, &parts.headers);
                    Bytes::new()
                }
                _ => self.0.limits.read(body, &parts.headers).await.map_err(|refused| self.refused(refused))?,
            };
            let call = call::write(parts, route, collection, json)?;
            let (asked, mut write) = Asked::split(call);
            // Whoever waits for the shard longer than for any answer is answered before.
            write.wait = write.wait.min(self.0.limits.request_timeout.saturating_sub(ANSWER_TIME));
            let facts = Facts::of(parts);
            match &write.action {
                WriteAction::Insert { body, .. } if body.rows == 0 => Ok(unasked(response::unchanged(asked))),
                WriteAction::PatchWhere { body, .. } if body.columns.is_empty() => {
                    Ok(unasked(response::unchanged(asked)))
                }
                WriteAction::Patch { body, key } if body.columns.is_empty() => {
                    self.empty_patch(&facts, &write, key.clone(), asked, started).await
                }
                _ => {
                    let written = self.in_time_write(started, self.0.backend.write(&facts, write)).await?;
                    Ok(wrote(asked, written))
                }
            }
        })
    }

    /// `{}` changes nothing, but the row must be there and have the version asked for.
    async fn empty_patch(
        &self,
        facts: &Facts<'_>,
        write: &WriteRequest,
        key: RowKey,
        asked: Asked,
        started: Instant,
    ) -> Outcome {
        let read =
            RowRead { collection: write.collection.clone(), key: key.clone(), projection: write.projection.clone() };
        let answer = self.in_time(started, self.0.backend.read_row(facts, &read)).await?;
        let met = match (&write.if_match, &answer.row) {
            (IfMatch::Absent, _) | (IfMatch::Any, Some(_)) => true,
            (IfMatch::OneOf(tags), Some(row)) => tags.contains(&row.etag),
            (_, None) => false,
        };
        if !met {
            return Err(condition::failed());
        }
        let row = answer.row.map(|body| WrittenRow { key, change: RowChange::Updated, body });
        let rows = row.into_iter().collect();
        let answer = WriteAnswer { rows, refill: Refill::None, landed: Landed::Shard, trace: answer.trace };
        Ok(wrote(asked, answer))
    }

    async fn in_time<A>(&self, started: Instant, work: impl Future<Output = Result<A, Problem>>) -> Result<A, Problem> {
        self.by_deadline(started, work).await.unwrap_or_else(|| {
            Err(Problem::new(ProblemKind::StatementTimeout, codes::DEADLINE, "The request was not answered in time"))
        })
    }

    /// A write that began goes on without us, so being late says nothing about its outcome.
    async fn in_time_write<A>(
        &self,
        started: Instant,
        work: impl Future<Output = Result<A, Problem>>,
    ) -> Result<A, Problem> {
        self.by_deadline(started, work).await.unwrap_or_else(|| {
            Err(Problem::new(
                ProblemKind::OutcomeUnknown,
                codes::OUTCOME_UNKNOWN,
                "The write was not answered in time; it may still be applied",
            )
            .hint("Read the row before trying again."))
        })
    }

    async fn by_deadline<T>(&self, started: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        // Hits are ready at once: no timer is made for them.
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Some(done);
        }
        let deadline = started + self.0.limits.request_timeout;
        let done = timeout_at(deadline.into(), work).await.ok();
        if done.is_none() {
            self.0.metrics.rejected(Rejection::Deadline);
        }
        done
    }

    fn refused(&self, refused: Refused) -> Problem {
        if let Some(reason) = refused.reason {
            self.0.metrics.rejected(reason);
        }
        *refused.problem
    }

    fn finish(
        &self,
        parts: &Parts,
        route: RouteKind,
        outcome: Outcome,
        started: Instant,
        span: &tracing::Span,
    ) -> Reply {
        let elapsed = started.elapsed();
        let Answered { mut reply, trace, cache } = outcome.unwrap_or_else(|problem| {
            span::failed(span, parts, &problem);
            let mut reply = response::problem(&problem);
            if reply.status() == StatusCode::METHOD_NOT_ALLOWED {
                reply.headers_mut().insert(ALLOW, router::allow(parts.uri.path()));
            }
            unasked(reply)
        });
        response::cors(&parts.headers, reply.headers_mut());
        if !matches!(cache, Some(CacheStatus::Hit { .. })) {
            response::server_timing(reply.headers_mut(), elapsed);
        }
        let status = reply.status();
        if !span.is_disabled() {
            let names = trace.as_ref().map(|trace| self.0.backend.names(trace.who));
            let topology = self.0.backend.topology();
            span::answered(span, topology, names.as_ref(), trace.as_ref(), cache.as_ref(), status, elapsed);
        }
        self.0.metrics.answered(route, &parts.method, status, elapsed);
        if parts.method == Method::HEAD { head_only(reply) } else { reply }
    }
}

fn unasked(reply: Reply) -> Answered {
    Answered { reply, trace: None, cache: None }
}

fn wrote(asked: Asked, mut written: WriteAnswer) -> Answered {
    let trace = std::mem::take(&mut written.trace);
    Answered { reply: response::write(asked, &written), trace: Some(trace), cache: None }
}

/// The same fields without the body. Its length is stated here, since HTTP/2 would not.
fn head_only(reply: Reply) -> Reply {
    let (mut parts, body) = reply.into_parts();
    if parts.status != StatusCode::NOT_MODIFIED
        && parts.status != StatusCode::NO_CONTENT
        && let Some(length) = body.size_hint().exact()
    {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Reply::from_parts(parts, Full::default())
}

#[cfg(test)]
mod tests;
