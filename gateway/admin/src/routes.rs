//! Every path of the admin listener.

use http::{Method, StatusCode, request::Parts};
use serde_json::{Value, json};

use crate::{
    access::Access,
    reply::{self, HTML, METRICS, Refusal, Reply, TEXT, with_body},
    state::{AdminState, Phase, Serving},
};

const CONSOLE: &str = include_str!("console.html");

/// Answers a request. Never waits: everything shown is already in memory.
pub(crate) fn answer(state: &AdminState, access: &Access, request: &Parts) -> Reply {
    routed(state, access, request).unwrap_or_else(Reply::from)
}

fn routed(state: &AdminState, access: &Access, request: &Parts) -> Result<Reply, Refusal> {
    let show = match request.uri.path() {
        "/" => Show::Console,
        "/live" => Show::Live,
        "/ready" => Show::Ready,
        "/metrics" => Show::Metrics,
        // Before the token is checked, so that nobody learns paths by asking.
        path if path.starts_with("/admin/") => {
            access.check(&request.headers)?;
            match path {
                "/admin/plugins" => Show::Plugins,
                "/admin/shards" => Show::Shards,
                "/admin/pools" => Show::Pools,
                _ => return Err(Refusal::NotFound),
            }
        }
        _ => return Err(Refusal::NotFound),
    };
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Refusal::MethodNotAllowed);
    }
    show.reply(state)
}

/// What a path shows.
#[derive(Debug, Clone, Copy)]
enum Show {
    Console,
    Live,
    Ready,
    Metrics,
    Plugins,
    Shards,
    Pools,
}

impl Show {
    fn reply(self, state: &AdminState) -> Result<Reply, Refusal> {
        let serving = || state.serving().ok_or(Refusal::Starting);
        match self {
            Self::Console => Ok(with_body(StatusCode::OK, HTML, CONSOLE)),
            Self::Live => Ok(with_body(StatusCode::OK, TEXT, "live\n")),
            Self::Ready => Ok(ready(state.phase())),
            Self::Metrics => metrics(serving()?),
            Self::Plugins => plugins(serving()?),
            Self::Shards => reply::json(&json!({ "shards": serving()?.gateway.store().shards() })),
            Self::Pools => Ok(reply::json(&json!({ "pools": pools(serving()?) }))?),
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

fn plugins(serving: &Serving) -> Result<Reply, Refusal> {
    let policies = serving.gateway.policies();
    reply::json(&json!({ "generation": policies.generation(), "plugins": policies.plugins() }))
}

/// The pools of every shard in one list, each naming its shard.
fn pools(serving: &Serving) -> Vec<Value> {
    let mut all = Vec::new();
    for shard in serving.gateway.store().shards() {
        for pool in &shard.pools {
            let mut entry = json!({ "shard": shard.name });
            if let (Value::Object(entry), Ok(Value::Object(pool))) = (&mut entry, serde_json::to_value(pool)) {
                entry.extend(pool);
            }
            all.push(entry);
        }
    }
    all
}
