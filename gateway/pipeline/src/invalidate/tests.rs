use std::{convert::Infallible, sync::Arc};

use prometheus_client::registry::Registry;
use tidegate_store::images::Image;
use tidegate_types::{
    answer::RowBody,
    key::{KeyValue, RowKey},
    tenant::{ClassId, TenantId},
};

use super::*;
use crate::fixture::{Equalities, collection};

const WHO: Who = Who { tenant: TenantId(3), class: ClassId(1) };
const NOTHING: [u64; 3] = [0, 0, 0];

fn served() -> Collections {
    Collections::new([collection(0, "written"), collection(1, "other")].into_iter().map(Arc::new).collect())
}

fn key(id: i64, lang: &str) -> RowKey {
    RowKey([KeyValue::Int(id), KeyValue::Text(lang.into())].into_iter().collect())
}

fn row(id: i64, change: RowChange) -> WrittenRow {
    WrittenRow { key: key(id, "a,b"), change, body: RowBody::new("{}".to_owned().into()) }
}

fn values(text: &str) -> Vec<Option<String>> {
    vec![Some(text.to_owned())]
}

fn image(before: Before, after: &str) -> Image {
    Image { before, after: if after.is_empty() { Vec::new() } else { values(after) } }
}

/// What is purged where the policy answers so, what it was asked, and what was counted.
fn run<E: Display>(
    rows: &[WrittenRow],
    images: &Images,
    mut answer: impl FnMut(&[Change]) -> Result<Vec<Purge>, E>,
) -> (Vec<BucketId>, Vec<Vec<Change>>, [u64; 3]) {
    let at_once = |purge| Invalidation { urgency: Urgency::Purge, purge };
    let (Purges { hard, soft, refresh }, asked, fallbacks) =
        run_all(rows, images, |changes| answer(changes).map(|purges| purges.into_iter().map(at_once).collect()));
    assert_eq!((soft.len(), refresh.len()), (0, 0));
    (hard, asked, fallbacks)
}

/// The same where the policy says how urgent each purge is.
fn run_all<E: Display>(
    rows: &[WrittenRow],
    images: &Images,
    mut answer: impl FnMut(&[Change]) -> Result<Vec<Invalidation>, E>,
) -> (Purges, Vec<Vec<Change>>, [u64; 3]) {
    let (collections, metrics) = (served(), Metrics::register(&mut Registry::default()));
    let collection = collections.get("written").expect("served");
    let dialect = &Equalities;
    // A column of the collection: what it held may be unknown.
    let declared = ["lang".into()];
    let written =
        Written { collections: &collections, dialect, collection, who: WHO, rows, declared: &declared, images };
    let mut asked = Vec::new();
    let purged = buckets(written, &metrics, |changes| {
        asked.push(changes.to_vec());
        answer(changes)
    });
    (purged, asked, metrics.fallbacks())
}

fn sorted(buckets: impl IntoIterator<Item = BucketId>) -> Vec<BucketId> {
    let mut buckets: Vec<_> = buckets.into_iter().collect();
    buckets.sort_by_key(|bucket| bucket.0);
    buckets
}

/// Everything the policy might have meant.
fn everything() -> Vec<BucketId> {
    sorted(whole(collection(0, "written").seed()).into_iter().chain([BucketId::tagged(WHO.tenant)]))
}

fn one_update() -> (Vec<WrittenRow>, Images) {
    (vec![row(1, RowChange::Updated)], Images::Each(vec![image(Before::Values(values("1")), "2")]))
}

#[test]
fn the_policy_is_told_what_happened_to_each_row() {
    let rows = [row(1, RowChange::Inserted), row(2, RowChange::Updated), row(3, RowChange::Deleted)];
    let images = Images::Each(vec![
        image(Before::Nothing, "1"),
        image(Before::Values(values("1")), "2"),
        image(Before::Values(values("2")), ""),
    ]);
    let (purged, asked, fallbacks) = run(&rows, &images, |_| Ok::<_, Infallible>(Vec::new()));
    assert_eq!((purged, fallbacks), (Vec::new(), NOTHING));
    let told: Vec<_> =
        asked[0].iter().map(|c| (&*c.collection, &*c.key, c.kind, c.old.clone(), c.new.clone())).collect();
    assert_eq!(
        told,
        [
            ("written", "1,\"a,b\"", ChangeKind::Insert, vec![], values("1")),
            ("written", "2,\"a,b\"", ChangeKind::Update, values("1"), values("2")),
            ("written", "3,\"a,b\"", ChangeKind::Delete, values("2"), vec![]),
        ]
    );
}

