//! Messages into transactions. What it holds is bounded: a table of which more rows change than are told one by
//! one is told as a whole.

use std::collections::HashMap;

use tidegate_types::snapshot::Xid;

use super::{
    decode::{Announced, Cell, Identity, Malformed, Message, Old, widen},
    event::{Changed, Changes, FeedTables, RowChange, RowImage, TableChanges, Transaction, Watched, Whole},
};

/// Rows told one by one, per transaction.
const MOST_ROWS: usize = 1024;
/// Bytes of values told, per transaction.
const MOST_BYTES: usize = 1 << 20;

/// What the stream has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Pending,
    /// A transaction's end. The altered tables are its own doing or, as a notice, somebody's.
    Committed(Transaction, Notice),
    /// Something that was emitted, under our prefix and beside transactions.
    Told(Box<str>),
}

/// Whether a transaction said that it altered tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Altered,
    Nothing,
}

/// The prefix of our own logical messages.
pub(crate) const PREFIX: &str = "tidegate";
/// What the event trigger says.
pub(crate) const DDL: &[u8] = b"ddl";

/// A relation as announced, and where its wanted columns are.
#[derive(Debug)]
struct Relation {
    announced: Announced,
    table: Changed,
    /// Of each key column; `None` where the stream does not have them all.
    key: Option<Vec<usize>>,
    watched: Vec<Option<usize>>,
}

impl Relation {
    fn new(announced: Announced, tables: &FeedTables) -> Self {
        let name = (announced.schema.as_str(), announced.table.as_str());
        let followed = tables.iter().find(|table| {
            unquoted(&table.relation).is_some_and(|(schema, table)| (schema.as_str(), table.as_str()) == name)
        });
        let position = |column: &String| announced.columns.iter().position(|c| c.name == *column);
        let (table, key, watched) = match followed {
            Some(table) => (
                Changed::Followed(table.clone()),
                table.key.iter().map(position).collect(),
                table.watched.iter().map(position).collect(),
            ),
            None => (Changed::Other(format!("{}.{}", name.0, name.1).into()), None, Vec::new()),
        };
        Self { announced, table, key, watched }
    }

    fn in_identity(&self, column: usize) -> bool {
        self.announced.columns.get(column).is_some_and(|column| column.identity == Identity::Part)
    }

    /// The row after a change; `None` if its key is not told.
    fn after(&self, new: &[Cell<'_>], before: Option<&[Cell<'_>]>) -> Option<RowImage> {
        // What is stored apart and did not change is as it was before, where that is told.
        let cell = |at: usize| match (new.get(at)?, before) {
            (Cell::Unchanged, Some(before)) => before.get(at),
            (cell, _) => Some(cell),
        };
        self.image(|at| cell(at).copied())
    }

    /// The row before a change, of which columns beside the identity are told only if `whole`.
    fn before(&self, old: &Old<'_>, new: Option<&[Cell<'_>]>) -> Option<RowImage> {
        match old {
            // No column of the identity changed: they are as after it.
            Old::Absent => self.image(|at| new?.get(at).copied().filter(|_| self.in_identity(at))),
            Old::Key(cells) => self.image(|at| cells.get(at).copied().filter(|_| self.in_identity(at))),
            Old::Row(cells) => self.image(|at| cells.get(at).copied()),
        }
    }

    fn image<'a>(&self, cell: impl Fn(usize) -> Option<Cell<'a>>) -> Option<RowImage> {
        let key = self.key.as_ref()?.iter().map(|at| match cell(*at)? {
            Cell::Text(text) => Some(text.into()),
            Cell::Null | Cell::Unchanged => None,
        });
        let key = key.collect::<Option<Vec<Box<str>>>>()?;
        let watched = self.watched.iter().map(|at| match at.and_then(&cell) {
            Some(Cell::Text(text)) => Watched::Text(text.into()),
            Some(Cell::Null) => Watched::Null,
            Some(Cell::Unchanged) | None => Watched::Unknown,
        });
        Some(RowImage { key, watched: watched.collect() })
    }
}

/// A transaction under way.
#[derive(Debug)]
struct Open {
    xid: Xid,
    tables: Vec<TableChanges>,
    /// Where a relation's changes are.
    places: HashMap<u32, usize>,
    rows: usize,
    bytes: usize,
    notice: Notice,
}

/// Puts transactions together.
#[derive(Debug)]
pub(crate) struct Collector {
    tables: FeedTables,
    relations: HashMap<u32, Relation>,
    open: Option<Open>,
}

impl Collector {
    pub(crate) fn new(tables: FeedTables) -> Self {
        Self { tables, relations: HashMap::new(), open: None }
    }

    /// Follows these from now on.
    pub(crate) fn follow(&mut self, tables: FeedTables) {
        let known = self.relations.drain().map(|(oid, known)| (oid, Relation::new(known.announced, &tables)));
        self.relations = known.collect();
        self.tables = tables;
    }

