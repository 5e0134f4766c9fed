use tidegate_store::feed::{RowImage, TableChanges, Whole};
use tidegate_types::{
    bucket::RelationSeed,
    key::{KeyType, KeyValue, RowKey},
    track::{Tracked, TrackedKind},
};

use super::{made::Known, *};
use crate::{
    fixture::collection,
    touch::{MAX_ROW_BUCKETS, whole},
};

fn served() -> Collections {
    Collections::new(["texts", "other"].iter().zip(0..).map(|(name, id)| Arc::new(collection(id, name))).collect())
}

fn image(id: &str, lang: &str, watched: Watched) -> RowImage {
    RowImage { key: vec![id.into(), lang.into()], watched: vec![watched] }
}

fn row(before: Option<RowImage>, after: Option<RowImage>) -> RowChange {
    RowChange { before, after }
}

fn table_of(collections: &Collections, name: &str, watched: &[&str]) -> Arc<FeedTable> {
    let collection = collections.get(name).expect("served");
    Arc::new(FeedTable {
        relation: collection.relation.clone(),
        key: collection.key_columns().map(|column| column.name.clone()).collect(),
        watched: watched.iter().map(|name| (*name).to_owned()).collect(),
    })
}

/// Of a transaction that no gateway made.
fn raised(collections: &Collections, changes: &TableChanges) -> Vec<BucketId> {
    touched::buckets(collections, changes, &Known::default())
}

fn changes(table: Changed, changes: Changes) -> TableChanges {
    TableChanges { table, changes }
}

#[test]
fn rows_are_the_buckets_that_a_write_of_them_raises() {
    let collections = served();
    let seed = collections.get("texts").expect("served").seed();
    let table = table_of(&collections, "texts", &[]);
    let moved = row(Some(image("1", "en", Watched::Null)), Some(image("1", "d,e", Watched::Null)));
    let told = raised(&collections, &changes(Changed::Followed(table), Changes::Rows(vec![moved])));
    let key = |lang: &str| RowKey([KeyValue::Int(1), KeyValue::Text(lang.into())].into_iter().collect());
    assert_eq!(told, [BucketId::relation(seed), BucketId::row(seed, &key("en")), BucketId::row(seed, &key("d,e"))]);
}

#[test]
fn what_is_not_told_row_by_row_is_the_table_and_what_is_not_known_is_everything() {
    let collections = served();
    let table = || Changed::Followed(table_of(&collections, "texts", &[]));
    let seed = collections.get("texts").expect("served").seed();
    let whole = whole(seed).to_vec();
    assert_eq!(raised(&collections, &changes(table(), Changes::Whole(Whole::TooMany))), whole);
    let odd = row(None, Some(image("x", "en", Watched::Null)));
    assert_eq!(raised(&collections, &changes(table(), Changes::Rows(vec![odd]))), whole, "no number");
    let many = (0..=MAX_ROW_BUCKETS).map(|i| row(None, Some(image(&i.to_string(), "en", Watched::Null)))).collect();
    assert_eq!(raised(&collections, &changes(table(), Changes::Rows(many))), whole);
    let other = changes(Changed::Other("public.heir".into()), Changes::Rows(Vec::new()));
    assert_eq!(raised(&collections, &other), all(&collections).collect::<Vec<_>>());
}

/// The same tables, with lists that are told apart by `lang`, and what a change of `texts` raises of values.
fn values(rows: Vec<RowChange>, watched: &[&str], made: &[BucketId]) -> Vec<BucketId> {
    let lang = Tracked { name: "lang".into(), kind: TrackedKind::Key(KeyType::Text) };
    let texts = Collection { track: vec![lang], ..collection(0, "texts") };
    let collections = Collections::new([texts, collection(1, "other")].map(Arc::new).into());
    let table = table_of(&collections, "texts", watched);
    let transactions = Made::default();
    transactions.add(Epoch(1), Xid(7), Asked::Nobody, made.to_vec());
    let known = transactions.get(Epoch(1), Xid(7));
    let told = touched::buckets(&collections, &changes(Changed::Followed(table), Changes::Rows(rows)), &known);
    let plain = |bucket: &BucketId| *bucket == BucketId::relation(seed()) || all_rows().contains(bucket);
    told.into_iter().filter(|bucket| !plain(bucket)).collect()
}

fn seed() -> RelationSeed {
    collection(0, "texts").seed()
}

fn key_bucket(id: i64, lang: &str) -> BucketId {
    BucketId::row(seed(), &RowKey([KeyValue::Int(id), KeyValue::Text(lang.into())].into_iter().collect()))
}

fn all_rows() -> Vec<BucketId> {
    [(1, "en"), (1, "de"), (2, "en")].map(|(id, lang)| key_bucket(id, lang)).into()
}

#[test]
fn values_are_told_before_and_after_and_what_is_not_told_is_every_value() {
    let text = |text: &str| Watched::Text(text.into());
    let en = |value| image("1", "en", value);
    let value = |value| BucketId::column(seed(), "lang", value);
    let any = vec![BucketId::columns(seed())];
    assert_eq!(values(vec![row(None, Some(en(text("en"))))], &["lang"], &[]), [value(Some("en"))]);
    assert_eq!(values(vec![row(Some(en(Watched::Null)), None)], &["lang"], &[]), [value(None)]);
    let moved = || vec![row(Some(en(text("en"))), Some(image("1", "de", text("de"))))];
    let mut both = [value(Some("en")), value(Some("de"))];
    both.sort_by_key(|bucket| bucket.0);
    assert_eq!(values(moved(), &["lang"], &[]), both);
    assert_eq!(values(moved(), &["id"], &[]), any, "asked for before it was tracked");
    let untold = || vec![row(Some(en(Watched::Unknown)), Some(en(text("de"))))];
    assert_eq!(values(untold(), &["lang"], &[]), any);
    let changed = vec![row(Some(en(text("en"))), Some(en(Watched::Unknown)))];
    assert_eq!(values(changed, &["lang"], &[]), any, "stored apart and not sent");
}

