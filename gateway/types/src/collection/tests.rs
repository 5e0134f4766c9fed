use super::*;
use crate::track::TrackedKind;

fn collection(id: u32, name: &str) -> Collection {
    let column = Column {
        name: "id".into(),
        quoted: "id".into(),
        type_name: "text".into(),
        not_null: true,
        has_default: false,
        generated: false,
        mergeable: true,
    };
    Collection {
        id: CollectionId(id),
        name: name.into(),
        relation: format!("public.{name}"),
        table: name.into(),
        columns: vec![column.clone(), Column { name: "line".into(), ..column }],
        key: [0, 1].map(|column| KeyColumn { column, key_type: KeyType::Text }).into_iter().collect(),
        shard_key: SmallVec::from_buf([0]),
        reach: WriteReach::Own,
        mode: Mode::CacheAside,
        ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(5),
        consistency: Consistency::Strict,
        visibility: Visibility::Private,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
    }
}

fn line() -> Tracked {
    Tracked { name: "line".into(), kind: TrackedKind::Key(KeyType::Text) }
}

fn set(names: &[&str]) -> Vec<Collection> {
    names.iter().zip(0..).map(|(name, id)| collection(id, name)).collect()
}

fn first(names: &[&str]) -> Collections {
    Collections::new(set(names).into_iter().map(Arc::new).collect())
}

fn ids(collections: &Collections) -> Vec<(&str, u32)> {
    collections.iter().map(|c| (&*c.name, c.id.0)).collect()
}

#[test]
fn an_unchanged_collection_keeps_its_number_wherever_it_stands() {
    let old = first(&["a", "b", "c"]);
    let new = renumber(&old, set(&["c", "a"]));
    assert_eq!(ids(&new), [("c", 2), ("a", 0)]);
    assert_eq!(new.by_id(CollectionId(2)).map(|c| &*c.name), Some("c"));
    assert_eq!(new.by_id(CollectionId(1)), None, "b is gone");
    assert_eq!(new.get("b"), None);
}

#[test]
fn a_changed_collection_gets_a_number_that_was_never_used() {
    let old = first(&["a", "b"]);
    let changes: [fn(&mut Collection); 9] = [
        |c| c.relation.push('x'),
        |c| c.table.push('x'),
        |c| c.columns[0].type_name.push('x'),
        |c| c.key.truncate(1),
        |c| c.shard_key.push(1),
        |c| c.mode = Mode::Bypass,
        |c| c.ttl += Duration::from_millis(1),
        |c| c.negative_ttl = Duration::ZERO,
        |c| c.track.push(line()),
    ];
    let mut given = vec![0, 1];
    for change in changes {
        let mut new = set(&["a", "b"]);
        change(&mut new[0]);
        let new = renumber(&old, new);
        let id = new.get("a").expect("served").id.0;
        assert!(!given.contains(&id), "{id} was given before, also where that set was never used");
        given.push(id);
        assert_eq!(new.get("b").expect("served").id.0, 1);
    }
}

#[test]
fn what_no_entry_depends_on_may_change() {
    let old = first(&["a"]);
    let mut new = set(&["a"]);
    (new[0].visibility, new[0].max_rows) = (Visibility::Public, 5);
    let new = renumber(&old, new);
    assert_eq!(ids(&new), [("a", 0)]);
    assert_eq!(new.get("a").expect("served").max_rows, 5);
}

#[test]
fn what_was_gone_and_comes_back_is_something_new() {
    let old = first(&["a", "b"]);
    let without = renumber(&old, set(&["a"]));
    let again = renumber(&without, set(&["b", "a"]));
    assert_eq!(ids(&again), [("b", 2), ("a", 0)], "writes did not raise its buckets meanwhile");
}

