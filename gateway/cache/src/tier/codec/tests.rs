use proptest::prelude::*;

use super::*;
use crate::tier::key::{KeyKind, Place};

const CODEC: Codec = Codec { compress_above: 256, max_payload: 1 << 20 };

fn key(name: &str) -> TierKey {
    TierKey::of_parts(KeyKind::List, 7, &Place { name: "a".into(), access: 3 }, 1, [name.as_bytes()])
}

fn kept(payload: Payload) -> Kept {
    Kept {
        lineage: 0x1122_3344_5566_7788,
        snapshot: Snapshot::parse("100:120:101,115").expect("valid"),
        tags: SmallVec::from_slice(&[BucketId(5), BucketId(u64::MAX)]),
        fetched_unix_ms: 1_795_000_000_000,
        ttl_ms: 60_000,
        payload,
    }
}

fn samples() -> Vec<(TierKey, Kept)> {
    let row = Payload::Row(Some(Bytes::from_static(br#"{"id":1,"name":"One"}"#)));
    let long = Payload::Row(Some(Bytes::from("{\"note\":\"again \"}".repeat(60))));
    let list = Payload::List { json: Bytes::from_static(b"[]"), rows: 0, total: Some(0) };
    vec![
        (key("row"), kept(row.clone())),
        (key("compressed"), kept(long)),
        (key("absent"), Kept { tags: SmallVec::new(), ..kept(Payload::Row(None)) }),
        (key("list"), kept(list)),
        (key(&"hashed".repeat(50)), kept(row)),
    ]
}

#[test]
fn damage_of_any_kind_is_a_miss() {
    for (key, kept) in samples() {
        let bytes = CODEC.encode(&key, &kept).expect("small");
        assert_eq!(CODEC.decode(&key, &bytes), Ok(kept));
        for end in 0..bytes.len() {
            assert_eq!(CODEC.decode(&key, &bytes.slice(..end)), Err(Unreadable), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CODEC.decode(&key, &flipped.into()), Err(Unreadable), "bit {bit}");
        }
        let longer: Bytes = [&bytes[..], b"\0"].concat().into();
        assert_eq!(CODEC.decode(&key, &longer), Err(Unreadable));
    }
}

#[test]
fn a_value_under_another_key_is_a_miss() {
    for (key, kept) in samples() {
        let bytes = CODEC.encode(&key, &kept).expect("small");
        for (other, _) in samples().into_iter().filter(|(other, _)| *other != key) {
            assert_eq!(CODEC.decode(&other, &bytes), Err(Unreadable));
        }
    }
}

/// With the right checksum, so that only the fields themselves can be wrong.
fn sealed(key: &TierKey, how: u8, body: &[u8], unpacked: u32) -> Bytes {
    let mut bytes = [&MAGIC[..], &[VERSION, how]].concat();
    bytes.extend_from_slice(&u32::try_from(body.len()).expect("small").to_le_bytes());
    bytes.extend_from_slice(&unpacked.to_le_bytes());
    let sum = checksum(key, &bytes, body);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.into()
}

fn plain(key: &TierKey, body: &[u8]) -> Bytes {
    sealed(key, PLAIN, body, u32::try_from(body.len()).expect("small"))
}

#[test]
fn fields_of_later_versions_are_hints_or_make_it_a_miss() {
    let (key, kept) = samples().swap_remove(0);
    let body = body(&key, &kept);
    assert_eq!(CODEC.decode(&key, &plain(&key, &body)), Ok(kept.clone()));
    let with = |number: u8| plain(&key, &[&body[..], &[number, 2, 0, 0, 0, 1, 2]].concat());
    assert_eq!(CODEC.decode(&key, &with(HINTS)), Ok(kept));
    for number in
        [Field::Row as u8 + 10, Field::Row as u8, Field::Lineage as u8, Field::List as u8, Field::Absent as u8]
    {
        assert_eq!(CODEC.decode(&key, &with(number)), Err(Unreadable), "{number}");
    }
}

#[test]
fn an_incomplete_or_impossible_body_is_a_miss() {
    let (key, good) = samples().swap_remove(0);
    let body = body(&key, &good);
    for end in 0..body.len() {
        assert_eq!(CODEC.decode(&key, &plain(&key, &body[..end])), Err(Unreadable), "cut at {end}");
    }
    for impossible in ["120:100:", "100:120:99", "100:120:120", "100:120:115,101", "100:120:101,101"] {
        let mut numbers =
            impossible.split([':', ',']).filter(|n| !n.is_empty()).map(|n| Xid(n.parse().expect("number")));
        let (xmin, xmax) = (numbers.next().expect("xmin"), numbers.next().expect("xmax"));
        let snapshot = Snapshot { xmin, xmax, xip: numbers.collect() };
        let bytes = CODEC.encode(&key, &Kept { snapshot, ..good.clone() }).expect("small");
        assert_eq!(CODEC.decode(&key, &bytes), Err(Unreadable), "{impossible}");
    }
}

#[test]
fn unpacking_is_bounded() {
    let key = key("bomb");
    let small = Codec { compress_above: 0, max_payload: 1000 };
    let bomb = lz4_flex::block::compress(&vec![0; 10 << 20]);
    for claimed in [10 << 20, 2000, u32::MAX] {
        assert_eq!(small.decode(&key, &sealed(&key, LZ4, &bomb, claimed)), Err(Unreadable), "{claimed}");
    }
    let large = kept(Payload::Row(Some(vec![b'1'; OVERHEAD + 2000].into())));
    assert_eq!(small.encode(&key, &large), None, "nobody could read it");
}

#[test]
fn only_what_becomes_smaller_is_compressed() {
    let key = key("row");
    let noise: Bytes = (0..2000_u32).map(|i| xxh3_64(&i.to_le_bytes()).to_le_bytes()[0]).collect();
    let bytes = CODEC.encode(&key, &kept(Payload::Row(Some(noise)))).expect("small");
    assert_eq!(bytes[3], PLAIN);
    let repeated = CODEC.encode(&key, &kept(Payload::Row(Some(vec![b'1'; 2000].into())))).expect("small");
    assert_eq!(repeated[3], LZ4);
    assert!(repeated.len() < 300);
}

/// What an earlier build of this version wrote. Where this fails the format has changed: raise the version.
#[test]
fn entries_of_earlier_builds_are_read() {
    let mut rest = &include_bytes!("../testdata/kept-v1.bin")[..];
    for (key, kept) in samples() {
        let (length, after) = rest.split_at(4);
        let (bytes, after) = after.split_at(usize::try_from(le_u32(length)).expect("small"));
        assert_eq!(CODEC.decode(&key, &Bytes::copy_from_slice(bytes)), Ok(kept.clone()));
        // Another release of the compressor may choose other matches.
        if bytes[3] == PLAIN {
            assert_eq!(CODEC.encode(&key, &kept).expect("small"), bytes, "what is written now differs");
        }
        rest = after;
    }
    assert!(rest.is_empty());
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    (0..u64::MAX / 2, proptest::collection::btree_set(0..1000_u64, 0..20), 1000..5000_u64).prop_map(
        |(xmin, xip, gap)| Snapshot {
            xmin: Xid(xmin),
            xmax: Xid(xmin + gap),
            xip: xip.into_iter().map(|xid| Xid(xmin + xid)).collect(),
        },
    )
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let json = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from),
            (any::<u8>(), 0..5000_usize).prop_map(|(byte, count)| Bytes::from(vec![byte; count])),
        ]
    };
    prop_oneof![
        Just(Payload::Row(None)),
        json().prop_map(|json| Payload::Row(Some(json))),
        (json(), any::<u64>(), proptest::option::of(0..u64::MAX - 1)).prop_map(|(json, rows, total)| Payload::List {
            json,
            rows,
            total
        }),
    ]
}

