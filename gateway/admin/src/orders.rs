//! Orders: what a request says, parsed; then carried out in a task of its own.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header::CONTENT_TYPE, request::Parts};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tidegate_types::settings::Moves;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    body,
    control::{Age, Control, Decision, Order, Outcome, Step, Upload},
    letter, purge,
    reply::{self, Refusal, Reply},
};

const ACTOR: HeaderName = HeaderName::from_static("tidegate-actor");
const CONFIG: HeaderName = HeaderName::from_static("tidegate-config");
const SIGNATURE: HeaderName = HeaderName::from_static("tidegate-signature");
/// Bytes of an actor's name.
const MAX_ACTOR: usize = 128;
/// Bytes of a reason.
const MAX_REASON: usize = 1024;
/// Bytes of a signature; an Ed25519 one takes 88 in base64.
const MAX_SIGNATURE: usize = 1024;
/// Of the tenants, where an order for a canary names no number.
const USUAL_PERCENT: u8 = 10;
/// Orders at once: each may hold a plugin of 64 MiB, and the host carries out one after the other anyway.
const AT_ONCE: usize = 2;

/// What an order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb<'a> {
    Stage(&'a str),
    Steer(&'a str, Move),
    Reload,
    Purge,
    Decide(Decision),
}

/// The last segment of a path that steers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Shadow,
    Canary,
    Promote,
    RollBack,
}

impl Verb<'_> {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stage(_) => "stage",
            Self::Steer(_, Move::Shadow) => "shadow",
            Self::Steer(_, Move::Canary) => "canary",
            Self::Steer(_, Move::Promote) => "promote",
            Self::Steer(_, Move::RollBack) => "rollback",
            Self::Reload => "reload",
            Self::Purge => "purge",
            Self::Decide(Decision::Requeue) => "requeue",
            Self::Decide(Decision::Discard) => "discard",
        }
    }

    const fn plugin(&self) -> &str {
        match self {
            Self::Stage(plugin) | Self::Steer(plugin, _) => plugin,
            Self::Reload | Self::Purge | Self::Decide(_) => "",
        }
    }
}

/// How many orders are being carried out.
#[derive(Debug, Clone)]
pub(crate) struct Desk(Arc<Semaphore>);

impl Desk {
    pub(crate) fn open() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Reads the order, carries it out, answers with its report.
pub(crate) async fn carry_out<B>(
    verb: Verb<'_>,
    request: (&Parts, B),
    peer: SocketAddr,
    desk: &Desk,
    control: &Arc<dyn Control>,
) -> Result<Reply, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request;
    let actor = actor(&parts.headers, peer)?;
    let permit = desk.0.clone().try_acquire_owned().map_err(|_| Refusal::TooManyOrders)?;
    let plugin = verb.plugin().to_owned();
    let (work, order, success) = match verb {
        Verb::Stage(_) => {
            let upload = upload(parts, body).await?;
            let order = Order { actor, reason: None, moves: Moves::Refused };
            (control.stage(plugin, upload, order.clone()), order, StatusCode::CREATED)
        }
        Verb::Steer(_, way) => {
            let words = words(parts, body).await?;
            let (step, order) = words.into_step(way, actor)?;
            (control.steer(plugin, step, order.clone()), order, StatusCode::OK)
        }
        Verb::Purge => {
            let words = purge::Words::parse(&json_body(parts, body, body::PURGE).await?).map_err(Refusal::Order)?;
            let order = Words { reason: words.reason.clone(), ..Words::default() }.into_order(actor, Takes::Reason)?;
            let softness = words.softness();
            let targets = words.targets().map_err(Refusal::Order)?;
            (control.purge(targets, softness, order.clone()), order, StatusCode::OK)
        }
        Verb::Decide(decision) => {
            let words = letter::Words::parse(&json_body(parts, body, body::WORDS).await?).map_err(Refusal::Order)?;
            let order = Words { reason: words.reason, ..Words::default() }.into_order(actor, Takes::Reason)?;
            (control.decide(words.letter, decision, order.clone()), order, StatusCode::OK)
        }
        Verb::Reload => {
            let order = words(parts, body).await?.into_order(actor, Takes::Reason)?;
            (control.reload(order.clone()), order, StatusCode::OK)
        }
    };
    // In a task of its own: a client that goes away does not stop what it has ordered.
    let record = Record { action: verb.as_str(), plugin: verb.plugin().to_owned(), peer, order };
    let outcome = tokio::spawn(finish(work, permit, record)).await.map_err(|_| Refusal::OrderFailed)?;
    reply::json(success, &outcome.map_err(Refusal::Order)?)
}

/// What is written down of an order.
struct Record {
    action: &'static str,
    plugin: String,
    peer: SocketAddr,
    order: Order,
}

async fn finish(work: impl Future<Output = Outcome>, permit: OwnedSemaphorePermit, record: Record) -> Outcome {
    let outcome = work.await;
    drop(permit);
    let Record { action, plugin, peer, order: Order { actor, reason, moves } } = record;
    let reason = reason.unwrap_or_default();
    let allow_moves = moves == Moves::Allowed;
    match &outcome {
        Ok(_) => {
            tracing::info!(target: "audit", action, plugin, actor, %peer, reason, allow_moves, "order carried out");
        }
        Err(refused) => {
            tracing::warn!(target: "audit", action, plugin, actor, %peer, reason, allow_moves, why = %refused,
                "order refused");
        }
    }
    outcome
}

