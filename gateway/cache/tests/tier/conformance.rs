//! What every tier does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_cache::tier::{CacheTier, Put, TierState, memory::MemoryTier};
use tokio::{task::JoinSet, time::sleep};

use crate::until;

const LONG: Duration = Duration::from_secs(60);

pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
    Put { key: key.into(), value: value.into(), ttl: LONG }
}

/// Puts, and waits until it is there: a put promises nothing about when.
pub async fn keep(tier: &dyn CacheTier, put: Put) {
    let (key, value) = (put.key.clone(), put.value.clone());
    tier.put(put).expect("room for one");
    until("the value is there", || async { (tier.get(&key).await == Ok(Some(value.clone()))).then_some(()) }).await;
}

/// Passes where a tier keeps the contract of [`CacheTier`]. The tier is empty, up, and nobody else's.
pub async fn check(tier: Arc<dyn CacheTier>) {
    assert_eq!(tier.state(), TierState::Up);
    values_come_back_replaced_and_removed(&*tier).await;
    any_bytes_are_keys_and_values(&*tier).await;
    values_expire(&*tier).await;
    large_values_come_back_whole(&*tier).await;
    many_at_once_do_not_mix(tier).await;
}

async fn values_come_back_replaced_and_removed(tier: &dyn CacheTier) {
    assert_eq!(tier.get(b"a").await, Ok(None));
    keep(tier, put("a", "1")).await;
    keep(tier, put("a", "2")).await;
    keep(tier, put("b", "3")).await;
    let keys = ["a", "nowhere"].map(Bytes::from);
    assert_eq!(tier.delete(&keys).await, Ok(()));
    assert_eq!(tier.get(b"a").await, Ok(None));
    assert_eq!(tier.get(b"b").await, Ok(Some("3".into())));
    assert_eq!(tier.delete(&[]).await, Ok(()));
}

async fn any_bytes_are_keys_and_values(tier: &dyn CacheTier) {
    let all: Bytes = (0..=255_u8).collect();
    let keys =
        [Bytes::from_static(b"\0"), Bytes::from_static(b"\0\0"), Bytes::from_static(b"a b\r\n{x}*"), all.clone()];
    for (i, key) in keys.iter().enumerate() {
        keep(tier, put(key.clone(), [&all[..], &[u8::try_from(i).expect("few")]].concat())).await;
    }
    for (i, key) in keys.iter().enumerate() {
        let value = tier.get(key).await.expect("up").expect("kept");
        assert_eq!(value.last().copied().map(usize::from), Some(i));
    }
    keep(tier, put("empty", "")).await;
}

async fn values_expire(tier: &dyn CacheTier) {
    keep(tier, put("stays", "1")).await;
    tier.put(Put { ttl: Duration::from_millis(150), ..put("goes", "1") }).expect("room");
    tier.put(Put { ttl: Duration::ZERO, ..put("gone", "1") }).expect("room");
    keep(tier, put("after", "1")).await;
    until("it has expired", || async { (tier.get(b"goes").await == Ok(None)).then_some(()) }).await;
    until("it has expired", || async { (tier.get(b"gone").await == Ok(None)).then_some(()) }).await;
    assert_eq!(tier.get(b"stays").await, Ok(Some("1".into())));
}

async fn large_values_come_back_whole(tier: &dyn CacheTier) {
    let large: Bytes = (0..3_000_000_u32).map(|i| i.to_le_bytes()[(i % 3) as usize]).collect();
    keep(tier, put("large", large.clone())).await;
    assert_eq!(tier.get(b"large").await, Ok(Some(large)));
}

async fn many_at_once_do_not_mix(tier: Arc<dyn CacheTier>) {
    let mut tasks = JoinSet::new();
    for worker in 0..64 {
        let tier = tier.clone();
        tasks.spawn(async move {
            for i in 0..20 {
                let key = format!("{worker}/{i}");
                keep(&*tier, put(key.clone(), format!("value of {key}"))).await;
            }
            for i in 0..20 {
                let key = format!("{worker}/{i}");
                assert_eq!(tier.get(key.as_bytes()).await, Ok(Some(format!("value of {key}").into())));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no mix-up");
    }
}

#[tokio::test]
async fn memory_conforms() {
    check(Arc::new(MemoryTier::new())).await;
}

#[tokio::test]
async fn memory_loses_delays_and_resurrects_on_demand() {
    use tidegate_cache::tier::memory::{Fault, Faults};
    let tier = MemoryTier::new();
    tier.put(put("a", "1")).expect("up");
    tier.put(put("a", "2")).expect("up");
    tier.flush();
    assert_eq!(tier.get(b"a").await, Ok(None));
    tier.resurrect(1);
    assert_eq!(tier.get(b"a").await, Ok(Some("1".into())));
    tier.hold();
    let held = tokio::spawn({
        let tier = tier.clone();
        async move { tier.get(b"a").await }
    });
    until("the call was made", || async { (tier.calls().0 == 3).then_some(()) }).await;
    tier.put(put("a", "3")).expect("up");
    sleep(Duration::from_millis(5)).await;
    assert!(!held.is_finished());
    tier.release();
    assert_eq!(held.await.expect("no panic"), Ok(Some("1".into())), "as it was when the call was made");
    tier.set_faults(Faults { lose_puts: Fault::On, ..Faults::default() });
    tier.put(put("a", "4")).expect("taken");
    assert_eq!(tier.get(b"a").await, Ok(Some("3".into())));
    tier.set_faults(Faults { down: Fault::On, ..Faults::default() });
    assert!(tier.get(b"a").await.is_err() && tier.put(put("a", "5")).is_err());
    assert_eq!(tier.state(), TierState::Down);
}
