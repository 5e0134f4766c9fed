//! Asks a running gateway for its settings.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidegate_config::{Effect, Setting};
use tidegate_types::settings::Secret;
use tokio::net::TcpStream;

const PATH: &str = "/admin/config";
const TIME: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 16 << 20;

/// The settings in effect in the gateway at this address, given as `HOST:PORT` or as a URL.
pub(super) async fn settings(address: &str, token: Option<&Secret>) -> Result<Vec<Setting>, String> {
    let authority = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let advice = "Name the gateway's admin listener with --admin, or a file to compare with: --diff OLD";
    let answer = tokio::time::timeout(TIME, ask(authority, token)).await;
    let body =
        answer.map_err(|_| "it did not answer in time".to_owned()).and_then(|answer| answer).map_err(|problem| {
            format!("the gateway at {authority} cannot be asked for its settings: {problem}. {advice}")
        })?;
    parsed(&body).ok_or_else(|| format!("{authority} is not the admin listener of a gateway of this version. {advice}"))
}

async fn ask(authority: &str, token: Option<&Secret>) -> Result<Bytes, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(authority).await.map_err(|error| told(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| told(&error))?;
    // Ends with the answer.
    tokio::spawn(connection);
    let mut request = Request::get(PATH).header(header::HOST, authority).header(header::CONNECTION, "close");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| told(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err("it wants its admin token, which is not the `token` of [admin] in this file".to_owned());
        }
        status => return Err(format!("it answered {status}")),
    }
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
}

fn parsed(body: &[u8]) -> Option<Vec<Setting>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let setting = |setting: &Value| {
        Some(Setting {
            key: setting["key"].as_str()?.to_owned(),
            value: setting["value"].as_str()?.to_owned(),
            effect: Effect::named(setting["takes_effect"].as_str()?)?,
        })
    };
    body["settings"].as_array()?.iter().map(setting).collect()
}
