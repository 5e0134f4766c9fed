//! Constructors and accessors of questions and answers.

use std::time::Duration;

use crate::{
    Action, Classification, Decision, ErrorCode, Input, Mode, Op, PolicyError, QueryRef, Request, RowChange, RowRef,
    Target, Verb,
};

impl Input {
    /// A header field.
    pub fn header(name: impl Into<String>) -> Self {
        Self::Header(name.into())
    }

    /// A query parameter.
    pub fn query(name: impl Into<String>) -> Self {
        Self::Query(name.into())
    }

    /// A claim of the verified token.
    pub fn claim(name: impl Into<String>) -> Self {
        Self::Claim(name.into())
    }

    /// A column of the changed row; only for [`Invalidator`](crate::Invalidator).
    pub fn column(name: impl Into<String>) -> Self {
        Self::Column(name.into())
    }
}

impl Request {
    /// A read with these inputs, in the order of their declaration: for self-tests.
    pub fn read<'a>(inputs: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let inputs = inputs.into_iter().map(|input| input.map(str::to_owned)).collect();
        Self { tenant: 0, class: 0, op: Op::Read, collection: 0, inputs }
    }

    /// The value of the input declared at this position, if the request has one.
    #[must_use]
    pub fn input(&self, position: usize) -> Option<&str> {
        self.inputs.get(position)?.as_deref()
    }

    /// Whether it changes rows.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.op == Op::Write
    }
}

impl RowChange {
    /// The column declared at this position before the change; `None` also for NULL, inserts and
    /// `truncate`.
    #[must_use]
    pub fn before(&self, position: usize) -> Option<&str> {
        self.old.get(position)?.as_deref()
    }

    /// The column declared at this position after the change; `None` also for NULL, deletes and
    /// `truncate`.
    #[must_use]
    pub fn after(&self, position: usize) -> Option<&str> {
        self.new.get(position)?.as_deref()
    }
}

impl PolicyError {
    /// A refusal. `detail` is for the operator's log.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The configuration is wrong.
    pub fn config(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotReady, detail)
    }

    /// No rule of the policy fits the request.
    pub fn no_match(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::NoMatch, detail)
    }

    /// An input has a form the policy cannot use.
    pub fn bad_input(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadInput, detail)
    }
}

impl Classification {
    /// This tenant, in its own class.
    pub fn tenant(name: impl Into<String>) -> Self {
        Self { tenant: name.into(), class: None }
    }

    /// The same tenant in this class.
    #[must_use]
    pub fn class(self, name: impl Into<String>) -> Self {
        Self { class: Some(name.into()), ..self }
    }
}

impl Decision {
    /// As the collection is configured, without tags.
    #[must_use]
    pub fn as_configured() -> Self {
        Self { mode: Mode::AsConfigured, ttl_ms: None, stale_ms: 0, vary: Vec::new(), tags: Vec::new() }
    }

    /// Read from the shard, keep nothing.
    #[must_use]
    pub fn bypass() -> Self {
        Self { mode: Mode::Bypass, ..Self::as_configured() }
    }

    /// Kept at most so long.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl_ms: Some(millis(ttl)), ..self }
    }

    /// Served so long after its time, where the collection serves outdated answers at all.
    #[must_use]
    pub fn stale(self, stale: Duration) -> Self {
        Self { stale_ms: millis(stale), ..self }
    }

    /// Kept apart by the value of the input declared at this position.
    #[must_use]
    pub fn vary_on(mut self, position: usize) -> Self {
        self.vary.push(u32::try_from(position).unwrap_or(u32::MAX));
        self
    }

    /// With a tag by which [`Action::purge`] finds it.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Action {
    /// Must not be served again.
    #[must_use]
    pub fn purge(target: Target) -> Self {
        Self { verb: Verb::Purge, target }
    }

    /// May be served while a new one is fetched, where the collection serves outdated answers at all.
    #[must_use]
    pub fn soft_purge(target: Target) -> Self {
        Self { verb: Verb::SoftPurge, target }
    }

    /// Must not be served again, and may be fetched before somebody asks.
    #[must_use]
    pub fn refresh(target: Target) -> Self {
        Self { verb: Verb::Refresh, target }
    }
}

impl Target {
    /// A row by its key as it stands in a path.
    pub fn row(collection: impl Into<String>, key: impl Into<String>) -> Self {
        Self::Row(RowRef { collection: collection.into(), key: key.into() })
    }

    /// Every answer with this tag.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::Tag(tag.into())
    }

    /// One list query by its query string.
    pub fn query(collection: impl Into<String>, query: impl Into<String>) -> Self {
        Self::Query(QueryRef { collection: collection.into(), query: query.into() })
    }

    /// All list queries of a collection.
    pub fn lists(collection: impl Into<String>) -> Self {
        Self::Lists(collection.into())
    }

    /// Every row and list of a collection.
    pub fn collection(name: impl Into<String>) -> Self {
        Self::Collection(name.into())
    }
}
