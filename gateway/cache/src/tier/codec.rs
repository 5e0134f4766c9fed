//! The bytes of an entry. Whatever cannot be read is a miss: [`Codec::decode`] gives an entry that was encoded under
//! the same key, or nothing.
//!
//! # Layout
//! All numbers are little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | `TK` |
//! | 2 | 1 | version, 1 |
//! | 3 | 1 | how the body is packed: 0 plain, 1 LZ4 block |
//! | 4 | 4 | bytes of the body as stored |
//! | 8 | 4 | bytes of the body unpacked |
//! | 12 | 8 | checksum: XXH3-64 of the body as stored, seeded by that of the 12 bytes before, seeded by that of the full key |
//! | 20 | | the body |
//!
//! The body is a sequence of fields, each a number (1 byte), a length (4 bytes) and its content, in ascending order
//! and none twice. See `Field`.
//!
//! # Adding a field
//! Give it the next number. Numbers below 128 must be understood: a gateway that does not know one treats the entry
//! as a miss, so that gateways of two versions can share a store. Numbers from 128 on are hints, which a gateway that
//! does not know them skips. Never change what a number means, never reuse one; where neither is possible, raise the
//! version. The golden file `testdata/kept-v1.bin` must stay readable as long as the version is 1.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use tidegate_types::{
    bucket::BucketId,
    snapshot::{Snapshot, Xid},
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::key::TierKey;

const MAGIC: [u8; 2] = *b"TK";
const VERSION: u8 = 1;
const HEADER: usize = 20;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
/// Fields from here on may be skipped by who does not know them.
const HINTS: u8 = 128;
/// Room for everything in a body but the payload: snapshot, tags, key.
const OVERHEAD: usize = 64 << 10;

/// The numbers of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Field {
    /// 8 bytes: the digest of the lineage.
    Lineage = 1,
    /// 8 bytes each: `xmin`, `xmax`, and every xid that was running.
    Snapshot = 2,
    /// 8 bytes each: the tags' buckets. Left out where there are none.
    Tags = 3,
    /// 8 bytes: milliseconds since 1970 when the query was sent.
    Fetched = 4,
    /// 8 bytes: milliseconds from then on that it may be served.
    Ttl = 5,
    /// The full key, where the store knows it by a hash only.
    FullKey = 6,
    /// No bytes: there is no such row.
    Absent = 16,
    /// The row's JSON.
    Row = 17,
    /// 8 bytes: rows; 8 bytes: all rows of the query plus one, 0 where not counted; then the list's JSON.
    List = 18,
}

/// What is kept in a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The digest of the server's lineage: xids mean nothing under another.
    pub lineage: u64,
    /// The snapshot of the statement that read it.
    pub snapshot: Snapshot,
    /// The buckets of the tags that a cache policy gave it.
    pub tags: SmallVec<[BucketId; 2]>,
    /// Milliseconds since 1970 by the writer's clock when it was read.
    pub fetched_unix_ms: u64,
    /// Milliseconds from then on that it may be served.
    pub ttl_ms: u64,
    /// What was read.
    pub payload: Payload,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A row, or the knowledge that there is none.
    Row(Option<Bytes>),
    /// A list.
    List {
        /// Its JSON.
        json: Bytes,
        /// Rows in it.
        rows: u64,
        /// Rows the query has in all, where they were counted.
        total: Option<u64>,
    },
}

/// Bytes that are not an entry of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not readable")]
pub struct Unreadable;

/// Encodes and decodes entries.
#[derive(Debug, Clone, Copy)]
pub struct Codec {
    /// Bodies of more bytes are compressed, where that makes them smaller by an eighth.
    pub compress_above: usize,
    /// Bytes of the largest payload that is read.
    pub max_payload: usize,
}