#[test]
fn reaches_are_numbered_along() {
    let mut old = set(&["a", "b"]);
    old[0].reach = WriteReach::Anything;
    let old = Collections::new(old.into_iter().map(Arc::new).collect());
    let mut new = set(&["new", "b", "a"]);
    new[2].reach = WriteReach::Cascades(vec![CollectionId(0), CollectionId(1), CollectionId(2)]);
    let new = renumber(&old, new);
    assert_eq!(ids(&new), [("new", 2), ("b", 1), ("a", 0)]);
    let reach = WriteReach::Cascades(vec![CollectionId(0), CollectionId(1), CollectionId(2)]);
    assert_eq!(new.get("a").expect("served").reach, reach);
}

#[test]
fn what_a_write_newly_reaches_is_something_new() {
    let old = first(&["a", "b", "c"]);
    let reached = |reach: fn() -> WriteReach| {
        let mut new = set(&["a", "b", "c"]);
        new[0].reach = reach();
        renumber(&old, new)
    };
    let cascades = reached(|| WriteReach::Cascades(vec![CollectionId(1)]));
    assert_eq!(ids(&cascades), [("a", 0), ("b", 3), ("c", 2)], "a write of a that is under way does not raise b");
    assert_eq!(cascades.get("a").expect("served").reach, WriteReach::Cascades(vec![CollectionId(3)]));
    assert_eq!(ids(&reached(|| WriteReach::Anything)), [("a", 4), ("b", 5), ("c", 6)]);
    let mut same = set(&["b", "a", "c"]);
    same[1].reach = WriteReach::Cascades(vec![CollectionId(0)]);
    assert_eq!(ids(&renumber(&cascades, same)), [("b", 3), ("a", 0), ("c", 2)], "reached as before");
    let mut new = set(&["d", "b"]);
    new[0].reach = WriteReach::Anything;
    assert_eq!(renumber(&cascades, new).get("b").expect("served").id.0, 3, "nobody writes to d yet");
}

#[test]
fn what_any_collection_of_a_table_tracks_is_to_be_told_of_it() {
    let mut all = set(&["a", "b", "c"]);
    all[1].relation = all[0].relation.clone();
    all[0].track = vec![line()];
    let id = Tracked { name: "id".into(), ..line() };
    all[1].track = vec![id.clone(), line()];
    let of = |all: &[Collection]| Collections::new(all.iter().cloned().map(Arc::new).collect());
    let served = of(&all);
    assert_eq!(served.tracked("public.a"), [&line(), &id]);
    assert!(served.tracked("public.c").is_empty());
    let digest = served.digest();
    all[1].track = vec![line()];
    assert_ne!(of(&all).digest(), digest, "other buckets are raised for the same change");
    assert_eq!(of(&all).get("b").expect("served").definition(), served.get("b").expect("served").definition());
}

#[test]
fn a_set_follows_only_the_one_it_was_numbered_after() {
    let old = first(&["a"]);
    let (one, other) = (renumber(&old, set(&["a"])), renumber(&old, set(&["a", "b"])));
    assert!(one.follows(&old) && other.follows(&old));
    assert!(!one.follows(&other) && !other.follows(&one) && !old.follows(&old) && !old.follows(&one));
    assert!(renumber(&one, set(&["a"])).follows(&one));
    assert!(!first(&["a"]).follows(&old), "of another lineage");
}

#[test]
fn keys_survive_their_path_text() {
    let notes = collection(0, "notes");
    let texts = ["", "a", "a,b", "\"", "\"a", "a\"b", "\\", "\\\"", ",", "\",\"", "größe 50%", "a\\,\"b"];
    for a in texts {
        for b in texts {
            let key = RowKey([a, b].into_iter().map(|text| KeyValue::Text(text.into())).collect());
            assert_eq!(notes.parse_path_key(&key.path_text()), Ok(key.clone()), "{}", key.path_text());
        }
    }
    let plain = RowKey([42, 7].into_iter().map(KeyValue::Int).collect());
    assert_eq!(plain.path_text(), "42,7");
    for broken in ["a", "a,b,c", "\"a,b", "\"a\"x,b", "\"a\\"] {
        assert!(notes.parse_path_key(broken).is_err(), "{broken}");
    }
}