    /// Whether a transaction is under way.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a message; transaction ids are less than 2^31 away from `near`.
    pub(crate) fn take(&mut self, message: Message<'_>, near: Xid) -> Result<Outcome, Malformed> {
        match message {
            Message::Begin { xid } => self.begin(widen(xid, near))?,
            Message::Commit { .. } => return self.commit(),
            Message::Relation(announced) => {
                let relation = Relation::new(announced, &self.tables);
                self.relations.insert(relation.announced.oid, relation);
            }
            Message::Insert { relation, new } => self.row(relation, |relation| {
                let after = relation.after(&new, None)?;
                Some(RowChange { before: None, after: Some(after) })
            })?,
            Message::Update { relation, old, new } => self.row(relation, |relation| {
                let whole = if let Old::Row(cells) = &old { Some(&cells[..]) } else { None };
                let (before, after) = (relation.before(&old, Some(&new))?, relation.after(&new, whole)?);
                Some(RowChange { before: Some(before), after: Some(after) })
            })?,
            Message::Delete { relation, old } => self.row(relation, |relation| {
                Some(RowChange { before: Some(relation.before(&old, None)?), after: None })
            })?,
            Message::Truncate { relations } => {
                for relation in relations {
                    self.whole(relation, Whole::Truncated)?;
                }
            }
            Message::Told { prefix: PREFIX, content } => return Ok(self.told(content)),
            Message::Told { .. } | Message::Other => {}
        }
        Ok(Outcome::Pending)
    }

    /// A change of a row that is too large to be looked at.
    pub(crate) fn take_large(&mut self, relation: u32) -> Result<(), Malformed> {
        self.whole(relation, Whole::TooMany)
    }

    fn begin(&mut self, xid: Xid) -> Result<(), Malformed> {
        let (tables, places) = (Vec::new(), HashMap::new());
        let open = Open { xid, tables, places, rows: 0, bytes: 0, notice: Notice::Nothing };
        if self.open.replace(open).is_some() { Err(Malformed("Begin: a transaction is under way")) } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<Outcome, Malformed> {
        let open = self.open.take().ok_or(Malformed("Commit: no transaction is under way"))?;
        Ok(Outcome::Committed(Transaction { xid: open.xid, tables: open.tables }, open.notice))
    }

    fn told(&mut self, content: &[u8]) -> Outcome {
        match (&mut self.open, std::str::from_utf8(content)) {
            (Some(open), _) if content == DDL => {
                open.notice = Notice::Altered;
                Outcome::Pending
            }
            (None, Ok(text)) => Outcome::Told(text.into()),
            _ => Outcome::Pending,
        }
    }

    fn row(&mut self, oid: u32, read: impl FnOnce(&Relation) -> Option<RowChange>) -> Result<(), Malformed> {
        let (open, relation) = self.at(oid)?;
        let place = open.place(oid, relation);
        let Changes::Rows(rows) = &mut open.tables[place].changes else { return Ok(()) };
        let Some(change) = read(relation) else {
            open.give_up(place, Whole::Unkeyed);
            return Ok(());
        };
        open.rows += 1;
        open.bytes += size(&change);
        rows.push(change);
        if open.rows > MOST_ROWS || open.bytes > MOST_BYTES {
            open.give_up(place, Whole::TooMany);
        }
        Ok(())
    }

    fn whole(&mut self, oid: u32, why: Whole) -> Result<(), Malformed> {
        let (open, relation) = self.at(oid)?;
        let place = open.place(oid, relation);
        open.give_up(place, why);
        Ok(())
    }

    fn at(&mut self, oid: u32) -> Result<(&mut Open, &Relation), Malformed> {
        let open = self.open.as_mut().ok_or(Malformed("change: no transaction is under way"))?;
        let relation = self.relations.get(&oid).ok_or(Malformed("change: its relation was not announced"))?;
        Ok((open, relation))
    }
}

impl Open {
    fn place(&mut self, oid: u32, relation: &Relation) -> usize {
        *self.places.entry(oid).or_insert_with(|| {
            self.tables.push(TableChanges { table: relation.table.clone(), changes: Changes::Rows(Vec::new()) });
            self.tables.len() - 1
        })
    }

    /// From here on the table is told as a whole; what its rows took is free for others.
    fn give_up(&mut self, place: usize, why: Whole) {
        let changes = std::mem::replace(&mut self.tables[place].changes, Changes::Whole(why));
        if let Changes::Rows(rows) = changes {
            self.rows -= rows.len();
            self.bytes -= rows.iter().map(size).sum::<usize>();
        }
    }
}

fn size(change: &RowChange) -> usize {
    let image = |image: &RowImage| {
        let watched = |value: &Watched| if let Watched::Text(text) = value { text.len() } else { 0 };
        image.key.iter().map(|text| text.len()).sum::<usize>() + image.watched.iter().map(watched).sum::<usize>()
    };
    size_of::<RowChange>() + change.before.iter().chain(&change.after).map(image).sum::<usize>()
}

/// Schema and name of a quoted relation.
pub(crate) fn unquoted(relation: &str) -> Option<(String, String)> {
    let (schema, rest) = identifier(relation)?;
    let (table, rest) = identifier(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some((schema, table))
}

fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests;
