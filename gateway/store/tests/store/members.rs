//! The member table, against a real server.

use std::{sync::Arc, time::Duration};

use tidegate_store::{Store, StoreError};
use tidegate_types::{
    epoch::Epochs,
    member::Member,
    request::WriteAction,
    route::Topology,
    settings::{Secret, ShardSettings},
};

use crate::world::{A, B, Shape, World, body, pools};

const SCHEMA: &str = "CREATE TABLE items (id int PRIMARY KEY, n int)";

async fn world() -> World {
    World::new(Shape::Databases, SCHEMA, &["items"]).await
}

fn row(id: &str, incarnation: i64) -> Member {
    let lease = Duration::from_secs(1);
    Member { id: id.into(), incarnation, beat: 0, lease, address: "127.0.0.1:1".into() }
}

fn beat(row: &Member, beat: i64) -> Member {
    Member { beat, ..row.clone() }
}

/// A store of one's own over the same databases, as another process has it.
pub fn another_gateway(world: &World, role: Option<&str>) -> Store {
    let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
    let url = |name: &str| {
        let url = world.clusters[0].url(name);
        role.map_or(url.clone(), |role| url.replacen("tidegate@", &format!("{role}@"), 1))
    };
    let settings =
        ["a", "b"].map(|name| (name.to_owned(), ShardSettings { primary: Secret::new(url(name)), region: None }));
    let shards = settings.into_iter().collect();
    Store::new(&shards, &pools(4), topology, Epochs::new(2), &mut Default::default()).unwrap()
}

fn insert(id: i64) -> WriteAction {
    WriteAction::Insert {
        body: body(&format!("{{\"id\":{id},\"n\":1}}")),
        resolution: tidegate_types::request::Resolution::Fail,
        missing: tidegate_types::request::Missing::Null,
    }
}

#[tokio::test]
async fn a_row_lives_by_renewals_and_ends_by_fencing() {
    let world = world().await;
    let members = world.store.members(A).unwrap();
    let one = row("one", 1);
    let joined = members.join(&one).await.unwrap();
    assert_eq!(Some(joined.epoch), world.store.lineage(A).map(|(epoch, _)| epoch));

    let renewed = members.renew(&one).await.unwrap().unwrap();
    assert_eq!(renewed.members, [beat(&one, 1)]);
    // Who saw an older beat fences nobody.
    assert_eq!(members.fence(&one).await.unwrap(), Some(beat(&one, 1)));
    assert_eq!(members.fence(&beat(&one, 1)).await.unwrap(), None);
    assert!(members.all().await.unwrap().members.is_empty());
    assert_eq!(members.renew(&one).await.unwrap(), None, "fenced");
    assert_eq!(members.fence(&beat(&one, 1)).await.unwrap(), None, "fenced before");

    let again = members.join(&row("one", 2)).await.unwrap();
    assert!(again.base > joined.base);
    assert!(members.renew(&one).await.unwrap().is_none(), "of another incarnation");
    assert_eq!(members.renew(&row("one", 2)).await.unwrap().unwrap().members, [beat(&row("one", 2), 1)]);
    members.leave(&one).await.unwrap();
    assert_eq!(members.all().await.unwrap().members.len(), 1, "what has left is an older incarnation");
    members.leave(&row("one", 2)).await.unwrap();
    assert!(members.all().await.unwrap().members.is_empty());
}

#[tokio::test]
async fn an_order_to_join_that_was_held_up_changes_nothing() {
    let world = world().await;
    let members = world.store.members(A).unwrap();
    members.join(&row("one", 2)).await.unwrap();
    let late = members.join(&row("one", 1)).await;
    assert!(matches!(late, Err(StoreError::Members { .. })), "{late:?}");
    assert_eq!(members.all().await.unwrap().members, [row("one", 2)]);
}

#[tokio::test]
async fn gateways_that_start_together_create_one_table() {
    let world = world().await;
    let stores: Vec<Store> = (0..6).map(|_| another_gateway(&world, None)).collect();
    let joins = stores.iter().enumerate().map(|(i, store)| {
        let members = store.members(A).unwrap();
        async move { members.join(&row(&format!("gateway-{i}"), 1)).await }
    });
    for joined in futures_util::future::join_all(joins).await {
        joined.unwrap();
    }
    assert_eq!(world.store.members(A).unwrap().all().await.unwrap().members.len(), 6);
}

#[tokio::test]
async fn the_transaction_id_of_a_join_is_above_every_writer_that_did_not_see_it() {
    let world = world().await;
    let store = world.store.clone().of_several_gateways();
    let members = world.store.members(A).unwrap();
    members.join(&row("one", 1)).await.unwrap();
    let begin = |id: i64| {
        let (store, request) = (store.clone(), world.request("items", insert(id)));
        async move { store.begin_write(A, &request, None, None).await.unwrap() }
    };
    let before = begin(1).await;
    let joined = members.join(&row("two", 1)).await.unwrap();
    let after = begin(2).await;
    let names = |members: &Option<Vec<Member>>| {
        let mut names: Vec<String> = members.iter().flatten().map(|member| member.id.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&before.members), ["one"]);
    assert_eq!(names(&after.members), ["one", "two"]);
    assert!(before.xid.unwrap() < joined.base && joined.base < after.xid.unwrap());
    before.commit().await.unwrap();
    after.rollback().await;
    // A shard without anybody.
    world.store.members(B).unwrap().join(&row("one", 1)).await.unwrap();
    world.store.members(B).unwrap().leave(&row("one", 1)).await.unwrap();
    let prepared = store.begin_write(B, &world.request("items", insert(1)), None, None).await.unwrap();
    assert_eq!(prepared.members, Some(Vec::new()));
    assert!(prepared.xid.is_some());
    prepared.rollback().await;
}