impl Codec {
    /// The bytes of an entry, or `None` where it is too large to be read again.
    #[must_use]
    pub fn encode(&self, key: &TierKey, kept: &Kept) -> Option<Bytes> {
        let body = body(key, kept);
        if body.len() > self.max_body() {
            return None;
        }
        let packed = if body.len() > self.compress_above { lz4_flex::block::compress(&body) } else { Vec::new() };
        // Unpacking takes time too: less than an eighth saved is not worth it.
        let worth_it = !packed.is_empty() && packed.len() < body.len() - body.len() / 8;
        let (how, stored) = if worth_it { (LZ4, &packed[..]) } else { (PLAIN, &body[..]) };
        let mut bytes = BytesMut::with_capacity(HEADER + stored.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(how);
        bytes.put_u32_le(u32::try_from(stored.len()).ok()?);
        bytes.put_u32_le(u32::try_from(body.len()).ok()?);
        let checksum = checksum(key, &bytes, stored);
        bytes.put_u64_le(checksum);
        bytes.put_slice(stored);
        Some(bytes.freeze())
    }

    /// The entry in these bytes.
    ///
    /// # Errors
    /// [`Unreadable`] for anything that [`Codec::encode`] did not make of an entry of this key: another version,
    /// another key, damage, more bytes than allowed.
    pub fn decode(&self, key: &TierKey, bytes: &Bytes) -> Result<Kept, Unreadable> {
        let (header, body) = bytes.split_at_checked(HEADER).ok_or(Unreadable)?;
        let number = |at: usize| usize::try_from(le_u32(&header[at..at + 4])).map_err(|_| Unreadable);
        let (stored, unpacked) = (number(4)?, number(8)?);
        let known = header[..2] == MAGIC && header[2] == VERSION;
        if !known || stored != body.len() || unpacked > self.max_body() {
            return Err(Unreadable);
        }
        if le_u64(&header[12..20]) != checksum(key, &header[..12], body) {
            return Err(Unreadable);
        }
        let body = match header[3] {
            PLAIN if stored == unpacked => bytes.slice(HEADER..),
            LZ4 => {
                let plain = lz4_flex::block::decompress(body, unpacked).map_err(|_| Unreadable)?;
                if plain.len() != unpacked {
                    return Err(Unreadable);
                }
                Bytes::from(plain)
            }
            _ => return Err(Unreadable),
        };
        read(key, &body)
    }

    const fn max_body(&self) -> usize {
        self.max_payload.saturating_add(OVERHEAD)
    }
}

fn checksum(key: &TierKey, header: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64_with_seed(header, xxh3_64(key.full())))
}

fn body(key: &TierKey, kept: &Kept) -> Vec<u8> {
    let Kept { lineage, snapshot, tags, fetched_unix_ms, ttl_ms, payload } = kept;
    let json = match payload {
        Payload::Row(None) => 0,
        Payload::Row(Some(json)) | Payload::List { json, .. } => json.len(),
    };
    let mut body = Vec::with_capacity(json + 128 + 8 * (snapshot.xip.len() + tags.len()));
    put(&mut body, Field::Lineage, &[&lineage.to_le_bytes()]);
    let xids = [snapshot.xmin, snapshot.xmax].into_iter().chain(snapshot.xip.iter().copied());
    put(&mut body, Field::Snapshot, &xids.map(|xid| xid.0.to_le_bytes()).collect::<Vec<_>>());
    if !tags.is_empty() {
        put(&mut body, Field::Tags, &tags.iter().map(|tag| tag.0.to_le_bytes()).collect::<Vec<_>>());
    }
    put(&mut body, Field::Fetched, &[&fetched_unix_ms.to_le_bytes()]);
    put(&mut body, Field::Ttl, &[&ttl_ms.to_le_bytes()]);
    if key.is_hashed() {
        put(&mut body, Field::FullKey, &[key.full()]);
    }
    match payload {
        Payload::Row(None) => put::<&[u8]>(&mut body, Field::Absent, &[]),
        Payload::Row(Some(json)) => put(&mut body, Field::Row, &[json]),
        Payload::List { json, rows, total } => {
            let total = total.map_or(0, |total| total.saturating_add(1));
            put(&mut body, Field::List, &[&rows.to_le_bytes()[..], &total.to_le_bytes(), json]);
        }
    }
    body
}

#[expect(clippy::cast_possible_truncation, reason = "a body is below 4 GiB: encode refuses larger ones")]
fn put<B: AsRef<[u8]>>(body: &mut Vec<u8>, field: Field, parts: &[B]) {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    body.push(field as u8);
    body.extend_from_slice(&(length as u32).to_le_bytes());
    parts.iter().for_each(|part| body.extend_from_slice(part.as_ref()));
}