#[test]
fn what_is_not_told_of_a_row_that_a_gateway_wrote_was_known_to_it() {
    let en = |value| image("1", "en", value);
    let untold = || row(Some(en(Watched::Unknown)), Some(en(Watched::Text("de".into()))));
    let (new, any) = (BucketId::column(seed(), "lang", Some("de")), BucketId::columns(seed()));
    assert_eq!(values(vec![untold()], &["lang"], &[key_bucket(1, "en")]), [new]);
    assert_eq!(values(vec![untold()], &["lang"], &[BucketId::sweep(seed())]), [new]);
    let others = [key_bucket(2, "en"), BucketId::relation(seed()), new];
    assert_eq!(values(vec![untold()], &["lang"], &others), [any], "changed along with it, by whatever");
    let key_changed = row(Some(en(Watched::Unknown)), Some(image("1", "de", Watched::Text("de".into()))));
    assert_eq!(values(vec![key_changed], &["lang"], &[key_bucket(1, "en")]), [any], "a gateway changes no key");
}

#[test]
fn a_policy_is_told_what_is_known_and_how_much_is_not() {
    let collections = served();
    let collection = collections.get("texts").expect("served");
    let name = collection.columns.last().expect("columns").name.clone();
    let declared: Vec<Arc<str>> = vec![name.as_str().into(), "nowhere".into()];
    let table = table_of(&collections, "texts", &[&name]);
    let text = |text: &str| Watched::Text(text.into());
    let rows = Changes::Rows(vec![
        row(None, Some(image("1", "en", text("a")))),
        row(Some(image("1", "en", text("a"))), Some(image("1", "en", Watched::Null))),
        row(Some(image("1", "en", Watched::Null)), Some(image("2", "en", text("b")))),
        row(Some(image("2", "en", Watched::Unknown)), None),
    ]);
    let (changes, unread) = told(collection, &table, &declared, &rows);
    assert_eq!(unread, Some(1));
    let value = |text: &str| vec![Some(text.to_owned()), None];
    let short: Vec<_> = changes.iter().map(|c| (c.kind, c.key.as_str(), c.old.clone(), c.new.clone())).collect();
    let null = || vec![None, None];
    let expected = [
        (ChangeKind::Insert, "1,en", vec![], value("a")),
        (ChangeKind::Update, "1,en", value("a"), null()),
        (ChangeKind::Delete, "1,en", null(), vec![]),
        (ChangeKind::Insert, "2,en", vec![], value("b")),
    ];
    assert_eq!(short, expected);
    assert_eq!(told(collection, &table, &declared, &Changes::Whole(Whole::Truncated)).0[0].kind, ChangeKind::Truncate);
}

#[test]
fn tables_are_followed_once_with_the_columns_they_have() {
    let collections = served();
    let collection = collections.get("texts").expect("served");
    let name = collection.columns.last().expect("columns").name.clone();
    let declared: Vec<Arc<str>> = vec![name.as_str().into(), "nowhere".into()];
    let tables = tables(&collections, &declared);
    let expected: Vec<_> = tables.iter().map(|table| table.relation.clone()).collect();
    let mut relations: Vec<_> = collections.iter().map(|c| c.relation.clone()).collect();
    relations.sort();
    relations.dedup();
    assert_eq!(expected, relations);
    assert!(tables.iter().all(|table| table.watched == [name.as_str()]));
    let id = Tracked { name: "id".into(), kind: TrackedKind::Key(KeyType::Int8) };
    let lang = Tracked { name: "lang".into(), kind: TrackedKind::Key(KeyType::Text) };
    let tracking = Collection { track: vec![id, lang], ..(**collection).clone() };
    let again = super::tables(&Collections::new(vec![Arc::new(tracking)]), &declared);
    assert_eq!(again[0].watched, ["lang", "id"], "each once, declared or tracked");
}

#[test]
fn a_row_that_the_log_names_is_followed_and_nothing_else() {
    let collections = served();
    let table = || Changed::Followed(table_of(&collections, "texts", &[]));
    let sampled = |table, changed| {
        let tables = vec![changes(table, changed)];
        sample::of(&collections, ShardId(3), &Transaction { xid: Xid(1), tables })
    };
    let moved = row(Some(image("1", "en", Watched::Null)), Some(image("2", "en", Watched::Null)));
    let mut keys: Vec<String> = (0..64)
        .map(|_| {
            let sample = sampled(table(), Changes::Rows(vec![moved.clone()])).expect("a row");
            assert_eq!((&*sample.collection.name, sample.shard, sample.tenant), ("texts", ShardId(3), None));
            sample.key.to_string()
        })
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys, ["1,en", "2,en"], "one or the other, by lot");
    let odd = row(None, Some(image("x", "en", Watched::Null)));
    assert!(sampled(table(), Changes::Rows(vec![odd])).is_none(), "no number");
    assert!(sampled(table(), Changes::Whole(Whole::TooMany)).is_none());
    assert!(sampled(Changed::Other("public.heir".into()), Changes::Rows(vec![moved])).is_none());
    let key = vec!["lang".to_owned(), "id".to_owned()];
    let redefined = FeedTable { key, ..(*table_of(&collections, "texts", &[])).clone() };
    let numbers = row(None, Some(image("1", "2", Watched::Null)));
    assert!(sampled(Changed::Followed(Arc::new(redefined)), Changes::Rows(vec![numbers])).is_none());
}
