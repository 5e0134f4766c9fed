//! The error a client sees: PostgREST's `{code, message, details, hint}` with a kind behind it.
//! The HTTP status is chosen from the kind in one place, `tidegate-http`'s `status.rs`.

use std::{borrow::Cow, time::Duration};

/// What went wrong, as far as a caller must tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The request cannot be understood or names what does not exist inside a collection (400).
    BadRequest,
    /// A filter or operator the column's type does not have (404, as PostgREST answers).
    UndefinedFunction,
    /// No such collection or path (404).
    UnknownResource,
    /// The row is not there (404).
    RowNotFound,
    /// The method is not offered here (405).
    MethodNotAllowed,
    /// No representation the client accepts (406), also a singular request with 0 or many rows.
    NotAcceptable,
    /// A unique or foreign key is violated (409).
    Conflict,
    /// A repeated `Idempotency-Key` with another request (422).
    KeyReused,
    /// `If-Match` names another version (412).
    PreconditionFailed,
    /// The body is over the limit (413).
    BodyTooLarge,
    /// The URI is over the limit (414).
    UriTooLong,
    /// The range lies outside the result (416).
    RangeNotSatisfiable,
    /// Header fields over the limit (431).
    HeadersTooLarge,
    /// The body did not arrive in time (408).
    RequestTimeout,
    /// The database role may not do this (403).
    Forbidden,
    /// The gateway sheds load; try again (429).
    TooManyRequests,
    /// The database reported a fault that is not the client's (500).
    Internal,
    /// A shard cannot be reached (503).
    ShardUnavailable,
    /// A policy failed and there is no safe answer without it (503).
    PolicyUnavailable,
    /// No pooled connection came free in time (504).
    PoolTimeout,
    /// The statement ran out of time (504).
    StatementTimeout,
    /// A write was sent to COMMIT and the connection was lost: it may have happened (504).
    OutcomeUnknown,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// Try again after about this long; sent as `Retry-After`.
    After(Duration),
}

/// An error with everything its reader needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Problem {
    /// Decides the status.
    pub kind: ProblemKind,
    /// A `PGRST...` code, a SQLSTATE, or one of [`codes`].
    pub code: Cow<'static, str>,
    /// What happened.
    pub message: String,
    /// Where, or with which values.
    pub details: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether trying again can help.
    pub retry: Retry,
}

impl Problem {
    /// A problem without details or hint that will not go away by itself.
    pub fn new(kind: ProblemKind, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into(), details: None, hint: None, retry: Retry::Never }
    }

    /// Adds where or with which values.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that trying again after `delay` can help.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry = Retry::After(delay);
        self
    }
}

/// Codes of Tidegate's own, where PostgREST has none. Listed in `gateway/docs/ERRORS.md`.
pub mod codes {
    /// The row a keyed path names does not exist.
    pub const ROW_NOT_FOUND: &str = "TG001";
    /// `If-Match` names a version that is not the current one.
    pub const PRECONDITION_FAILED: &str = "TG002";
    /// A shard cannot be reached.
    pub const SHARD_UNAVAILABLE: &str = "TG003";
    /// The outcome of a write is unknown.
    pub const OUTCOME_UNKNOWN: &str = "TG004";
    /// A policy failed closed.
    pub const POLICY_UNAVAILABLE: &str = "TG005";
    /// The request would touch more than one shard where it must not.
    pub const CROSS_SHARD: &str = "TG006";
    /// An unfiltered or unkeyed write.
    pub const UNSAFE_WRITE: &str = "TG007";
    /// A limit of the gateway was exceeded.
    pub const LIMIT_EXCEEDED: &str = "TG008";
    /// Column values that place or name a row may not change.
    pub const KEY_CHANGE: &str = "TG009";
    /// The gateway is at capacity.
    pub const OVERLOADED: &str = "TG010";
    /// The keyed path does not fit the collection's key.
    pub const BAD_KEY: &str = "TG011";
    /// Bytes that are not a valid HTTP request for this server.
    pub const BAD_HTTP: &str = "TG012";
    /// The admin API wants its bearer token.
    pub const ADMIN_TOKEN: &str = "TG013";
    /// The gateway has not read its catalogs yet.
    pub const STARTING: &str = "TG014";
    /// The request was not answered in time.
    pub const DEADLINE: &str = "TG015";
    /// The request belongs to no tenant that may be served.
    pub const TENANT: &str = "TG016";
    /// Another gateway has not been told of the write, so it was not made.
    pub const CLUSTER: &str = "TG017";
    /// Writes that were acknowledged wait for their shard, and no more are taken.
    pub const JOURNAL_FULL: &str = "TG018";
    /// A write of the row that was acknowledged was refused by its shard, and nobody has decided about it yet.
    pub const ROW_PARKED: &str = "TG019";
    /// A repeated `Idempotency-Key` with another request, one that is still being answered, or one where it cannot
    /// be honoured.
    pub const IDEMPOTENCY: &str = "TG032";
    /// No write has this status token.
    pub const UNKNOWN_STATUS: &str = "TG033";
    /// The admin API: no such dead letter.
    pub const NO_LETTER: &str = "TG034";
    /// The admin API: the database refuses the dead letter again.
    pub const STILL_DEAD: &str = "TG035";
    /// The admin API: no plugin of this name.
    pub const UNKNOWN_PLUGIN: &str = "TG020";
    /// The admin API: the plugin has no staged version.
    pub const NOTHING_STAGED: &str = "TG021";
    /// The admin API: the plugin has no version to go back to.
    pub const NOTHING_BEFORE: &str = "TG022";
    /// The admin API: the version cannot be used.
    pub const PLUGIN_REFUSED: &str = "TG023";
    /// The admin API: existing rows would be looked for on other shards.
    pub const ROWS_WOULD_MOVE: &str = "TG024";
    /// The admin API: the version's signature is missing or not trusted.
    pub const SIGNATURE: &str = "TG025";
    /// The admin API: the version is older than the one in use.
    pub const DOWNGRADE: &str = "TG026";
    /// The admin API: the order makes no sense.
    pub const BAD_ORDER: &str = "TG027";
    /// The admin API: what must survive a restart could not be written.
    pub const DISK: &str = "TG028";
    /// The admin API: the configuration file, or the databases it names, have mistakes.
    pub const CONFIGURATION: &str = "TG029";
    /// The admin API: the order came from a web page of another site.
    pub const FOREIGN_ORDER: &str = "TG030";
    /// A purge was carried out here, but not on every gateway.
    pub const PURGED_HERE_ONLY: &str = "TG031";
    /// A value in a form of which the gateway cannot be sure what the database would make of it.
    pub const VALUE_FORM: &str = "TG039";
}