/// Who gives the order: what they call themselves, else where they are.
fn actor(headers: &HeaderMap, peer: SocketAddr) -> Result<String, Refusal> {
    let Some(value) = headers.get(ACTOR) else { return Ok(peer.ip().to_string()) };
    let actor = value.to_str().map(str::trim).unwrap_or_default();
    if actor.is_empty() || actor.len() > MAX_ACTOR {
        return Err(Refusal::Order(reply::invalid(
            format!("The header Tidegate-Actor is 1 to {MAX_ACTOR} printable ASCII characters"),
            "Put a name or an address there, or leave it out.",
        )));
    }
    Ok(actor.to_owned())
}

async fn upload<B>(parts: &Parts, body: B) -> Result<Upload, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Parameters { mut config, age } = parameters(parts.uri.query().unwrap_or_default())?;
    if let Some(header) = parts.headers.get(CONFIG) {
        let text = std::str::from_utf8(header.as_bytes()).unwrap_or_default();
        if config.replace(object("The header Tidegate-Config", text)?).is_some() {
            let message = "The configuration is given twice, by the header Tidegate-Config and by ?config=";
            return Err(Refusal::Order(reply::invalid(message, "Give it once.")));
        }
    }
    let signature = parts.headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default().to_owned());
    if signature.as_ref().is_some_and(|text| text.is_empty() || text.len() > MAX_SIGNATURE) {
        let message = "The header Tidegate-Signature is not a signature";
        return Err(Refusal::Order(reply::invalid(
            message,
            "It is the line in FILE.sig that `tidegate plugin sign` wrote.",
        )));
    }
    let wasm = body::read(&parts.headers, body, body::PLUGIN).await?;
    if wasm.is_empty() {
        let hint = "Send the plugin as the body: curl -T router.wasm URL";
        return Err(Refusal::Order(reply::invalid("The body is empty", hint)));
    }
    Ok(Upload { wasm, config, signature, age })
}

struct Parameters {
    config: Option<Value>,
    age: Age,
}

/// The query of a `PUT`. Unknown parameters are refused: `?forced=true` must not pass for `?force=true`.
fn parameters(query: &str) -> Result<Parameters, Refusal> {
    let mut parameters = Parameters { config: None, age: Age::NotOlder };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            ("config", value) => {
                let text = percent_decode_str(value).decode_utf8().unwrap_or_default();
                parameters.config = Some(object("?config=", &text)?);
            }
            ("force", "true") => parameters.age = Age::Any,
            ("force", "false") => parameters.age = Age::NotOlder,
            _ => {
                let hint = "There are config=JSON (percent-encoded) and force=true.";
                return Err(Refusal::Order(reply::invalid(
                    format!("The parameter {pair:.80} means nothing here"),
                    hint,
                )));
            }
        }
    }
    Ok(parameters)
}

fn object(place: &str, text: &str) -> Result<Value, Refusal> {
    let hint = "It is a JSON object, such as {\"buckets\": 256}.";
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Refusal::Order(reply::invalid(format!("{place} is not a JSON object"), hint))),
        Err(error) => Err(Refusal::Order(reply::invalid(format!("{place} is not JSON: {error}"), hint))),
    }
}

/// The body of a `POST`. All of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    percent: Option<u8>,
    reason: Option<String>,
    #[serde(default)]
    allow_moves: bool,
}

/// Which words an order takes besides `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Reason,
    Moves,
    Percent,
}

async fn words<B>(parts: &Parts, body: B) -> Result<Words, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let body = json_body(parts, body, body::WORDS).await?;
    if body.trim_ascii().is_empty() {
        return Ok(Words::default());
    }
    if !parts.headers.contains_key(CONTENT_TYPE) {
        return Err(Refusal::NotJson);
    }
    serde_json::from_slice(&body).map_err(|error| {
        let hint = "It is a JSON object; percent, reason and allow_moves may be in it.";
        Refusal::Order(reply::invalid(format!("The body cannot be taken: {error}"), hint))
    })
}

/// The body of an order that may say something.
async fn json_body<B>(parts: &Parts, body: B, limits: body::Limits) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    if let Some(given) = parts.headers.get(CONTENT_TYPE) {
        let essence = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::NotJson);
        }
    }
    body::read(&parts.headers, body, limits).await
}

impl Words {
    fn into_step(self, way: Move, actor: String) -> Result<(Step, Order), Refusal> {
        let (step, takes) = match way {
            Move::Shadow => (Step::Shadow, Takes::Reason),
            Move::Canary => (Step::Canary { percent: self.percent.unwrap_or(USUAL_PERCENT) }, Takes::Percent),
            Move::Promote => (Step::Promote, Takes::Moves),
            Move::RollBack => (Step::RollBack, Takes::Reason),
        };
        if matches!(step, Step::Canary { percent } if !(1..=99).contains(&percent)) {
            return Err(Refusal::Order(reply::invalid(
                "percent is 1 to 99",
                "For everybody, promote it; for nobody, roll back.",
            )));
        }
        Ok((step, self.into_order(actor, takes)?))
    }

    fn into_order(self, actor: String, takes: Takes) -> Result<Order, Refusal> {
        let reason = self.reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
        let wrong = if self.percent.is_some() && takes != Takes::Percent {
            Some(("percent is for canary only", "Leave it out."))
        } else if self.allow_moves && takes != Takes::Moves {
            Some(("allow_moves is for promote only", "Leave it out; a canary must find every row where it is."))
        } else if self.allow_moves && reason.is_none() {
            Some((
                "allow_moves needs a reason",
                "Say in \"reason\" why existing rows may be looked for elsewhere, and who moves them: it is kept.",
            ))
        } else if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
            Some(("The reason is longer than 1024 bytes", "Shorten it."))
        } else {
            None
        };
        match wrong {
            Some((message, hint)) => Err(Refusal::Order(reply::invalid(message, hint))),
            None => {
                let moves = if self.allow_moves { Moves::Allowed } else { Moves::Refused };
                Ok(Order { actor, reason, moves })
            }
        }
    }
}
