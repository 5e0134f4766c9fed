//! How to connect to what the configuration names.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult,
    cluster::ClusterClientBuilder,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tidegate_types::settings::{L2Layout, L2Servers};

use super::link::{Connection, PATIENCE};

/// Calls that wait to be sent on a connection.
const WAITING_CALLS: usize = 1024;
/// After this long without an acknowledgement the operating system ends a connection.
const SILENCE: Duration = Duration::from_secs(5);

/// One attempt. May take long: who calls bounds its time.
pub(super) async fn connect(servers: &L2Servers) -> RedisResult<Connection> {
    // Calls are bounded by who makes them.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(WAITING_CALLS);
    let client = match &servers.layout {
        L2Layout::Single => {
            let Some(node) = servers.nodes.first() else { return Err(no_node()) };
            Client::open(info(servers, node)?)?
        }
        L2Layout::Sentinel { service } => {
            let sentinels = servers.nodes.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
            let mut builder = SentinelClientBuilder::new(sentinels, service, SentinelServerType::Master)?
                .set_client_to_redis_db(servers.database.into())
                .set_client_to_redis_tcp_settings(tcp());
            if let Some(password) = &servers.password {
                builder = builder.set_client_to_redis_password(password.reveal());
            }
            if let Some(username) = &servers.username {
                builder = builder.set_client_to_redis_username(username);
            }
            builder.build()?.async_get_client().await?
        }
        L2Layout::Cluster => return cluster(servers).await,
    };
    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
}

async fn cluster(servers: &L2Servers) -> RedisResult<Connection> {
    let nodes = servers.nodes.iter().map(|node| info(servers, node)).collect::<RedisResult<Vec<_>>>()?;
    // A call that is late is of no use: redirections are followed, and that is all.
    let client = ClusterClientBuilder::new(nodes)
        .retries(2)
        .connection_timeout(PATIENCE)
        .response_timeout(PATIENCE)
        .tcp_settings(tcp())
        .build()?;
    client.get_async_connection().await.map(Connection::Cluster)
}

fn info(servers: &L2Servers, (host, port): &(String, u16)) -> RedisResult<ConnectionInfo> {
    let mut redis = RedisConnectionInfo::default().set_db(servers.database.into());
    if let Some(password) = &servers.password {
        redis = redis.set_password(password.reveal());
    }
    if let Some(username) = &servers.username {
        redis = redis.set_username(username);
    }
    let info = (host.as_str(), *port).into_connection_info()?;
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp()))
}

fn tcp() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}

fn no_node() -> redis::RedisError {
    (redis::ErrorKind::InvalidClientConfig, "no server is named").into()
}

/// The servers as logs show them, without secrets.
pub(super) fn shown(servers: &L2Servers) -> String {
    let nodes: Vec<String> = servers.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    nodes.join(",")
}