#[test]
fn purges_become_buckets() {
    let (rows, images) = one_update();
    let other = || "other".to_owned();
    let row = BucketId::row(collection(1, "other").seed(), &key(7, "x,y"));
    let tag = BucketId::tag(WHO.tenant, "category:1");
    let query = |query: &str| Purge::Query { tenant: WHO.tenant, collection: other(), query: query.into() };
    let of_query = |query: &str| {
        let collection = collection(1, "other");
        let read = Equalities.list(&collection, query).expect("equalities");
        vec![touch::query(WHO.tenant, &collection, &normal::normal(&collection, &read))]
    };
    let cases = [
        (query("lang=eq.de&id=eq.7"), of_query("id=eq.7&lang=eq.de&id=eq.7")),
        (Purge::Row { collection: other(), key: "7,\"x,y\"".into() }, vec![row]),
        (Purge::Tag(tag), vec![tag]),
        (Purge::Lists { collection: other() }, sorted(lists(collection(1, "other").seed()))),
        (Purge::Collection { collection: other() }, sorted(whole(collection(1, "other").seed()))),
    ];
    let answer: Vec<Purge> = cases.iter().map(|(purge, _)| purge.clone()).collect();
    for (purge, buckets) in &cases {
        let (purged, _, fallbacks) = run(&rows, &images, |_| Ok::<_, Infallible>(vec![purge.clone()]));
        assert_eq!((purged, fallbacks), (buckets.clone(), NOTHING), "{purge:?}");
    }
    let (purged, _, _) = run(&rows, &images, |_| Ok::<_, Infallible>(answer.iter().chain(&answer).cloned().collect()));
    assert_eq!(purged.len(), 6, "each once: {purged:?}");
}

#[test]
fn a_failure_purges_the_collection_and_every_tagged_answer_of_the_tenant() {
    let (rows, images) = one_update();
    assert_eq!(run(&rows, &images, |_| Err("trap")), (everything(), vec![changes_of(&rows, &images)], [1, 0, 0]));
}

fn changes_of(rows: &[WrittenRow], images: &Images) -> Vec<Change> {
    run(rows, images, |_| Ok::<_, Infallible>(Vec::new())).1.remove(0)
}

#[test]
fn what_does_not_exist_counts_as_a_failure_and_the_rest_is_purged_all_the_same() {
    let (rows, images) = one_update();
    let tag = BucketId::tag(WHO.tenant, "x");
    for wrong in [
        Purge::Row { collection: "nope".into(), key: "1,a".into() },
        Purge::Row { collection: "other".into(), key: "x,a".into() },
        Purge::Row { collection: "other".into(), key: "1".into() },
        Purge::Lists { collection: "nope".into() },
        Purge::Collection { collection: String::new() },
    ] {
        let answer = vec![wrong.clone(), Purge::Tag(tag)];
        let (purged, _, fallbacks) = run(&rows, &images, |_| Ok::<_, Infallible>(answer.clone()));
        assert_eq!(purged, sorted(everything().into_iter().chain([tag])), "{wrong:?}");
        assert_eq!(fallbacks, [0, 1, 0]);
    }
}

#[test]
fn a_row_that_nobody_read_is_purged_for_as_for_a_failure_and_the_others_are_asked_about() {
    let rows = [row(1, RowChange::Updated), row(2, RowChange::Inserted)];
    for unknown in [0, 1] {
        let mut images = vec![image(Before::Values(values("1")), "2"); 2];
        images[unknown].before = Before::Unknown;
        let (purged, asked, fallbacks) = run(&rows, &Images::Each(images), |_| Ok::<_, Infallible>(Vec::new()));
        assert_eq!((purged, fallbacks), (everything(), [0, 0, 1]));
        assert_eq!(asked.concat().len(), 1);
        assert_eq!(asked[0][0].kind, ChangeKind::Update, "what was there was changed, whatever the flag says");
    }
    let images = Images::Each(vec![image(Before::Unknown, "1")]);
    let (purged, asked, _) = run(&rows[..1], &images, |_| Ok::<_, Infallible>(Vec::new()));
    assert_eq!((purged, asked.len()), (everything(), 0), "nothing is left to ask about");
}