#[tokio::test]
async fn a_single_gateway_asks_nobody() {
    let world = world().await;
    let prepared = world.begin("items", insert(1)).await.unwrap();
    assert_eq!(prepared.members, None);
    prepared.commit().await.unwrap();
}

#[tokio::test]
async fn without_the_table_nothing_is_written_and_the_connection_is_kept() {
    let world = world().await;
    let store = world.store.clone().of_several_gateways();
    let begun = store.begin_write(A, &world.request("items", insert(1)), None, None).await;
    assert!(matches!(&begun, Err(StoreError::Members { .. })), "{begun:?}");
    let problem = begun.unwrap_err().into_problem();
    assert_eq!(problem.code, "TG017");
    world.store.members(A).unwrap().join(&row("one", 1)).await.unwrap();
    let prepared = store.begin_write(A, &world.request("items", insert(1)), None, None).await.unwrap();
    // The table goes while the statement is prepared.
    prepared.commit().await.unwrap();
    world.sql(A).await.batch_execute("DROP SCHEMA tidegate CASCADE").await.unwrap();
    let begun = store.begin_write(A, &world.request("items", insert(2)), None, None).await;
    assert!(matches!(&begun, Err(StoreError::Members { .. })), "{begun:?}");
    assert!(world.row(A, "items", "2").await.is_none());
}

#[tokio::test]
async fn a_lease_lives_while_every_pool_is_used_up_and_its_row_is_locked_by_others() {
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], pools(1)).await;
    let members = world.store.members(A).unwrap();
    let (one, two) = (row("one", 1), row("two", 1));
    members.join(&one).await.unwrap();
    world.store.members(A).unwrap().join(&two).await.unwrap();
    let busy = world.begin("items", insert(1)).await.unwrap();
    // Somebody holds another member's row, so fencing that one waits.
    let holder = world.sql(A).await;
    holder.batch_execute("BEGIN; SELECT 1 FROM tidegate.members WHERE id = 'two' FOR UPDATE").await.unwrap();
    let fencing = {
        let (members, two) = (members.clone(), two.clone());
        tokio::spawn(async move { members.fence(&two).await })
    };
    for _ in 0..3 {
        assert!(members.renew(&one).await.unwrap().is_some());
    }
    let fenced = fencing.await.unwrap();
    assert!(fenced.is_err(), "it does not wait forever: {fenced:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(members.fence(&two).await.unwrap(), None);
    busy.rollback().await;
}

#[tokio::test]
async fn a_fencing_waits_for_a_renewal_under_way_and_spares_its_member() {
    let world = world().await;
    let members = world.store.members(A).unwrap();
    let one = row("one", 1);
    members.join(&one).await.unwrap();
    // A renewal that was executed and is not committed.
    let renewal = world.sql(A).await;
    renewal.batch_execute("BEGIN; UPDATE tidegate.members SET beat = beat + 1 WHERE id = 'one'").await.unwrap();
    let fencing = {
        let (members, one) = (members.clone(), one.clone());
        tokio::spawn(async move { members.fence(&one).await })
    };
    crate::world::until("the fencing waits", async || {
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = \
                       'tidegate members'";
        !world.sql(A).await.query(waiting, &[]).await.unwrap().is_empty()
    })
    .await;
    renewal.batch_execute("COMMIT").await.unwrap();
    assert_eq!(fencing.await.unwrap().unwrap(), Some(beat(&one, 1)));
}

#[tokio::test]
async fn a_role_that_may_not_create_is_told_the_sql() {
    let world = world().await;
    let setup = "CREATE ROLE plain LOGIN; GRANT ALL ON items TO plain";
    world.sql(A).await.batch_execute(setup).await.unwrap();
    let plain = another_gateway(&world, Some("plain"));
    let members = plain.members(A).unwrap();
    let refused = members.join(&row("one", 1)).await.unwrap_err().to_string();
    assert!(refused.contains("CREATE TABLE IF NOT EXISTS tidegate.members"), "{refused}");
    assert!(members.check().await.unwrap_err().to_string().contains("GRANT SELECT"));
    let grants = tidegate_store::members::GRANTS.replace("ROLE", "plain");
    let mended = format!("{}{grants}", tidegate_store::members::TABLE);
    world.sql(A).await.batch_execute(&mended).await.unwrap();
    members.check().await.unwrap();
    assert!(members.all().await.unwrap().members.is_empty(), "a check leaves nothing");
    members.join(&row("one", 1)).await.unwrap();
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced() {
    let world = world().await;
    let members = world.store.members(A).unwrap();
    let one = row("one", 1);
    members.join(&one).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidegate members'";
    world.sql(A).await.query(cut, &[]).await.unwrap();
    crate::world::until("it renews again", async || members.renew(&one).await.is_ok_and(|renewed| renewed.is_some()))
        .await;
}
