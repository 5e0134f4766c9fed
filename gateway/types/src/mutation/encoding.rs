//! The bytes of an [`Entry`]. Numbers are little-endian, texts and byte strings stand behind their length in 4 bytes.
//!
//! | version 1 | |
//! |---|---|
//! | 1 byte | 1 |
//! | text, text | collection, shard |
//! | 8 bytes | tenant |
//! | 1 byte, then each | values of the key: a tag (1 integer, 2 text, 3 UUID, 4 boolean) and 8 bytes, a text, 16 bytes or 1 byte |
//! | 1 byte | what became of the row: 1 inserted, 2 updated, 3 deleted |
//! | 1 byte | 0: no row; 1: bytes of JSON, then 2 bytes and as many texts, the columns set |
//! | 1 byte | 0: not to be repeated; 1: text and 8 bytes, the idempotency key and the request's fingerprint |

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Entry, Image, Mutation};
use crate::{
    answer::RowChange,
    key::{KeyValue, RowKey},
    request::Idempotency,
    tenant::TenantId,
};

const VERSION: u8 = 1;

/// Bytes that are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A version that this one does not know.
    #[error("a record of version {0}, which this version cannot read")]
    Version(u8),
    /// They end too early, go on too long, or hold what cannot be.
    #[error("a record whose {0} cannot be read")]
    Malformed(&'static str),
}

impl Entry {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { mutation: Mutation { collection, shard, tenant, key, image }, change, idempotency } = self;
        let mut out = BytesMut::with_capacity(128 + image.heap_bytes());
        out.put_u8(VERSION);
        put_bytes(&mut out, collection.as_bytes());
        put_bytes(&mut out, shard.as_bytes());
        out.put_u64_le(tenant.0);
        put_key(&mut out, key);
        out.put_u8(match change {
            RowChange::Inserted => 1,
            RowChange::Updated => 2,
            RowChange::Deleted => 3,
        });
        match image {
            Image::Gone => out.put_u8(0),
            Image::Row { json, set } => {
                out.put_u8(1);
                put_bytes(&mut out, json);
                // PostgreSQL's tables have 1600 columns at most.
                out.put_u16_le(u16::try_from(set.len()).unwrap_or(u16::MAX));
                for name in set.iter() {
                    put_bytes(&mut out, name.as_bytes());
                }
            }
        }
        match idempotency {
            None => out.put_u8(0),
            Some(Idempotency { key, fingerprint }) => {
                out.put_u8(1);
                put_bytes(&mut out, key.as_bytes());
                out.put_u64_le(*fingerprint);
            }
        }
        out.freeze()
    }

    /// The entry of these bytes. Its JSON shares them.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut bytes = Reader(bytes);
        let version = bytes.byte("version")?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let collection = bytes.text("collection")?;
        let shard = bytes.text("shard")?;
        let tenant = TenantId(bytes.number("tenant")?);
        let key = bytes.key()?;
        let change = match bytes.byte("change")? {
            1 => RowChange::Inserted,
            2 => RowChange::Updated,
            3 => RowChange::Deleted,
            _ => return Err(DecodeError::Malformed("change")),
        };
        let image = bytes.image()?;
        let idempotency = match bytes.byte("idempotency key")? {
            0 => None,
            1 => {
                let key = bytes.text("idempotency key")?;
                Some(Idempotency { key, fingerprint: bytes.number("fingerprint")? })
            }
            _ => return Err(DecodeError::Malformed("idempotency key")),
        };
        if bytes.0.has_remaining() {
            return Err(DecodeError::Malformed("end"));
        }
        Ok(Self { mutation: Mutation { collection, shard, tenant, key, image }, change, idempotency })
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    // Bodies and names are bounded far below.
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn put_key(out: &mut BytesMut, key: &RowKey) {
    // PostgreSQL's keys have 32 columns at most.
    out.put_u8(u8::try_from(key.values().len()).unwrap_or(u8::MAX));
    for value in key.values() {
        match value {
            KeyValue::Int(value) => {
                out.put_u8(1);
                out.put_i64_le(*value);
            }
            KeyValue::Text(value) => {
                out.put_u8(2);
                put_bytes(out, value.as_bytes());
            }
            KeyValue::Uuid(value) => {
                out.put_u8(3);
                out.put_slice(value.as_bytes());
            }
            KeyValue::Bool(value) => {
                out.put_u8(4);
                out.put_u8(u8::from(*value));
            }
        }
    }
}

