use std::sync::Arc;

use tidegate_types::{
    answer::{BypassReason, Collapse, StaleReason},
    collection::Mode,
    key::KeyValue,
};

use super::*;
use crate::fixture;

const HIT: CacheStatus = CacheStatus::Hit { age: Duration::from_secs(3), ttl: Duration::from_secs(57) };
const ALL: Cdn = Cdn { keys: CdnKeys::SurrogateKey, tenant: TenantId::SHARED };

fn public() -> Collection {
    let private = Arc::unwrap_or_clone(fixture::products());
    Collection { visibility: Visibility::Public, cdn_ttl: Some(Duration::from_secs(300)), ..private }
}

fn key(id: i64) -> RowKey {
    RowKey::single(KeyValue::Int(id))
}

/// The fields of an answer, each as `name: value`.
fn fields_of(cdn: Cdn, offered: &Offered<'_>) -> Vec<String> {
    let mut headers = HeaderMap::new();
    cdn.offer(&mut headers, offered);
    let mut fields: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().expect("ascii"))).collect();
    fields.sort();
    fields
}

fn lifetime_of(collection: &Collection, what: What<'_>, bounds: Option<&Narrowed>, status: CacheStatus) -> String {
    let fields = fields_of(ALL, &Offered { collection, what, bounds, status });
    let lifetime = fields.iter().find_map(|field| field.strip_prefix("cdn-cache-control: "));
    lifetime.unwrap_or_default().to_owned()
}

#[test]
fn a_row_is_named_by_its_collection_its_key_and_its_tags() {
    let (collection, key) = (public(), key(42));
    let bounds = Narrowed { tag_names: vec!["category:7".into(), "a b,c%".into()], ..Narrowed::default() };
    let offered = Offered { collection: &collection, what: What::Row(&key), bounds: Some(&bounds), status: HIT };
    let lifetime = "cdn-cache-control: max-age=300".to_owned();
    assert_eq!(
        fields_of(ALL, &offered),
        [lifetime.clone(), "surrogate-key: c:products r:products/42 t:category:7 t:a%20b%2Cc%25".to_owned()]
    );
    let list = Offered { what: What::List, bounds: None, ..offered };
    let tags = Cdn { keys: CdnKeys::CacheTag, ..ALL };
    assert_eq!(fields_of(tags, &list), ["cache-tag: c:products,l:products".to_owned(), lifetime.clone()]);
    let off = Cdn { keys: CdnKeys::Off, ..ALL };
    assert_eq!(fields_of(off, &offered), [lifetime]);
}

#[test]
fn keys_of_several_columns_and_other_scripts_are_encoded() {
    let notes = Collection { visibility: Visibility::Public, ..Arc::unwrap_or_clone(fixture::notes()) };
    let key = RowKey([KeyValue::Text("größe".into()), KeyValue::Text("a,b".into())].into_iter().collect());
    let offered = Offered { collection: &notes, what: What::NoRow(&key), bounds: None, status: HIT };
    assert_eq!(fields_of(ALL, &offered), ["surrogate-key: c:notes r:notes/gr%C3%B6%C3%9Fe%2C%22a%2Cb%22"]);
}

#[test]
fn what_is_not_the_same_for_everybody_is_not_offered() {
    let (collection, key) = (public(), key(42));
    let offered = Offered { collection: &collection, what: What::Row(&key), bounds: None, status: HIT };
    assert_eq!(fields_of(ALL, &offered).len(), 2);
    let private = Collection { visibility: Visibility::Private, ..public() };
    assert_eq!(fields_of(ALL, &Offered { collection: &private, ..offered }), [""; 0]);
    let acme = Cdn { tenant: TenantId::named("acme"), ..ALL };
    assert_eq!(fields_of(acme, &offered), [""; 0]);
    let varied = Narrowed { variant: Some(b"en".as_slice().into()), ..Narrowed::default() };
    assert_eq!(fields_of(ALL, &Offered { bounds: Some(&varied), ..offered }), [""; 0]);
}

#[test]
fn names_that_do_not_fit_keep_an_answer_out_of_the_cdn() {
    let (collection, key) = (public(), key(42));
    let offered = |tag_names: Vec<String>| {
        let bounds = Narrowed { tag_names, ..Narrowed::default() };
        fields_of(ALL, &Offered { collection: &collection, what: What::Row(&key), bounds: Some(&bounds), status: HIT })
    };
    let longest = "x".repeat(MAX_NAME - 2);
    assert_eq!(offered(vec![longest.clone()]).len(), 2);
    assert_eq!(offered(vec![format!("{longest}x")]), [""; 0]);
    assert_eq!(offered(vec![longest; 4]), [""; 0], "together they are too long");
    let both = offered((0..32).map(|n| format!("{n}{}", "x".repeat(100))).collect());
    assert!(both.len() == 2 && both[1].len() <= MAX_NAMES + "surrogate-key: ".len(), "{both:?}");
}

#[test]
fn a_cdn_keeps_nothing_longer_than_the_cache_policy_allows() {
    let (strict, key) = (public(), key(42));
    let staleness =
        Staleness { max: Duration::from_secs(1), while_revalidate: Duration::from_secs(30), if_error: Duration::ZERO };
    let bounded = Collection { consistency: Consistency::Bounded(staleness), ..public() };
    let policy = |ttl, stale| Narrowed {
        ttl: Some(Duration::from_secs(ttl)),
        stale: Duration::from_secs(stale),
        ..Narrowed::default()
    };
    let of = |collection, bounds: Option<&Narrowed>| lifetime_of(collection, What::Row(&key), bounds, HIT);
    assert_eq!(of(&strict, None), "max-age=300");
    assert_eq!(of(&strict, Some(&policy(7, 9))), "max-age=7");
    assert_eq!(of(&bounded, None), "max-age=300, stale-while-revalidate=30");
    assert_eq!(of(&bounded, Some(&policy(900, 9))), "max-age=300, stale-while-revalidate=9");
    assert_eq!(of(&bounded, Some(&policy(900, 0))), "max-age=300");
    assert_eq!(lifetime_of(&strict, What::NoRow(&key), None, HIT), "max-age=5", "not longer than here");
    assert_eq!(of(&Collection { cdn_ttl: None, ..public() }, None), "", "off by default");
}

#[test]
fn what_this_gateway_would_not_serve_again_no_cdn_may() {
    let (collection, key) = (Collection { mode: Mode::CacheAside, ..public() }, key(42));
    let age = Duration::from_secs(1);
    let led = Collapse::Led;
    for (status, offered) in [
        (HIT, true),
        (CacheStatus::MissStored { collapse: led, ttl: age }, true),
        (CacheStatus::MissNotStored { collapse: led, reason: NotStored::FirstAsked }, true),
        (CacheStatus::MissNotStored { collapse: led, reason: NotStored::TooLarge }, true),
        (CacheStatus::MissNotStored { collapse: led, reason: NotStored::Floor }, false),
        (CacheStatus::MissNotStored { collapse: led, reason: NotStored::Purged }, false),
        (CacheStatus::MissNotStored { collapse: led, reason: NotStored::Epoch }, false),
        (CacheStatus::Stale { age, late: age, reason: StaleReason::Revalidating }, false),
        (CacheStatus::Bypass(BypassReason::Policy), false),
        (CacheStatus::Bypass(BypassReason::Behind), false),
    ] {
        let lifetime = lifetime_of(&collection, What::Row(&key), None, status);
        assert_eq!(!lifetime.is_empty(), offered, "{status:?}");
    }
}
