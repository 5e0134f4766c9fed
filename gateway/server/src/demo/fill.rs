//! The rows into the shards, each into the one where routing will look for it.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{SinkExt, future::try_join_all};
use indicatif::ProgressBar;
use tidegate_postgres::Cluster;
use tidegate_types::route::Topology;
use tokio_postgres::{Client, CopyInSink, NoTls};

use crate::{
    demo::{
        DATABASE, SHARDS,
        data::{TABLES, Table},
        folder::Storefront,
    },
    error::ServerError,
};

/// The same for servers of one's own.
const SCHEMA: &str = include_str!("../../../../examples/storefront/schema.sql");
/// Bytes per message; a few hundred rows.
const CHUNK: usize = 64 * 1024;

/// Makes and fills the tables. What an interrupted start left is thrown away.
pub(super) async fn fill(clusters: &[Cluster], storefront: &Storefront, bar: &ProgressBar) -> Result<(), ServerError> {
    let clients = try_join_all(clusters.iter().map(fresh)).await?;
    let keys = |table: &Table| if table.name == "products" { storefront.products } else { storefront.profiles };
    bar.set_length(TABLES.iter().map(|table| u64::from(keys(table))).sum());
    for table in &TABLES {
        bar.set_message(format!("Filling {}", table.name));
        copy(&clients, table, keys(table), storefront.products, bar).await?;
    }
    bar.set_message("Gathering statistics");
    try_join_all(clients.iter().map(|client| client.batch_execute("VACUUM ANALYZE")))
        .await
        .map_err(ServerError::sql("cannot gather statistics"))?;
    Ok(())
}

/// A connection to an empty database with the tables.
async fn fresh(cluster: &Cluster) -> Result<Client, ServerError> {
    let admin = connect(cluster, "postgres").await?;
    let drop_database = format!("DROP DATABASE IF EXISTS {DATABASE}");
    admin.batch_execute(&drop_database).await.map_err(ServerError::sql("cannot begin anew"))?;
    cluster.ensure_database(DATABASE).await?;
    let client = connect(cluster, DATABASE).await?;
    client.batch_execute(SCHEMA).await.map_err(ServerError::sql("cannot make the storefront's tables"))?;
    Ok(client)
}

async fn connect(cluster: &Cluster, database: &str) -> Result<Client, ServerError> {
    let url = cluster.url(database);
    let connecting = tokio_postgres::connect(&url, NoTls).await;
    let (client, connection) = connecting.map_err(ServerError::sql(cluster.name()))?;
    // Ends when the client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

/// A COPY that is under way on one shard.
struct Sink {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    pending: String,
}

async fn copy(
    clients: &[Client],
    table: &Table,
    keys: u32,
    products: u32,
    bar: &ProgressBar,
) -> Result<(), ServerError> {
    let failed = || ServerError::sql(format!("cannot fill {}", table.name));
    let topology = Topology::new(SHARDS.map(Arc::from));
    let statement = format!("COPY {} ({}) FROM STDIN", table.name, table.columns);
    let mut sinks = Vec::new();
    for client in clients {
        let sink = Box::pin(client.copy_in(&statement).await.map_err(failed())?);
        sinks.push(Sink { sink, pending: String::with_capacity(CHUNK * 2) });
    }
    for key in 1..=keys {
        let shard = topology.shard_for_hash(Topology::hash_key(&key.to_string()));
        let sink = &mut sinks[usize::from(shard.0)];
        (table.lines)(&mut sink.pending, key, products);
        if sink.pending.len() >= CHUNK {
            let chunk = std::mem::replace(&mut sink.pending, String::with_capacity(CHUNK * 2));
            sink.sink.send(Bytes::from(chunk)).await.map_err(failed())?;
        }
        bar.inc(1);
    }
    for mut sink in sinks {
        sink.sink.send(Bytes::from(sink.pending)).await.map_err(failed())?;
        sink.sink.as_mut().finish().await.map_err(failed())?;
    }
    Ok(())
}