/// What a body has, before it is known to be complete.
#[derive(Default)]
struct Found {
    lineage: Option<u64>,
    snapshot: Option<Snapshot>,
    tags: SmallVec<[BucketId; 2]>,
    fetched: Option<u64>,
    ttl: Option<u64>,
    full_key: Option<Bytes>,
    payload: Option<Payload>,
}

fn read(key: &TierKey, body: &Bytes) -> Result<Kept, Unreadable> {
    let mut found = Found::default();
    let (mut at, mut last) = (0, 0);
    while at < body.len() {
        let head = body.get(at..at + 5).ok_or(Unreadable)?;
        let length = usize::try_from(le_u32(&head[1..])).map_err(|_| Unreadable)?;
        let end = (at + 5).checked_add(length).filter(|end| *end <= body.len()).ok_or(Unreadable)?;
        if head[0] <= last {
            return Err(Unreadable);
        }
        last = head[0];
        found.field(last, body.slice(at + 5..end))?;
        at = end;
    }
    let same_key = match found.full_key {
        Some(full) => key.is_hashed() && full == key.full(),
        None => !key.is_hashed(),
    };
    if !same_key {
        return Err(Unreadable);
    }
    Ok(Kept {
        lineage: found.lineage.ok_or(Unreadable)?,
        snapshot: found.snapshot.ok_or(Unreadable)?,
        tags: found.tags,
        fetched_unix_ms: found.fetched.ok_or(Unreadable)?,
        ttl_ms: found.ttl.ok_or(Unreadable)?,
        payload: found.payload.ok_or(Unreadable)?,
    })
}

impl Found {
    fn field(&mut self, number: u8, content: Bytes) -> Result<(), Unreadable> {
        let one = || <[u8; 8]>::try_from(&content[..]).map(u64::from_le_bytes).map_err(|_| Unreadable);
        match number {
            n if n == Field::Lineage as u8 => self.lineage = Some(one()?),
            n if n == Field::Snapshot as u8 => self.snapshot = Some(snapshot(&content)?),
            n if n == Field::Tags as u8 => self.tags = numbers(&content)?.map(BucketId).collect(),
            n if n == Field::Fetched as u8 => self.fetched = Some(one()?),
            n if n == Field::Ttl as u8 => self.ttl = Some(one()?),
            n if n == Field::FullKey as u8 => self.full_key = Some(content),
            n if n == Field::Absent as u8 && content.is_empty() => self.payload(Payload::Row(None))?,
            n if n == Field::Row as u8 => self.payload(Payload::Row(Some(content)))?,
            n if n == Field::List as u8 => self.payload(list(&content)?)?,
            HINTS.. => {}
            _ => return Err(Unreadable),
        }
        Ok(())
    }

    fn payload(&mut self, payload: Payload) -> Result<(), Unreadable> {
        if self.payload.replace(payload).is_some() { Err(Unreadable) } else { Ok(()) }
    }
}

fn list(content: &Bytes) -> Result<Payload, Unreadable> {
    let (counts, _) = content.split_at_checked(16).ok_or(Unreadable)?;
    let total = le_u64(&counts[8..]).checked_sub(1);
    Ok(Payload::List { rows: le_u64(&counts[..8]), total, json: content.slice(16..) })
}

/// A snapshot that PostgreSQL could have given.
fn snapshot(content: &[u8]) -> Result<Snapshot, Unreadable> {
    let mut xids = numbers(content)?.map(Xid);
    let (xmin, xmax) = (xids.next().ok_or(Unreadable)?, xids.next().ok_or(Unreadable)?);
    let xip: SmallVec<[Xid; 2]> = xids.collect();
    let ascending = xip.windows(2).all(|pair| pair[0] < pair[1]);
    let within = xip.first().is_none_or(|first| *first >= xmin) && xip.last().is_none_or(|last| *last < xmax);
    if xmin <= xmax && ascending && within { Ok(Snapshot { xmin, xmax, xip }) } else { Err(Unreadable) }
}

fn numbers(content: &[u8]) -> Result<impl Iterator<Item = u64>, Unreadable> {
    if content.len().is_multiple_of(8) { Ok(content.chunks_exact(8).map(le_u64)) } else { Err(Unreadable) }
}

fn le_u64(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests;
