//! Every path of the admin listener.
//!
//! | path | methods |
//! |---|---|
//! | `/`, `/live`, `/ready`, `/metrics` | GET |
//! | `/admin/plugins` | GET |
//! | `/admin/plugins/NAME` | GET, PUT |
//! | `/admin/plugins/NAME/shadow`, `canary`, `promote`, `rollback` | POST |
//! | `/admin/shards`, `/admin/pools`, `/admin/members`, `/admin/config` | GET |
//! | `/admin/journal` | GET |
//! | `/admin/config/reload`, `/admin/cache/purge`, `/admin/journal/requeue`, `/admin/journal/discard` | POST |

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode, request::Parts};
use hyper::body::Body;
use serde_json::{Value, json};

use crate::{
    access::Access,
    console,
    control::Decision,
    orders::{self, Desk, Move, Verb},
    origin,
    reply::{self, HTML, METRICS, Refusal, Reply, TEXT, with_body},
    state::{AdminState, Phase, Serving},
};

/// What answers need.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) state: AdminState,
    pub(crate) access: Access,
    pub(crate) desk: Desk,
}

/// Answers a request. Waits for nothing but orders and dead letters: everything else shown is already in memory.
pub(crate) async fn answer<B>(context: &Context, peer: SocketAddr, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    routed(context, peer, &parts, body).await.unwrap_or_else(Reply::from)
}

async fn routed<B>(context: &Context, peer: SocketAddr, parts: &Parts, body: B) -> Result<Reply, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Context { state, access, desk } = context;
    let path = parts.uri.path();
    if path.starts_with("/admin/") {
        // Before the path is looked up, so that nobody learns paths by asking.
        access.check(&parts.headers)?;
    }
    match Asked::of(&parts.method, path)? {
        Asked::Show(show) => show.reply(context, parts),
        Asked::Journal => {
            let journal = state.serving().ok_or(Refusal::Starting)?.control.journal().await;
            reply::json(StatusCode::OK, &json!({ "journal": journal }))
        }
        Asked::Order(verb) => {
            origin::check(access, &parts.headers)?;
            let serving = state.serving().ok_or(Refusal::Starting)?;
            orders::carry_out(verb, (parts, body), peer, desk, &serving.control).await
        }
    }
}

/// What a request asks for.
enum Asked<'p> {
    Show(Show<'p>),
    Journal,
    Order(Verb<'p>),
}

const READ: &str = "GET, HEAD";

impl<'p> Asked<'p> {
    fn of(method: &Method, path: &'p str) -> Result<Self, Refusal> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let show = match path {
            "/" => Show::Console,
            "/live" => Show::Live,
            "/ready" => Show::Ready,
            "/metrics" => Show::Metrics,
            "/admin/plugins" => Show::Plugins,
            "/admin/shards" => Show::Shards,
            "/admin/pools" => Show::Pools,
            "/admin/members" => Show::Members,
            "/admin/config" => Show::Config,
            "/admin/journal" if reads => return Ok(Self::Journal),
            "/admin/journal" => return Err(Refusal::MethodNotAllowed(READ)),
            "/admin/journal/requeue" => return Self::posted(method, Verb::Decide(Decision::Requeue)),
            "/admin/journal/discard" => return Self::posted(method, Verb::Decide(Decision::Discard)),
            "/admin/cache/purge" => return Self::posted(method, Verb::Purge),
            "/admin/config/reload" => return Self::posted(method, Verb::Reload),
            _ => {
                let (name, way) = plugin(path).ok_or(Refusal::NotFound)?;
                match way {
                    Some(way) => return Self::posted(method, Verb::Steer(name, way)),
                    None if method == Method::PUT => return Ok(Self::Order(Verb::Stage(name))),
                    None if !reads => return Err(Refusal::MethodNotAllowed("GET, HEAD, PUT")),
                    None => Show::Plugin(name),
                }
            }
        };
        if reads { Ok(Self::Show(show)) } else { Err(Refusal::MethodNotAllowed(READ)) }
    }

    fn posted(method: &Method, verb: Verb<'p>) -> Result<Self, Refusal> {
        if method == Method::POST { Ok(Self::Order(verb)) } else { Err(Refusal::MethodNotAllowed("POST")) }
    }
}

/// The plugin, and the step, of a path below `/admin/plugins/`.
fn plugin(path: &str) -> Option<(&str, Option<Move>)> {
    let rest = path.strip_prefix("/admin/plugins/")?;
    let (name, way) = match rest.split_once('/') {
        None => (rest, None),
        Some((name, "shadow")) => (name, Some(Move::Shadow)),
        Some((name, "canary")) => (name, Some(Move::Canary)),
        Some((name, "promote")) => (name, Some(Move::Promote)),
        Some((name, "rollback")) => (name, Some(Move::RollBack)),
        Some(_) => return None,
    };
    (!name.is_empty()).then_some((name, way))
}

/// What a path shows.
#[derive(Debug, Clone, Copy)]
enum Show<'p> {
    Console,
    Live,
    Ready,
    Metrics,
    Plugins,
    Plugin(&'p str),
    Shards,
    Pools,
    Members,
    Config,
}

impl Show<'_> {
    fn reply(self, Context { state, access, .. }: &Context, parts: &Parts) -> Result<Reply, Refusal> {
        let serving = || state.serving().ok_or(Refusal::Starting);
        let control = || serving().map(|serving| &serving.control);
        let shown = |value: Value| reply::json(StatusCode::OK, &value);
        match self {
            Self::Console => {
                // Without a token the page is as open as the paths it shows; with one, browsers cannot send it.
                let open = access.check(&parts.headers).is_ok();
                let plugins = state.serving().filter(|_| open).map(|serving| serving.control.plugins());
                Ok(with_body(StatusCode::OK, HTML, console::page(plugins.as_deref())))
            }
            Self::Live => Ok(with_body(StatusCode::OK, TEXT, "live\n")),
            Self::Ready => Ok(ready(state.phase())),
            Self::Metrics => metrics(serving()?),
            Self::Plugins => {
                let control = control()?;
                shown(json!({ "generation": control.generation(), "plugins": control.plugins() }))
            }
            Self::Plugin(name) => shown(control()?.plugin(name).ok_or(Refusal::NoSuchPlugin)?),
            Self::Shards => shown(json!({ "shards": control()?.shards() })),
            Self::Pools => shown(json!({ "pools": pools(control()?.shards()) })),
            Self::Members => shown(json!({ "members": control()?.members() })),
            Self::Config => shown(control()?.settings()),
        }
    }
}

/// Depends on this process only: one shard that is down must not take every gateway out of its
/// balancer.
fn ready(phase: Phase) -> Reply {
    let status = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    with_body(status, TEXT, format!("{}\n", phase.as_str()))
}

fn metrics(serving: &Serving) -> Result<Reply, Refusal> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &serving.registry).map_err(|_| Refusal::Unprintable)?;
    Ok(with_body(StatusCode::OK, METRICS, text))
}

/// The pools of every shard in one list, each naming its shard.
fn pools(shards: Vec<Value>) -> Vec<Value> {
    let mut all = Vec::new();
    for mut shard in shards {
        let name = shard["name"].take();
        let Value::Array(pools) = shard["pools"].take() else { continue };
        for pool in pools {
            let mut entry = json!({ "shard": name });
            if let (Value::Object(entry), Value::Object(pool)) = (&mut entry, pool) {
                entry.extend(pool);
            }
            all.push(entry);
        }
    }
    all
}
