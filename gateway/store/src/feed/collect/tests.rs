use std::sync::Arc;

use super::*;
use crate::feed::{decode::AnnouncedColumn, event::FeedTable};

const NEAR: Xid = Xid(1000);
const DEFAULT: &[(&str, Identity)] =
    &[("name", Identity::Beside), ("id", Identity::Part), ("lang", Identity::Part), ("kind", Identity::Beside)];
const FULL: &[(&str, Identity)] =
    &[("name", Identity::Part), ("id", Identity::Part), ("lang", Identity::Part), ("kind", Identity::Part)];

fn tables() -> FeedTables {
    let table = FeedTable {
        relation: "public.\"Texts\"".to_owned(),
        key: vec!["id".to_owned(), "lang".to_owned()],
        watched: vec!["kind".to_owned(), "gone".to_owned()],
    };
    Arc::from([Arc::new(table)])
}

fn announced(oid: u32, table: &str, columns: &[(&str, Identity)]) -> Message<'static> {
    let column =
        |(name, identity): &(&str, Identity)| AnnouncedColumn { name: (*name).to_owned(), identity: *identity };
    let columns = columns.iter().map(column).collect();
    Message::Relation(Announced { oid, schema: "public".to_owned(), table: table.to_owned(), columns })
}

fn cells<const N: usize>(texts: [&'static str; N]) -> Vec<Cell<'static>> {
    let cell = |text| match text {
        "-" => Cell::Null,
        "?" => Cell::Unchanged,
        text => Cell::Text(text),
    };
    texts.into_iter().map(cell).collect()
}

/// What a transaction of these changes tells.
fn told(columns: &[(&str, Identity)], changes: Vec<Message<'_>>) -> Transaction {
    let mut collector = Collector::new(tables());
    collector.take(Message::Begin { xid: 7 }, NEAR).expect("in turn");
    collector.take(announced(9, "Texts", columns), NEAR).expect("in turn");
    for change in changes {
        assert_eq!(collector.take(change, NEAR), Ok(Outcome::Pending));
    }
    match collector.take(Message::Commit { end: Default::default() }, NEAR).expect("in turn") {
        Outcome::Committed(transaction, Notice::Nothing) => transaction,
        other => panic!("{other:?}"),
    }
}

fn image(id: &str, lang: &str, kind: &str) -> RowImage {
    let kind = match kind {
        "?" => Watched::Unknown,
        "-" => Watched::Null,
        text => Watched::Text(text.into()),
    };
    RowImage { key: vec![id.into(), lang.into()], watched: vec![kind, Watched::Unknown] }
}

fn rows(transaction: Transaction) -> Vec<RowChange> {
    assert_eq!(transaction.xid, Xid(7));
    match transaction.tables.into_iter().next().map(|table| table.changes) {
        Some(Changes::Rows(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_are_told_by_key_and_by_what_the_identity_holds() {
    let new = || cells(["n", "1", "en", "a"]);
    let told = rows(told(
        DEFAULT,
        vec![
            Message::Insert { relation: 9, new: new() },
            Message::Update { relation: 9, old: Old::Absent, new: new() },
            Message::Update { relation: 9, old: Old::Key(cells(["-", "2", "en", "-"])), new: new() },
            Message::Delete { relation: 9, old: Old::Key(cells(["-", "1", "en", "-"])) },
        ],
    ));
    let after = || Some(image("1", "en", "a"));
    let expected = [
        RowChange { before: None, after: after() },
        RowChange { before: Some(image("1", "en", "?")), after: after() },
        RowChange { before: Some(image("2", "en", "?")), after: after() },
        RowChange { before: Some(image("1", "en", "?")), after: None },
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_full_identity_tells_old_values_and_what_was_not_sent_again() {
    let told = rows(told(
        FULL,
        vec![Message::Update {
            relation: 9,
            old: Old::Row(cells(["n", "1", "en", "a"])),
            new: cells(["m", "1", "en", "?"]),
        }],
    ));
    assert_eq!(told, [RowChange { before: Some(image("1", "en", "a")), after: Some(image("1", "en", "a")) }]);
}

fn whole(transaction: &Transaction) -> Whole {
    match transaction.tables[0].changes {
        Changes::Whole(why) => why,
        Changes::Rows(_) => panic!("rows"),
    }
}

#[test]
fn a_row_whose_key_is_not_told_is_the_whole_table() {
    let without_lang = [("name", Identity::Part), ("id", Identity::Part), ("lang", Identity::Beside)];
    let deleted = Message::Delete { relation: 9, old: Old::Key(cells(["-", "1", "-"])) };
    assert_eq!(whole(&told(&without_lang, vec![deleted])), Whole::Unkeyed);
    let updated = Message::Update { relation: 9, old: Old::Absent, new: cells(["n", "1", "en"]) };
    assert_eq!(whole(&told(&without_lang, vec![updated])), Whole::Unkeyed);
    let inserted = Message::Insert { relation: 9, new: cells(["n", "1"]) };
    assert_eq!(whole(&told(&[("name", Identity::Part), ("id", Identity::Part)], vec![inserted])), Whole::Unkeyed);
}

#[test]
fn many_rows_large_rows_and_truncation_are_the_whole_table() {
    let new = || cells(["n", "1", "en", "a"]);
    let insert = || Message::Insert { relation: 9, new: new() };
    let many = (0..=MOST_ROWS).map(|_| insert()).collect();
    assert_eq!(whole(&told(DEFAULT, many)), Whole::TooMany);
    let few = (0..MOST_ROWS).map(|_| insert()).collect();
    assert_eq!(rows(told(DEFAULT, few)).len(), MOST_ROWS);
    assert_eq!(whole(&told(DEFAULT, vec![Message::Truncate { relations: vec![9] }, insert()])), Whole::Truncated);
    let long: &'static str = Box::leak("x".repeat(MOST_BYTES).into_boxed_str());
    let large = Message::Insert { relation: 9, new: vec![Cell::Null, Cell::Text("1"), Cell::Text(long), Cell::Null] };
    assert_eq!(whole(&told(DEFAULT, vec![large])), Whole::TooMany);
}

#[test]
fn a_table_that_gave_up_leaves_room_for_others() {
    let mut collector = Collector::new(tables());
    collector.take(Message::Begin { xid: 7 }, NEAR).expect("in turn");
    collector.take(announced(9, "Texts", DEFAULT), NEAR).expect("in turn");
    collector.take(announced(8, "heir", DEFAULT), NEAR).expect("in turn");
    let insert = |relation| Message::Insert { relation, new: cells(["n", "1", "en", "a"]) };
    for _ in 0..=MOST_ROWS {
        collector.take(insert(9), NEAR).expect("announced");
    }
    collector.take(insert(8), NEAR).expect("announced");
    let Ok(Outcome::Committed(told, _)) = collector.take(Message::Commit { end: Default::default() }, NEAR) else {
        panic!("not committed")
    };
    assert_eq!(told.tables[0].changes, Changes::Whole(Whole::TooMany));
    assert_eq!(told.tables[1].table, Changed::Other("public.heir".into()));
    assert_eq!(told.tables[1].changes, Changes::Whole(Whole::Unkeyed), "nothing is known of its key");
}

#[test]
fn messages_out_of_turn_are_refused() {
    let mut collector = Collector::new(tables());
    let insert = || Message::Insert { relation: 9, new: Vec::new() };
    assert!(collector.take(insert(), NEAR).is_err(), "no transaction");
    assert!(collector.take(Message::Commit { end: Default::default() }, NEAR).is_err());
    collector.take(Message::Begin { xid: 7 }, NEAR).expect("in turn");
    assert!(collector.take(insert(), NEAR).is_err(), "not announced");
    assert!(collector.take(Message::Begin { xid: 8 }, NEAR).is_err(), "within another");
}

#[test]
fn notices_and_heartbeats_are_told_apart() {
    let mut collector = Collector::new(tables());
    let emitted = |prefix, content| Message::Told { prefix, content };
    assert_eq!(collector.take(emitted("other", b"x"), NEAR), Ok(Outcome::Pending));
    assert_eq!(collector.take(emitted(PREFIX, b"beat 1 2"), NEAR), Ok(Outcome::Told("beat 1 2".into())));
    collector.take(Message::Begin { xid: 7 }, NEAR).expect("in turn");
    assert_eq!(collector.take(emitted(PREFIX, DDL), NEAR), Ok(Outcome::Pending));
    let committed = collector.take(Message::Commit { end: Default::default() }, NEAR);
    assert!(matches!(committed, Ok(Outcome::Committed(_, Notice::Altered))));
}

#[test]
fn names_are_unquoted_as_postgresql_quotes_them() {
    let name = |relation| unquoted(relation).map(|(schema, table)| format!("{schema}|{table}"));
    assert_eq!(name("public.products").as_deref(), Some("public|products"));
    assert_eq!(name("\"a.b\".\"say \"\"x\"\"\"").as_deref(), Some("a.b|say \"x\""));
    for bad in ["public", "\"a.b", "a.b.c", "a.\"b\"c"] {
        assert_eq!(name(bad), None, "{bad}");
    }
}
