//! Servers that are down, slow, hanging or cut off: no call lasts longer than the timeout and a little.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tidegate_cache::tier::{
    CacheTier, TierError, TierState, guard::Guarded, metrics::TierMetrics, queue::QueueBounds, redis::RedisTier,
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    conformance::{keep, put},
    proxy::{Proxy, Weather},
    redis::{connected, tier},
    server::{Server, single},
    until,
};

const TIMEOUT: Duration = Duration::from_millis(20);
/// On top of the timeout: a machine that does much else wakes a task late.
const A_LITTLE: Duration = Duration::from_millis(80);

struct Behind {
    proxy: Proxy,
    server: Server,
    tier: Arc<Guarded<RedisTier>>,
}

async fn behind_a_proxy() -> Behind {
    let server = Server::start(&[]).await;
    let proxy = Proxy::to(server.port).await;
    let tier = Arc::new(Guarded::new(connected(tier(single(proxy.port))).await, TIMEOUT));
    keep_through(&tier).await;
    Behind { proxy, server, tier }
}

/// A slow machine may time out now and then; the breaker lets that pass.
async fn keep_through(tier: &Guarded<RedisTier>) {
    until("a value is kept", || async {
        tier.put(put("a", "1")).ok()?;
        (tier.get(b"a").await == Ok(Some("1".into()))).then_some(())
    })
    .await;
}

impl Behind {
    /// Many calls at a time for a while; how many were sent although none could be answered.
    async fn calls_end_in_time(&self) -> usize {
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let tier = self.tier.clone();
            tasks.spawn(async move {
                let mut waited = 0;
                for _ in 0..20 {
                    let start = Instant::now();
                    let answer = tier.get(b"a").await;
                    let took = start.elapsed();
                    assert!(took <= TIMEOUT + A_LITTLE, "{answer:?} took {took:?}");
                    assert!(!matches!(answer, Ok(None)), "a fault is no answer");
                    waited += usize::from(matches!(answer, Err(TierError::Timeout(_))));
                    let start = Instant::now();
                    let _ = tier.put(put("b", "1"));
                    let keys = [Bytes::from_static(b"c")];
                    let _ = tier.delete(&keys).await;
                    let took = start.elapsed();
                    assert!(took <= TIMEOUT + A_LITTLE, "took {took:?}");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                waited
            });
        }
        let mut waited = 0;
        while let Some(one) = tasks.join_next().await {
            waited += one.expect("in time");
        }
        waited
    }

    async fn is_used_again(&self) {
        until("it is used again", || async {
            (self.tier.get(b"a").await.is_ok() && self.tier.state() == TierState::Up).then_some(())
        })
        .await;
        keep_through(&self.tier).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_alone_and_found_again() {
    let it = behind_a_proxy().await;
    it.proxy.set(Weather::Hanging);
    let waited = it.calls_end_in_time().await;
    assert_ne!(it.tier.state(), TierState::Up);
    assert!(waited < 100, "of 320 calls {waited} waited: the breaker spares the others");
    it.proxy.set(Weather::Fair);
    it.is_used_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_slower_than_the_timeout_is_left_alone_and_found_again() {
    let it = behind_a_proxy().await;
    it.proxy.set(Weather::Slow(Duration::from_millis(200)));
    let waited = it.calls_end_in_time().await;
    assert!(waited < 100, "{waited}");
    assert_ne!(it.tier.state(), TierState::Up);
    it.proxy.set(Weather::Fair);
    it.is_used_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connections_are_cut_is_found_again() {
    let it = behind_a_proxy().await;
    it.proxy.set(Weather::Cut);
    it.calls_end_in_time().await;
    it.proxy.set(Weather::Fair);
    it.is_used_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_returns_empty_is_found_again() {
    let mut it = behind_a_proxy().await;
    it.server.kill();
    it.calls_end_in_time().await;
    it.server.restart(&[]).await;
    it.is_used_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_is_left_alone_and_found_again() {
    let it = behind_a_proxy().await;
    it.server.signal("-STOP");
    it.calls_end_in_time().await;
    assert_ne!(it.tier.state(), TierState::Up);
    it.server.signal("-CONT");
    it.is_used_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_never_there_costs_nothing() {
    let tier = Guarded::new(tier(single(crate::server::free_port())), TIMEOUT);
    let start = Instant::now();
    for _ in 0..1000 {
        assert!(tier.get(b"a").await.is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(tier.state(), TierState::Down);
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_to_a_server_that_hangs_are_dropped_where_the_queue_is_full() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::to(server.port).await;
    let bounds = QueueBounds { values: 100, bytes: 10_000 };
    let mut registry = Registry::default();
    let tier = RedisTier::start(single(proxy.port), bounds, TierMetrics::register(&mut registry));
    let tier = connected(tier).await;
    keep(&tier, put("a", "1")).await;
    proxy.set(Weather::Hanging);
    let start = Instant::now();
    let refused = (0..10_000).filter(|i| tier.put(put(format!("{i}"), vec![0; 100])) == Err(TierError::Full)).count();
    assert!(refused > 9_000, "{refused} refused");
    assert!(start.elapsed() < Duration::from_secs(1), "handing over never waits: {:?}", start.elapsed());
    proxy.set(Weather::Fair);
    until("there is room again", || async { tier.put(put("b", "1")).ok() }).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    let dropped = text.lines().find(|line| line.starts_with("tidegate_l2_puts_total{outcome=\"dropped\"}"));
    let dropped: usize = dropped.and_then(|line| line.rsplit_once(' ')).expect("counted").1.parse().expect("a number");
    assert!(dropped >= refused, "{dropped} counted of {refused}");
}
