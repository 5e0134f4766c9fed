//! Samples told to other gateways, so that each compares what it keeps itself. Names, not numbers of a process.
//!
//! A message that is lost loses a sample. What a receiver makes of one is its own: whether it serves the collection,
//! whether the key is one, how many it follows.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidegate_cluster::table::Relay;
use tidegate_types::request::TenantId;

use super::{metrics::Source, notes::Sample};
use crate::gateway::Shared;

/// What a message begins with. A gateway that knows it reads the fields that it knows and skips what comes after
/// them; a change that it would misread needs another number.
pub(crate) const KIND: u8 = 2;
/// Any number will do: nobody counts these messages.
const CHANNEL: u32 = 0;
/// Bytes of a name or a key. A longer one is not told, nor read.
const MAX_TEXT: usize = 4096;

/// A sample as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    shard: String,
    collection: String,
    tenant: Option<TenantId>,
    /// As in a path.
    key: String,
}

impl Told {
    fn put(&self) -> Option<Bytes> {
        let mut to = BytesMut::with_capacity(64 + self.key.len());
        to.put_u8(KIND);
        match self.tenant {
            None => to.put_u8(0),
            Some(tenant) => {
                to.put_u8(1);
                to.put_u64_le(tenant.0);
            }
        }
        for text in [&self.shard, &self.collection, &self.key] {
            let length = u16::try_from(text.len()).ok().filter(|length| usize::from(*length) <= MAX_TEXT)?;
            to.put_u16_le(length);
            to.put_slice(text.as_bytes());
        }
        Some(to.freeze())
    }

    fn take(mut from: Bytes) -> Option<Self> {
        (from.try_get_u8().ok()? == KIND).then_some(())?;
        let tenant = match from.try_get_u8().ok()? {
            0 => None,
            1 => Some(TenantId(from.try_get_u64_le().ok()?)),
            _ => return None,
        };
        let mut text = || {
            let length = usize::from(from.try_get_u16_le().ok()?);
            let bytes = (length <= from.len().min(MAX_TEXT)).then(|| from.split_to(length))?;
            String::from_utf8(bytes.into()).ok()
        };
        Some(Self { shard: text()?, collection: text()?, tenant, key: text()? })
    }

    /// The row that is meant, if it may be kept here.
    fn resolved(self, shared: &Shared) -> Option<Sample> {
        let shard = shared.topology.by_name(&self.shard)?;
        let collection = shared.live.look(|collections| collections.get(&self.collection).cloned())?;
        let key = collection.parse_path_key(&self.key).ok()?;
        Sample::of(&collection, shard, self.tenant, key)
    }
}

/// Tells the other gateways of a row that is followed here.
pub(super) fn tell(shared: &Shared, sample: &Sample) {
    let Some(cluster) = shared.cluster.get() else { return };
    let told = Told {
        shard: shared.topology.name(sample.shard).to_owned(),
        collection: sample.collection.name.to_string(),
        tenant: sample.tenant,
        key: sample.key.path_text(),
    };
    if let Some(bytes) = told.put() {
        cluster.relay(&Relay { channel: CHANNEL, seq: 0, bytes });
    }
}

/// Follows what another gateway told of. Never waits.
pub(crate) fn heard(shared: &Shared, bytes: Bytes) {
    shared.notes.note(Source::Gateway, || Told::take(bytes)?.resolved(shared));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tenant: Option<TenantId>, key: &str) -> Told {
        Told { shard: "a".to_owned(), collection: "texts".to_owned(), tenant, key: key.to_owned() }
    }

    #[test]
    fn what_is_told_is_read_as_it_was_meant_and_never_in_part() {
        for told in [told(None, "1,\"a,b\""), told(Some(TenantId(u64::MAX)), "é")] {
            let bytes = told.put().expect("short");
            assert_eq!(Told::take(bytes.clone()), Some(told.clone()));
            for end in 0..bytes.len() {
                assert_eq!(Told::take(bytes.slice(..end)), None, "{end}");
            }
            let longer = [&bytes, &b"a later version's"[..]].concat();
            assert_eq!(Told::take(longer.into()), Some(told), "what is not known is skipped");
        }
    }

    #[test]
    fn long_keys_are_not_told_and_nonsense_is_not_read() {
        assert!(told(None, &"x".repeat(MAX_TEXT)).put().is_some());
        assert!(told(None, &"x".repeat(MAX_TEXT + 1)).put().is_none());
        for nonsense in [&b""[..], b"\x01", b"\x02\x07", b"\x02\0\xff\xff", b"\x02\0\x01\0\xff\x01\0a\x01\0b"] {
            assert_eq!(Told::take(Bytes::from_static(nonsense)), None, "{nonsense:?}");
        }
    }
}
