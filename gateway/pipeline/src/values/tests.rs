use std::collections::BTreeSet;

use tidegate_store::images::Image;
use tidegate_types::{key::KeyType, query::ColumnRef, track::TrackedKind};

use super::*;
use crate::{fixture::collection, touch};

/// Collections of one table: `shop` tracks and shows everything, `slim` shows no category, `plain` tracks nothing.
fn served() -> Collections {
    let shop = Collection { track: vec![category(), lang()], ..tracked_table(0, "shop") };
    let slim = Collection { relation: shop.relation.clone(), ..collection(1, "slim") };
    let plain = Collection { relation: shop.relation.clone(), ..tracked_table(2, "plain") };
    let other = collection(3, "other");
    Collections::new([shop, slim, plain, other].into_iter().map(Arc::new).collect())
}

fn tracked_table(id: u32, name: &str) -> Collection {
    let mut collection = collection(id, name);
    let column = collection.columns[0].clone();
    collection.columns.push(tidegate_types::collection::Column { name: "category".into(), ..column });
    collection
}

fn category() -> Tracked {
    Tracked { name: "category".into(), kind: TrackedKind::Key(KeyType::Int4) }
}

fn lang() -> Tracked {
    Tracked { name: "lang".into(), kind: TrackedKind::Key(KeyType::Text) }
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn image(before: Option<&[Option<&str>]>, after: &[Option<&str>]) -> Image {
    let values = |values: &[Option<&str>]| values.iter().map(|value| value.map(str::to_owned)).collect();
    Image { before: before.map_or(Before::Nothing, |before| Before::Values(values(before))), after: values(after) }
}

struct Raised {
    seed: RelationSeed,
    buckets: BTreeSet<u64>,
}

impl Raised {
    fn by(written: &str, names: &[Arc<str>], images: &Images) -> Self {
        let collections = served();
        let collection = collections.get(written).expect("served");
        let rows = if let Images::Each(images) = images { images.len() } else { 1 };
        let buckets = of_write(&collections, collection, names, rows, images);
        Self { seed: collection.seed(), buckets: buckets.into_iter().map(|bucket| bucket.0).collect() }
    }

    fn are(&self, values: &[(&Tracked, Option<&str>)]) {
        let bucket =
            |(tracked, value): &(&Tracked, Option<&str>)| tracked.bucket(self.seed, *value).expect("certain").0;
        assert_eq!(self.buckets, values.iter().map(bucket).collect());
    }

    fn is_any(&self) {
        assert_eq!(self.buckets, BTreeSet::from([BucketId::columns(self.seed).0]));
    }
}

#[test]
fn a_write_tells_what_the_policy_declares_and_what_any_collection_of_its_table_tracks() {
    let collections = served();
    let wanted = |name: &str, declared: Option<&[&str]>| {
        let declared = declared.map(names);
        wanted(&collections, collections.get(name).expect("served"), declared.as_deref())
    };
    assert_eq!(wanted("other", None), None, "nobody wants anything");
    assert_eq!(wanted("other", Some(&["price"])), Some(names(&["price"])));
    for collection in ["shop", "slim", "plain"] {
        assert_eq!(wanted(collection, None), Some(names(&["category", "lang"])), "{collection}");
    }
    assert_eq!(wanted("plain", Some(&["lang", "price"])), Some(names(&["lang", "price", "category"])));
}

#[test]
fn a_write_raises_the_values_its_rows_had_and_have() {
    let (category, lang) = (&category(), &lang());
    // The policy's columns stand before those that are tracked.
    let names = names(&["price", "lang", "category"]);
    let rows = Images::Each(vec![
        image(None, &[Some("9"), Some("en"), Some("1")]),
        image(Some(&[Some("8"), Some("de"), Some("2")]), &[Some("8"), Some("de"), Some("3")]),
        image(Some(&[None, Some("en"), None]), &[]),
    ]);
    for written in ["shop", "plain"] {
        Raised::by(written, &names, &rows).are(&[
            (category, Some("1")),
            (category, Some("2")),
            (category, Some("3")),
            (category, None),
            (lang, Some("en")),
            (lang, Some("de")),
        ]);
    }
    Raised::by("other", &names, &rows).are(&[]);
    Raised::by("shop", &names, &Images::Each(Vec::new())).are(&[]);
}

#[test]
fn where_a_value_is_not_known_every_value_is_raised() {
    let wanted = names(&["category", "lang"]);
    let known = || image(None, &[Some("1"), Some("en")]);
    let unread = Image { before: Before::Unknown, ..known() };
    let odd = image(Some(&[Some("one"), Some("en")]), &[Some("1"), Some("en")]);
    for images in
        [Images::Each(vec![known(), unread]), Images::Each(vec![odd, known()]), Images::TooMany, Images::NotAsked]
    {
        Raised::by("shop", &wanted, &images).is_any();
    }
    Raised::by("slim", &wanted, &Images::Each(vec![known()])).is_any();
    Raised::by("shop", &names(&["lang"]), &Images::Each(vec![known()])).is_any();
    let value = |n: usize| image(None, &[Some(&n.to_string()), None]);
    let many = |count: usize| Images::Each((0..count).map(value).collect());
    assert_eq!(Raised::by("shop", &wanted, &many(MAX_VALUES - 1)).buckets.len(), MAX_VALUES, "and that of NULL");
    Raised::by("shop", &wanted, &many(MAX_VALUES)).is_any();
    assert!(Raised::by("shop", &wanted, &many(MAX_ROW_BUCKETS + 1)).buckets.is_empty(), "the whole table is");
}

fn compare(column: &str, operator: Operator, value: &str) -> Filter {
    let column = ColumnRef { name: column.into(), path: Vec::new() };
    Filter::Compare { column, operator, value: value.into(), sense: Sense::Plain }
}

fn any_of(column: &str, values: usize) -> Filter {
    let column = ColumnRef { name: column.into(), path: Vec::new() };
    Filter::In { column, values: (1..=values).map(|n| n.to_string()).collect(), sense: Sense::Plain }
}

fn is(column: &str, value: IsValue) -> Filter {
    Filter::Is { column: ColumnRef { name: column.into(), path: Vec::new() }, value, sense: Sense::Plain }
}

fn negated(mut filter: Filter) -> Filter {
    if let Filter::Compare { sense, .. } | Filter::In { sense, .. } | Filter::Is { sense, .. } = &mut filter {
        *sense = Sense::Negated;
    }
    filter
}

/// What a list of `shop` with these conditions depends on.
fn depends(filters: Vec<Filter>) -> Vec<BucketId> {
    let collections = served();
    touch::list(collections.get("shop").expect("served"), &ListQuery { filters, ..ListQuery::default() })
}

#[test]
fn a_list_of_one_value_depends_on_it_and_on_what_raises_every_value() {
    let seed = served().get("shop").expect("served").seed();
    let narrow = |values: &[(Tracked, Option<&str>)]| {
        let values = values.iter().map(|(tracked, value)| tracked.bucket(seed, *value).expect("certain"));
        values.chain([BucketId::columns(seed), BucketId::sweep(seed)]).collect::<Vec<_>>()
    };
    let eq = |column, value| compare(column, Operator::Eq, value);
    let other = || compare("id", Operator::Gt, "5");
    assert_eq!(depends(vec![other(), eq("category", "042")]), narrow(&[(category(), Some("42"))]));
    assert_eq!(depends(vec![is("category", IsValue::Null), other()]), narrow(&[(category(), None)]));
    let two = [(category(), Some("1")), (category(), Some("2"))];
    assert_eq!(depends(vec![any_of("category", 2)]), narrow(&two));
    assert_eq!(depends(vec![eq("lang", "en"), any_of("category", 2)]), narrow(&[(lang(), Some("en"))]), "fewest");
    assert_eq!(depends(vec![eq("lang", "en"), eq("category", "1")]), narrow(&two[..1]), "the first that is tracked");
}

#[test]
fn a_list_of_no_certain_value_depends_on_every_write() {
    let seed = served().get("shop").expect("served").seed();
    let eq = |column, value| compare(column, Operator::Eq, value);
    let path = |mut filter: Filter| {
        if let Filter::Compare { column, .. } = &mut filter {
            column.path.push(tidegate_types::query::JsonStep {
                to: tidegate_types::query::JsonTarget::Index(0),
                output: tidegate_types::query::JsonOutput::Text,
            });
        }
        filter
    };
    let or = Filter::Or { terms: vec![eq("category", "1"), eq("lang", "en")], sense: Sense::Plain };
    for filters in [
        vec![],
        vec![eq("id", "1")],
        vec![eq("category", " 1")],
        vec![compare("category", Operator::Lte, "1")],
        vec![compare("category", Operator::Neq, "1")],
        vec![negated(eq("category", "1"))],
        vec![negated(any_of("category", 1))],
        vec![negated(is("category", IsValue::Null))],
        vec![is("category", IsValue::NotNull)],
        vec![is("category", IsValue::Unknown)],
        vec![any_of("category", MAX_IN + 1)],
        vec![any_of("category", 0)],
        vec![path(eq("category", "1"))],
        vec![or],
    ] {
        assert_eq!(depends(filters.clone()), touch::whole(seed), "{filters:?}");
    }
}