fn any_kept() -> impl Strategy<Value = Kept> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, any_snapshot(), proptest::collection::vec(any::<u64>(), 0..10), any_payload()).prop_map(
        |((lineage, fetched_unix_ms, ttl_ms), snapshot, tags, payload)| {
            let tags = tags.into_iter().map(BucketId).collect();
            Kept { lineage, snapshot, tags, fetched_unix_ms, ttl_ms, payload }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(kept in any_kept(), name in ".{0,300}", compress_above in 0..2000_usize) {
        let (key, codec) = (key(&name), Codec { compress_above, ..CODEC });
        let bytes = codec.encode(&key, &kept).expect("small");
        prop_assert_eq!(codec.decode(&key, &bytes), Ok(kept));
    }

    #[test]
    fn damage_never_gives_another_value(kept in any_kept(), at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let key = key("row");
        let mut bytes = CODEC.encode(&key, &kept).expect("small").to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        prop_assert_eq!(CODEC.decode(&key, &bytes.into()), Err(Unreadable));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500), how in 0..3_u8, unpacked in 0..2000_u32) {
        let key = key("row");
        prop_assert_eq!(CODEC.decode(&key, &bytes.clone().into()), Err(Unreadable));
        // Under a checksum that fits.
        let _ = CODEC.decode(&key, &sealed(&key, how, &bytes, unpacked));
    }
}