#[test]
fn many_changes_are_asked_about_in_batches_and_one_that_fails_loses_none() {
    let rows: Vec<_> = (0..600).map(|id| row(id, RowChange::Inserted)).collect();
    let images = Images::Each(vec![image(Before::Nothing, "1"); 600]);
    let mut calls = 0;
    let (purged, asked, fallbacks) = run(&rows, &images, |_| {
        calls += 1;
        if calls == 2 { Err("deadline") } else { Ok(vec![Purge::Tag(BucketId(calls))]) }
    });
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);
    let keys: Vec<String> = asked.concat().into_iter().map(|change| change.key).collect();
    assert_eq!(keys, (0..600).map(|id| key(id, "a,b").path_text()).collect::<Vec<_>>());
    assert_eq!(purged, sorted(everything().into_iter().chain([BucketId(1), BucketId(3)])));
    assert_eq!(fallbacks, [1, 0, 0]);
}

#[test]
fn too_many_changes_are_one() {
    let rows = [row(1, RowChange::Updated)];
    let (purged, asked, fallbacks) = run(&rows, &Images::TooMany, |_| Ok::<_, Infallible>(Vec::new()));
    assert_eq!((purged, fallbacks, asked.len()), (Vec::new(), NOTHING, 1));
    let change = &asked[0][0];
    assert_eq!((change.kind, &*change.key, change.old.len(), change.new.len()), (ChangeKind::Truncate, "", 0, 0));
}

#[test]
fn a_write_that_changed_nothing_is_not_asked_about() {
    for images in [Images::Each(Vec::new()), Images::NotAsked] {
        let (purged, asked, _) = run(&[], &images, |_| Err("never asked"));
        assert_eq!((purged.len(), asked.len()), (0, 0));
    }
}

#[test]
fn soft_purges_and_refreshes_are_told_apart_and_what_is_both_is_purged() {
    let (rows, images) = one_update();
    let row = |id: i64| Purge::Row { collection: "other".into(), key: format!("{id},x") };
    let bucket = |id: i64| BucketId::row(collection(1, "other").seed(), &key(id, "x"));
    let lists = || Purge::Lists { collection: "other".into() };
    let answer: Vec<Invalidation> = [
        (Urgency::SoftPurge, row(1)),
        (Urgency::SoftPurge, row(2)),
        (Urgency::Purge, row(2)),
        (Urgency::Refresh, row(3)),
        (Urgency::Refresh, row(3)),
        (Urgency::Refresh, lists()),
        (Urgency::SoftPurge, row(1)),
    ]
    .map(|(urgency, purge)| Invalidation { urgency, purge })
    .into();
    let (purges, _, fallbacks) = run_all(&rows, &images, |_| Ok::<_, Infallible>(answer.clone()));
    let [relation, columns] = touch::lists(collection(1, "other").seed());
    assert_eq!(purges.hard, sorted([bucket(2), bucket(3), relation, columns]));
    assert_eq!((purges.soft, fallbacks), (vec![bucket(1)], NOTHING));
    let again: Vec<_> = purges.refresh.iter().map(|again| (&*again.collection.name, again.key.clone())).collect();
    assert_eq!(again, [("other", key(3, "x"))], "each once, and no lists");
}

#[test]
fn a_policy_refreshes_no_more_rows_than_are_worth_it() {
    let (rows, images) = one_update();
    let refresh = |id| Invalidation {
        urgency: Urgency::Refresh,
        purge: Purge::Row { collection: "other".into(), key: format!("{id},x") },
    };
    let (purges, ..) = run_all(&rows, &images, |_| Ok::<_, Infallible>((0..400).map(refresh).collect()));
    assert_eq!((purges.hard.len(), purges.refresh.len()), (400, MAX_REFRESHES), "all of them are purged");
}

#[test]
fn a_policy_is_told_of_its_own_columns_and_not_of_what_is_tracked_besides() {
    let collections = served();
    let collection = collections.get("written").expect("served");
    let rows = [row(1, RowChange::Updated), row(2, RowChange::Updated)];
    let two = |text: &str| vec![Some(text.to_owned()), Some("tracked".to_owned())];
    let images = Images::Each(vec![
        Image { before: Before::Values(two("old")), after: two("new") },
        Image { before: Before::Unknown, after: two("new") },
    ]);
    let told = |column: &str| {
        let declared = [column.into()];
        let written = Written {
            collections: &collections,
            dialect: &Equalities,
            collection,
            who: WHO,
            rows: &rows,
            declared: &declared,
            images: &images,
        };
        changes(written)
    };
    let (known, unread) = told("lang");
    assert_eq!((known.len(), unread), (1, Some(1)));
    assert_eq!((&known[0].old, &known[0].new), (&values("old"), &values("new")));
    let (known, unread) = told("nowhere");
    assert_eq!((known.len(), unread, &known[1].old), (2, None, &vec![None]), "of what is not there nothing is unknown");
}
