//! Redis: alone, behind sentinels, as a cluster. Another client reads what was written.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fred::{
    prelude::{Builder, Client, ClientLike, Config, KeysInterface, ServerConfig},
    types::{Expiration, config::Server as FredServer},
};
use prometheus_client::registry::Registry;
use tidegate_cache::tier::{
    CacheTier, Put, TierError, TierState, guard::Guarded, metrics::TierMetrics, queue::QueueBounds, redis::RedisTier,
};
use tidegate_types::settings::{L2Layout, L2Servers, Secret};

use crate::{
    conformance::{self, keep, put},
    server::{Server, free_port},
    until,
};

/// Long enough for a machine that does much else.
pub const PATIENT: Duration = Duration::from_secs(5);

pub fn tier(servers: L2Servers) -> RedisTier {
    RedisTier::start(servers, QueueBounds::default(), TierMetrics::register(&mut Registry::default()))
}

pub async fn connected<T: CacheTier>(tier: T) -> T {
    until("it is connected", || async { (tier.state() == TierState::Up).then_some(()) }).await;
    tier
}

async fn witness(port: u16) -> Client {
    let server = ServerConfig::Centralized { server: FredServer::new("127.0.0.1", port) };
    let client = Builder::from_config(Config { server, ..Config::default() }).build().expect("a client");
    client.init().await.expect("up");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms() {
    let server = Server::start(&[]).await;
    conformance::check(Arc::new(connected(tier(server.servers())).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_redis_conforms() {
    let server = Server::start(&[]).await;
    conformance::check(Arc::new(Guarded::new(connected(tier(server.servers())).await, PATIENT))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_reads_exactly_what_was_written_and_is_read() {
    let server = Server::start(&[]).await;
    let (tier, witness) = (connected(tier(server.servers())).await, witness(server.port).await);
    let (key, value): (Bytes, Bytes) = (Bytes::from_static(b"k\0\r\n\xff"), (0..=255_u8).collect());
    keep(&tier, Put { ttl: Duration::from_millis(90_500), ..put(key.clone(), value.clone()) }).await;
    assert_eq!(witness.get::<Option<Bytes>, _>(&key[..]).await.expect("up"), Some(value.clone()));
    let left: i64 = witness.pttl(&key[..]).await.expect("up");
    assert!((60_000..=90_500).contains(&left), "{left} ms");
    let (other, theirs) = (&b"\xfe\0"[..], Bytes::from_static(b"\r\n$-1\r\n"));
    let () = witness.set(other, theirs.clone(), Some(Expiration::EX(60)), None, false).await.expect("up");
    assert_eq!(tier.get(other).await, Ok(Some(theirs)));
    tier.delete(std::slice::from_ref(&key)).await.expect("up");
    assert_eq!(witness.exists::<i64, _>(&key[..]).await.expect("up"), 0);
    witness.quit().await.expect("up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_a_database_are_used() {
    let server = Server::start(&["--requirepass", "s3cret/?"]).await;
    let with = |password: &str| L2Servers {
        password: Some(Secret::new(password.to_owned())),
        database: 3,
        ..server.servers()
    };
    let tier = connected(tier(with("s3cret/?"))).await;
    keep(&tier, put("a", "1")).await;
    let client = ::redis::Client::open(format!("redis://:s3cret%2F%3F@127.0.0.1:{}/3", server.port)).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("up");
    assert_eq!(::redis::cmd("GET").arg("a").query_async::<String>(&mut connection).await.expect("there"), "1");
    let refused = self::tier(with("wrong"));
    assert!(matches!(refused.get(b"a").await, Err(TierError::Unavailable(_))));
    assert_eq!(refused.state(), TierState::Down);
    assert!(matches!(refused.get(b"a").await, Err(TierError::Unavailable(_))));
}

/// A replica of this primary, a sentinel that watches both, and how to ask it.
async fn sentinel(primary: u16) -> (Server, Server, L2Servers) {
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.to_string()]).await;
    let config = format!(
        "sentinel monitor shared 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds shared 500\n\
         sentinel failover-timeout shared 2000\n"
    );
    let sentinel = Server::start_sentinel(free_port(), &config).await;
    let layout = L2Layout::Sentinel { service: "shared".to_owned() };
    let servers = L2Servers { layout, ..sentinel.servers() };
    (replica, sentinel, servers)
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_primary_and_to_the_next_one() {
    let mut primary = Server::start(&[]).await;
    let (replica, sentinel, servers) = sentinel(primary.port).await;
    let tier = connected(tier(servers)).await;
    keep(&tier, put("a", "1")).await;
    assert_eq!(witness(primary.port).await.get::<Option<String>, _>("a").await.expect("up"), Some("1".to_owned()));
    until("the sentinel knows the replica", || async {
        let known = sentinel.command(&["SENTINEL", "REPLICAS", "shared"]).await;
        matches!(known, ::redis::Value::Array(replicas) if !replicas.is_empty()).then_some(())
    })
    .await;
    primary.kill();
    until("the replica was promoted and found", || async {
        tier.put(put("b", "2")).ok()?;
        let found = replica.try_command(&["GET", "b"]).await.ok()?;
        (found == ::redis::Value::BulkString(b"2".into())).then_some(())
    })
    .await;
    assert_eq!(tier.get(b"b").await, Ok(Some("2".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms_whichever_node_is_named() {
    let ports = [free_port(), free_port(), free_port()];
    let mut nodes = Vec::new();
    for port in ports {
        let arguments = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
        // The bus is on the port 10000 above; take another port where there is none.
        nodes.push(Server::start_on(if port > 55_000 { port - 20_000 } else { port }, &arguments).await);
    }
    for (i, node) in nodes.iter().enumerate() {
        let range = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]][i];
        node.command(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]).await;
        nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string()]).await;
    }
    for node in &nodes {
        until("the cluster is up", || async {
            let ::redis::Value::BulkString(info) = node.command(&["CLUSTER", "INFO"]).await else { return None };
            let info = String::from_utf8_lossy(&info).into_owned();
            (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")).then_some(())
        })
        .await;
    }
    let servers = L2Servers { layout: L2Layout::Cluster, ..nodes[1].servers() };
    conformance::check(Arc::new(connected(tier(servers)).await)).await;
    for node in &nodes {
        let ::redis::Value::Int(keys) = node.command(&["DBSIZE"]).await else { panic!("a number") };
        assert!(keys > 100, "each has its share: {keys}");
    }
}
