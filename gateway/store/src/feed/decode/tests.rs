use proptest::prelude::*;

use super::*;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn tuple(out: &mut Vec<u8>, cells: &[Cell<'_>]) {
    out.extend_from_slice(&u16::try_from(cells.len()).expect("few").to_be_bytes());
    for cell in cells {
        match cell {
            Cell::Null => out.push(b'n'),
            Cell::Unchanged => out.push(b'u'),
            Cell::Text(value) => {
                out.push(b't');
                out.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
                out.extend_from_slice(value.as_bytes());
            }
        }
    }
}

fn row() -> Vec<Cell<'static>> {
    vec![Cell::Text("42"), Cell::Null, Cell::Unchanged, Cell::Text("größe")]
}

fn change(kind: u8, parts: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0, 9];
    for part in parts {
        out.push(*part);
        tuple(&mut out, &row());
    }
    out
}

/// One well-formed message of each kind.
fn samples() -> Vec<Vec<u8>> {
    let mut begin = vec![b'B'];
    begin.extend_from_slice(&[0; 16]);
    begin.extend_from_slice(&7_u32.to_be_bytes());
    let mut commit = vec![b'C', 0];
    commit.extend_from_slice(&1_u64.to_be_bytes());
    commit.extend_from_slice(&2_u64.to_be_bytes());
    commit.extend_from_slice(&[0; 8]);
    let mut relation = vec![b'R', 0, 0, 0, 9];
    text(&mut relation, "public");
    text(&mut relation, "products");
    relation.extend_from_slice(&[b'd', 0, 2, 1]);
    text(&mut relation, "id");
    relation.extend_from_slice(&[0; 8]);
    relation.push(0);
    text(&mut relation, "name");
    relation.extend_from_slice(&[0; 8]);
    let mut told = vec![b'M', 0];
    told.extend_from_slice(&[0; 8]);
    text(&mut told, "tidegate");
    told.extend_from_slice(&[0, 0, 0, 2, b'h', b'i']);
    vec![
        begin,
        commit,
        relation,
        change(b'I', b"N"),
        change(b'U', b"N"),
        change(b'U', b"KN"),
        change(b'U', b"ON"),
        change(b'D', b"K"),
        vec![b'T', 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 0, 0, 8],
        told,
    ]
}

#[test]
fn messages_are_read_as_postgresql_writes_them() {
    let samples = samples();
    let read: Vec<Message<'_>> = samples.iter().map(|bytes| Message::read(bytes).expect("well-formed")).collect();
    let column = |name: &str, identity| AnnouncedColumn { name: name.to_owned(), identity };
    let relation = Announced {
        oid: 9,
        schema: "public".to_owned(),
        table: "products".to_owned(),
        columns: vec![column("id", Identity::Part), column("name", Identity::Beside)],
    };
    let expected = [
        Message::Begin { xid: 7 },
        Message::Commit { end: Lsn(2) },
        Message::Relation(relation),
        Message::Insert { relation: 9, new: row() },
        Message::Update { relation: 9, old: Old::Absent, new: row() },
        Message::Update { relation: 9, old: Old::Key(row()), new: row() },
        Message::Update { relation: 9, old: Old::Row(row()), new: row() },
        Message::Delete { relation: 9, old: Old::Key(row()) },
        Message::Truncate { relations: vec![9, 8] },
        Message::Told { prefix: "tidegate", content: b"hi" },
    ];
    assert_eq!(read, expected);
}

#[test]
fn every_truncation_is_refused() {
    for sample in samples() {
        // A Commit ends with its time, which is not read.
        let needed = if sample[0] == b'C' { sample.len() - 8 } else { sample.len() };
        for end in 0..needed {
            assert!(Message::read(&sample[..end]).is_err(), "{} cut at {end}", char::from(sample[0]));
        }
    }
}

#[test]
fn lying_lengths_reserve_nothing() {
    assert!(Message::read(&[b'T', 0xff, 0xff, 0xff, 0xff, 0]).is_err());
    assert!(Message::read(&[b'I', 0, 0, 0, 1, b'N', 0xff, 0xff, b't', 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(Message::read(&[b'R', 0, 0, 0, 1, 0, 0, b'd', 0xff, 0xff]).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Message::read(&bytes);
        let _ = Envelope::read(&bytes);
        let _ = Message::relation_of(&bytes);
    }

    #[test]
    fn altered_messages_never_panic(at in 0_usize..10, position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut sample = samples().swap_remove(at);
        let position = position.index(sample.len());
        sample[position] = byte;
        let _ = Message::read(&sample);
    }

    #[test]
    fn widening_finds_the_only_id_less_than_half_the_circle_away(
        near in 0x8000_0000_u64..1 << 48,
        by in -0x8000_0000_i64..0x8000_0000,
    ) {
        let xid = near.checked_add_signed(by).expect("in range");
        prop_assert_eq!(widen(u32::try_from(xid & 0xffff_ffff).expect("masked"), Xid(near)), Xid(xid));
    }
}

/// The interleaving "32-bit xid wrap": a transaction that began before the wrap and ends after it.
#[test]
fn xid_wrap_is_widened_to_the_right_epoch() {
    let wrap = 5_u64 << 32;
    assert_eq!(widen(0xffff_fff0, Xid(wrap + 3)), Xid(wrap - 16), "older than the wrap, told after it");
    assert_eq!(widen(3, Xid(wrap - 16)), Xid(wrap + 3), "younger than the wrap, known before it");
    assert_eq!(widen(100, Xid(100)), Xid(100), "the first epoch");
    assert_eq!(widen(0xffff_ffff, Xid(3)), Xid(0), "nothing lies before the first transaction");
}

#[test]
fn positions_are_read() {
    assert_eq!(Lsn::parse("16/B374D848"), Some(Lsn(0x16_B374_D848)));
    for bad in ["", "16", "/", "x/1", "1/x", "100000000/0"] {
        assert_eq!(Lsn::parse(bad), None, "{bad}");
    }
}
