//! The messages of `pgoutput`, protocol version 1, as PostgreSQL documents them. Reads in place and copies
//! nothing but names; whatever is malformed is an error, never a panic.

use tidegate_types::snapshot::Xid;

/// A position in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    /// Parses PostgreSQL's text form `16/B374D848`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let half = |digits| u32::from_str_radix(digits, 16).ok().map(u64::from);
        Some(Self((half(high)? << 32) | half(low)?))
    }
}

/// Bytes that are no message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What a replication connection carries inside CopyData.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Envelope<'a> {
    /// A message of the output plugin.
    Data(&'a [u8]),
    /// Nothing to tell; everything before `end` was sent.
    Keepalive { end: Lsn, reply: Reply },
}

/// Whether the server wants to hear from us at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Wanted,
    Optional,
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Null,
    /// Stored apart from the row and not changed: not sent.
    Unchanged,
    Text(&'a str),
}

/// What is told of a row before its change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Old<'a> {
    /// Nothing: no column of the replica identity changed.
    Absent,
    /// The columns of the replica identity; NULL elsewhere.
    Key(Vec<Cell<'a>>),
    /// The whole row (`REPLICA IDENTITY FULL`).
    Row(Vec<Cell<'a>>),
}

/// A relation as the stream announces it before its first change, and again after it was altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<AnnouncedColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnnouncedColumn {
    pub(crate) name: String,
    /// Whether old keys have it.
    pub(crate) identity: Identity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    Part,
    Beside,
}

/// A message of `pgoutput`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Begin {
        xid: u32,
    },
    Commit {
        end: Lsn,
    },
    Relation(Announced),
    Insert {
        relation: u32,
        new: Vec<Cell<'a>>,
    },
    Update {
        relation: u32,
        old: Old<'a>,
        new: Vec<Cell<'a>>,
    },
    Delete {
        relation: u32,
        old: Old<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// `pg_logical_emit_message`.
    Told {
        prefix: &'a str,
        content: &'a [u8],
    },
    /// Types and origins: nothing follows from them.
    Other,
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(self.take(end)?).ok()?;
        self.u8()?;
        Some(text)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(self.u32()?).ok()?;
        self.take(size)
    }

    fn tuple(&mut self) -> Option<Vec<Cell<'a>>> {
        let count = usize::from(self.u16()?);
        // A value takes at least its kind: a wrong count cannot reserve more than was received.
        let mut cells = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            cells.push(match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => Cell::Text(std::str::from_utf8(self.sized()?).ok()?),
                _ => return None,
            });
        }
        Some(cells)
    }
}

impl<'a> Envelope<'a> {
    /// Reads the content of a CopyData message.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed("replication message");
        let mut reader = Reader(bytes);
        let mut read = || {
            Some(match reader.u8()? {
                b'w' => {
                    // Where it starts, where the log ends, when it was sent.
                    let _ = (reader.u64()?, reader.u64()?, reader.u64()?);
                    Self::Data(reader.0)
                }
                b'k' => {
                    let (end, _sent) = (Lsn(reader.u64()?), reader.u64()?);
                    Self::Keepalive { end, reply: if reader.u8()? == 0 { Reply::Optional } else { Reply::Wanted } }
                }
                _ => return None,
            })
        };
        read().ok_or(WRONG)
    }
}

impl<'a> Message<'a> {
    /// Reads one message.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let kind = reader.u8().ok_or(Malformed("message"))?;
        let read = match kind {
            b'B' => begin(&mut reader),
            b'C' => commit(&mut reader),
            b'R' => announced(&mut reader).map(Self::Relation),
            b'I' => insert(&mut reader),
            b'U' => update(&mut reader),
            b'D' => delete(&mut reader),
            b'T' => truncate(&mut reader),
            b'M' => told(&mut reader),
            b'Y' | b'O' => Some(Self::Other),
            _ => None,
        };
        read.ok_or(Malformed(match kind {
            b'B' => "Begin",
            b'C' => "Commit",
            b'R' => "Relation",
            b'I' => "Insert",
            b'U' => "Update",
            b'D' => "Delete",
            b'T' => "Truncate",
            b'M' => "Message",
            _ => "message",
        }))
    }

    /// The relation of a row's change of which only the beginning is at hand.
    pub(crate) fn relation_of(start: &[u8]) -> Option<u32> {
        let mut reader = Reader(start);
        matches!(reader.u8()?, b'I' | b'U' | b'D').then_some(())?;
        reader.u32()
    }
}

fn begin<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let _ = (reader.u64()?, reader.u64()?);
    Some(Message::Begin { xid: reader.u32()? })
}

fn commit<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let _ = (reader.u8()?, reader.u64()?);
    Some(Message::Commit { end: Lsn(reader.u64()?) })
}

fn announced(reader: &mut Reader<'_>) -> Option<Announced> {
    let oid = reader.u32()?;
    let (schema, table) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    // The system catalog's own schema is sent as nothing.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    let _identity = reader.u8()?;
    let count = usize::from(reader.u16()?);
    // A column takes at least ten bytes.
    let mut columns = Vec::with_capacity(count.min(reader.0.len() / 10));
    for _ in 0..count {
        let identity = if reader.u8()? & 1 == 1 { Identity::Part } else { Identity::Beside };
        let name = reader.text()?.to_owned();
        let _type = (reader.u32()?, reader.u32()?);
        columns.push(AnnouncedColumn { name, identity });
    }
    Some(Announced { oid, schema, table, columns })
}

fn insert<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let relation = reader.u32()?;
    match reader.u8()? {
        b'N' => Some(Message::Insert { relation, new: reader.tuple()? }),
        _ => None,
    }
}

fn update<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let relation = reader.u32()?;
    let old = match reader.u8()? {
        b'N' => return Some(Message::Update { relation, old: Old::Absent, new: reader.tuple()? }),
        b'K' => Old::Key(reader.tuple()?),
        b'O' => Old::Row(reader.tuple()?),
        _ => return None,
    };
    match reader.u8()? {
        b'N' => Some(Message::Update { relation, old, new: reader.tuple()? }),
        _ => None,
    }
}

fn delete<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let relation = reader.u32()?;
    let old = match reader.u8()? {
        b'K' => Old::Key(reader.tuple()?),
        b'O' => Old::Row(reader.tuple()?),
        _ => return None,
    };
    Some(Message::Delete { relation, old })
}

fn truncate<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let count = usize::try_from(reader.u32()?).ok()?;
    let _options = reader.u8()?;
    let mut relations = Vec::with_capacity(count.min(reader.0.len() / 4));
    for _ in 0..count {
        relations.push(reader.u32()?);
    }
    Some(Message::Truncate { relations })
}

fn told<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let _ = (reader.u8()?, reader.u64()?);
    Some(Message::Told { prefix: reader.text()?, content: reader.sized()? })
}

/// The 64-bit form of a 32-bit transaction id that is, as all that PostgreSQL keeps apart, less than 2^31 away
/// from `near`.
pub(crate) fn widen(xid: u32, near: Xid) -> Xid {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    let ahead = xid.wrapping_sub(near.0 as u32).cast_signed();
    Xid(near.0.saturating_add_signed(i64::from(ahead)))
}

#[cfg(test)]
mod tests;
