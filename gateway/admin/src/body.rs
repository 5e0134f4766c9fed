//! Bodies of orders: bounded in size and in time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::reply::Refusal;

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// A plugin. The bytes are what the policy host takes from a file, too.
pub(crate) const PLUGIN: Limits = Limits { bytes: 64 << 20, time: Duration::from_secs(120) };
/// An order's words.
pub(crate) const WORDS: Limits = Limits { bytes: 16 << 10, time: Duration::from_secs(10) };

/// What is to be purged.
pub(crate) const PURGE: Limits = Limits { bytes: 512 << 10, time: Duration::from_secs(10) };

/// The whole body.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B, limits: Limits) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Before anything is taken from the peer: curl waits for this answer before it sends a large body.
    if announced.is_some_and(|length| length > limits.bytes) {
        return Err(Refusal::BodyTooLarge { limit: limits.bytes });
    }
    tokio::time::timeout(limits.time, collect(body, limits.bytes)).await.unwrap_or(Err(Refusal::BodyTimeout))
}

async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyCut)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