/// What is left to read. Nothing is reserved by a length that was not received.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, count: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if self.0.len() < count { Err(DecodeError::Malformed(what)) } else { Ok(self.0.split_to(count)) }
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Malformed(what))
    }

    fn number(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.0.try_get_u64_le().map_err(|_| DecodeError::Malformed(what))
    }

    fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.0.try_get_u32_le().map_err(|_| DecodeError::Malformed(what))?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    fn text<T: for<'a> From<&'a str>>(&mut self, what: &'static str) -> Result<T, DecodeError> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(&bytes).map(T::from).map_err(|_| DecodeError::Malformed(what))
    }

    fn key(&mut self) -> Result<RowKey, DecodeError> {
        const WRONG: DecodeError = DecodeError::Malformed("key");
        let mut values = SmallVec::new();
        for _ in 0..self.byte("key")? {
            values.push(match self.byte("key")? {
                1 => KeyValue::Int(self.0.try_get_i64_le().map_err(|_| WRONG)?),
                2 => KeyValue::Text(self.text("key")?),
                3 => KeyValue::Uuid(uuid::Uuid::from_slice(&self.take(16, "key")?).map_err(|_| WRONG)?),
                4 => match self.byte("key")? {
                    0 => KeyValue::Bool(false),
                    1 => KeyValue::Bool(true),
                    _ => return Err(WRONG),
                },
                _ => return Err(WRONG),
            });
        }
        Ok(RowKey(values))
    }

    fn image(&mut self) -> Result<Image, DecodeError> {
        match self.byte("row")? {
            0 => Ok(Image::Gone),
            1 => {
                let json = self.bytes("row")?;
                let columns = self.0.try_get_u16_le().map_err(|_| DecodeError::Malformed("columns"))?;
                let set: Result<Arc<[Box<str>]>, _> = (0..columns).map(|_| self.text("columns")).collect();
                Ok(Image::Row { json, set: set? })
            }
            _ => Err(DecodeError::Malformed("row")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let key = [KeyValue::Int(-2), KeyValue::Text("é,".into()), KeyValue::Bool(true)];
        let uuid = KeyValue::Uuid(uuid::Uuid::from_u128(7));
        let json = Bytes::from_static(b"{\"id\":-2}");
        Entry {
            mutation: Mutation {
                collection: "carts".into(),
                shard: "a".into(),
                tenant: TenantId(9),
                key: RowKey(key.into_iter().chain([uuid]).collect()),
                image: Image::Row { json, set: ["id", "n"].map(Box::from).into() },
            },
            change: RowChange::Updated,
            idempotency: Some(Idempotency { key: "k".into(), fingerprint: 258 }),
        }
    }

    fn gone() -> Entry {
        let first = entry();
        let mutation = Mutation { image: Image::Gone, key: RowKey::single(KeyValue::Int(1)), ..first.mutation };
        Entry { mutation, change: RowChange::Deleted, idempotency: None }
    }

    /// What was written by a version that was released is read by every later one: these bytes never change.
    #[test]
    fn bytes_of_version_1_stay_what_they_are() {
        let row = "01050000006361727473010000006109000000000000000401feffffffffffffff0203000000c3a92c04010300000000000000\
                   0000000000000000070201090000007b226964223a2d327d020002000000696401000000\
                   6e01010000006b0201000000000000";
        let no_row = "01050000006361727473010000006109000000000000000101010000000000000003\
                      0000";
        for (entry, hex) in [(entry(), row), (gone(), no_row)] {
            let bytes = entry.encode();
            let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(shown, hex);
            assert_eq!(Entry::decode(bytes), Ok(entry));
        }
    }

    #[test]
    fn what_is_cut_short_too_long_or_of_another_version_is_refused() {
        let bytes = entry().encode();
        for end in 0..bytes.len() {
            assert!(matches!(Entry::decode(bytes.slice(..end)), Err(DecodeError::Malformed(_))), "{end}");
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.put_u8(0);
        assert_eq!(Entry::decode(longer.freeze()), Err(DecodeError::Malformed("end")));
        let mut newer = BytesMut::from(&bytes[..]);
        newer[0] = 2;
        assert_eq!(Entry::decode(newer.freeze()), Err(DecodeError::Version(2)));
    }
}
