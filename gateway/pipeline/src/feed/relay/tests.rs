use super::*;

fn items() -> Vec<Item> {
    vec![
        Item::Floor(Xid(7), Buckets::These([BucketId(1), BucketId(u64::MAX)].into())),
        Item::Floor(Xid(8), Buckets::All),
        Item::Void(Buckets::These([BucketId(3)].into())),
        Item::Beat(Beat { gateway: 1, sent: 2 }),
        Item::Flush,
        Item::SoftFloor(Xid(9), Buckets::These([BucketId(4)].into())),
        Item::SoftVoid(Buckets::All),
    ]
}

fn message() -> Bytes {
    let mut bytes = BytesMut::new();
    Head { shard: "a".to_owned(), lineage: 5, digest: 6 }.put(&mut bytes);
    items().iter().for_each(|item| item.put(&mut bytes));
    bytes.freeze()
}

fn read(mut bytes: Bytes) -> Option<(Head, Vec<Item>)> {
    let head = Head::take(&mut bytes)?;
    let mut items = Vec::new();
    while bytes.has_remaining() {
        items.push(Item::take(&mut bytes)?);
    }
    Some((head, items))
}

#[test]
fn messages_are_read_as_they_are_written_and_no_beginning_is_taken_for_a_whole() {
    let message = message();
    let (head, told) = read(message.clone()).expect("whole");
    assert_eq!((head.shard.as_str(), head.lineage, head.digest), ("a", 5, 6));
    assert_eq!(told, items());
    for end in 0..message.len() {
        assert_ne!(read(message.slice(..end)).map(|(_, told)| told), Some(items()), "{end}");
    }
}

#[test]
fn more_buckets_than_are_named_are_all_and_a_lying_count_reserves_nothing() {
    let mut bytes = BytesMut::new();
    Item::Void(Buckets::These(vec![BucketId(1); MOST_BUCKETS + 1].into())).put(&mut bytes);
    assert_eq!(Item::take(&mut bytes.freeze()), Some(Item::Void(Buckets::All)));
    assert_eq!(Item::take(&mut Bytes::from_static(&[2, 0xfe, 0xff, 0xff, 0xff, 0])), None);
}

#[test]
fn gaps_and_other_senders_are_noticed() {
    let feeds = Feeds::new(1);
    let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
    assert!(!follows_on(&feeds, &one, 1, 5), "what came before is not known");
    assert!(follows_on(&feeds, &one, 1, 6));
    assert!(!follows_on(&feeds, &one, 2, 7), "another channel");
    assert!(!follows_on(&feeds, &one, 1, 8), "7 is missing");
    assert!(!follows_on(&feeds, &other, 1, 9), "another sender's numbers");
    assert!(!follows_on(&feeds, &one, 1, 9));
    assert!(follows_on(&feeds, &one, 1, 10));
}
