//! Messages between gateways, as bytes. Version 1; a change that an older gateway would misread needs another.
//!
//! A frame's payload is messages one after the other. Integers are little-endian; texts have a length of two
//! bytes. What cannot be read ends the connection: it was authenticated, so the other side has a fault.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidegate_types::{bucket::BucketId, purge::Softness, snapshot::Xid, tenant::TenantId};

use crate::table::{Buckets, Floor, Forgotten, Relay, Void};

/// What both sides must speak.
pub const VERSION: u16 = 1;
/// Bytes of a frame's payload.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes of a relayed message.
pub const MAX_RELAY: usize = 64 << 10;
/// Buckets named one by one; a message about more is about all.
pub const MAX_BUCKETS: usize = 8192;
/// Stands for every bucket.
const ALL: u32 = u32::MAX;
/// Stands for every shard.
const EVERY: u16 = u16::MAX;

/// Counts what one sender wants acknowledged.
pub type Ticket = u64;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To be raised, then acknowledged.
    Floor(Ticket, Floor),
    /// To be voided, then acknowledged.
    Void(Ticket, Void),
    /// Done.
    Ack(Vec<Ticket>),
    /// To be passed on; not acknowledged.
    Relay(Relay),
    /// To be acknowledged: shows that the connection works.
    Ping(Ticket),
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of version {VERSION}: {0}")]
pub struct Malformed(&'static str);

const FLOOR: u8 = 1;
const VOID: u8 = 2;
const ACK: u8 = 3;
const RELAY: u8 = 4;
const PING: u8 = 5;
const SOFT_VOID: u8 = 6;
const TENANTS: u8 = 7;
const SOFT_TENANTS: u8 = 8;

/// A message whose ticket is put in when it is sent, so that its bytes are made once for all receivers.
#[derive(Debug, Clone)]
pub struct Ticketed {
    kind: u8,
    rest: Bytes,
}

impl Ticketed {
    /// A floor to be raised.
    #[must_use]
    pub fn floor(floor: &Floor) -> Self {
        let mut to = BytesMut::with_capacity(64 + bucket_bytes(&floor.buckets));
        put_text(&mut to, &floor.shard);
        to.put_u64_le(floor.lineage);
        to.put_u64_le(floor.digest);
        to.put_u64_le(floor.xid.0);
        put_buckets(&mut to, &floor.buckets);
        Self { kind: FLOOR, rest: to.freeze() }
    }

    /// Buckets to be voided.
    #[must_use]
    pub fn void(void: &Void) -> Self {
        let mut to = BytesMut::with_capacity(64 + forgotten_bytes(&void.what));
        match &void.shard {
            Some(shard) => put_text(&mut to, shard),
            None => to.put_u16_le(EVERY),
        }
        to.put_u64_le(void.digest);
        let kind = match (&void.what, void.softness) {
            (Forgotten::Buckets(_), Softness::Hard) => VOID,
            (Forgotten::Buckets(_), Softness::Soft) => SOFT_VOID,
            (Forgotten::Tenants(_), Softness::Hard) => TENANTS,
            (Forgotten::Tenants(_), Softness::Soft) => SOFT_TENANTS,
        };
        match &void.what {
            Forgotten::Buckets(buckets) => put_buckets(&mut to, buckets),
            Forgotten::Tenants(tenants) => put_tenants(&mut to, tenants),
        }
        Self { kind, rest: to.freeze() }
    }

    /// Only to be acknowledged.
    #[must_use]
    pub const fn ping() -> Self {
        Self { kind: PING, rest: Bytes::new() }
    }

    /// Bytes it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        1 + size_of::<Ticket>() + self.rest.len()
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends it under this ticket.
    pub fn put(&self, ticket: Ticket, to: &mut BytesMut) {
        to.put_u8(self.kind);
        to.put_u64_le(ticket);
        to.put_slice(&self.rest);
    }
}

fn forgotten_bytes(what: &Forgotten) -> usize {
    match what {
        Forgotten::Buckets(buckets) => bucket_bytes(buckets),
        Forgotten::Tenants(tenants) => tenants.len() * 8,
    }
}

fn bucket_bytes(buckets: &Buckets) -> usize {
    match buckets {
        Buckets::These(these) => these.len() * 8,
        Buckets::All => 0,
    }
}

/// Appends acknowledgements.
pub fn put_ack(tickets: &[Ticket], to: &mut BytesMut) {
    to.put_u8(ACK);
    to.put_u32_le(u32::try_from(tickets.len()).unwrap_or(u32::MAX));
    for ticket in tickets {
        to.put_u64_le(*ticket);
    }
}

/// Bytes a relayed message takes.
#[must_use]
pub fn relay_len(relay: &Relay) -> usize {
    1 + 4 + 8 + 4 + relay.bytes.len()
}

/// Appends a relayed message.
pub fn put_relay(relay: &Relay, to: &mut BytesMut) {
    to.put_u8(RELAY);
    to.put_u32_le(relay.channel);
    to.put_u64_le(relay.seq);
    to.put_u32_le(u32::try_from(relay.bytes.len()).unwrap_or(u32::MAX));
    to.put_slice(&relay.bytes);
}

fn put_text(to: &mut BytesMut, text: &str) {
    // Names of shards are short; a longer one is not one of the receiver's.
    let text = &text.as_bytes()[..text.len().min(usize::from(EVERY) - 1)];
    to.put_u16_le(u16::try_from(text.len()).unwrap_or(0));
    to.put_slice(text);
}

fn put_buckets(to: &mut BytesMut, buckets: &Buckets) {
    match buckets {
        Buckets::These(these) if these.len() <= MAX_BUCKETS => {
            to.put_u32_le(u32::try_from(these.len()).unwrap_or(ALL));
            for bucket in &**these {
                to.put_u64_le(bucket.0);
            }
        }
        Buckets::These(_) | Buckets::All => to.put_u32_le(ALL),
    }
}

fn put_tenants(to: &mut BytesMut, tenants: &[TenantId]) {
    // An order names far fewer (`tidegate_types::purge::MAX_TARGETS`).
    to.put_u32_le(u32::try_from(tenants.len()).unwrap_or(0));
    tenants.iter().for_each(|tenant| to.put_u64_le(tenant.0));
}

/// Takes the next message off a payload; `None` at its end.
///
/// # Errors
/// [`Malformed`] for anything that no gateway of this version sends.
pub fn take(from: &mut Bytes) -> Result<Option<Message>, Malformed> {
    if from.is_empty() {
        return Ok(None);
    }
    let message = match u8_of(from)? {
        kind @ (VOID | SOFT_VOID | TENANTS | SOFT_TENANTS) => {
            let ticket = u64_of(from)?;
            let (shard, digest) = (text_of(from)?, u64_of(from)?);
            let softness = if matches!(kind, VOID | TENANTS) { Softness::Hard } else { Softness::Soft };
            let what = match kind {
                VOID | SOFT_VOID => Forgotten::Buckets(buckets_of(from)?),
                _ => Forgotten::Tenants(tenants_of(from)?),
            };
            Message::Void(ticket, Void { shard, digest, what, softness })
        }
        FLOOR => {
            let ticket = u64_of(from)?;
            let shard = text_of(from)?.ok_or(Malformed("a floor of every shard"))?;
            let (lineage, digest, xid) = (u64_of(from)?, u64_of(from)?, Xid(u64_of(from)?));
            Message::Floor(ticket, Floor { shard, lineage, digest, xid, buckets: buckets_of(from)? })
        }
        ACK => {
            let count = count_of(from, 8)?;
            Message::Ack((0..count).map(|_| u64_of(from)).collect::<Result<_, _>>()?)
        }
        RELAY => {
            let (channel, seq) = (u32_of(from)?, u64_of(from)?);
            let length = count_of(from, 1)?;
            Message::Relay(Relay { channel, seq, bytes: from.split_to(length) })
        }
        PING => Message::Ping(u64_of(from)?),
        _ => return Err(Malformed("an unknown kind")),
    };
    Ok(Some(message))
}

const SHORT: Malformed = Malformed("it ends early");

fn u8_of(from: &mut Bytes) -> Result<u8, Malformed> {
    from.try_get_u8().map_err(|_| SHORT)
}

fn u32_of(from: &mut Bytes) -> Result<u32, Malformed> {
    from.try_get_u32_le().map_err(|_| SHORT)
}

fn u64_of(from: &mut Bytes) -> Result<u64, Malformed> {
    from.try_get_u64_le().map_err(|_| SHORT)
}

/// A count of items of this size, all of which are there: a lying count reserves nothing.
fn count_of(from: &mut Bytes, size: usize) -> Result<usize, Malformed> {
    let count = usize::try_from(u32_of(from)?).map_err(|_| SHORT)?;
    if count.checked_mul(size).is_none_or(|bytes| bytes > from.len()) { Err(SHORT) } else { Ok(count) }
}

fn text_of(from: &mut Bytes) -> Result<Option<Arc<str>>, Malformed> {
    let length = from.try_get_u16_le().map_err(|_| SHORT)?;
    if length == EVERY {
        return Ok(None);
    }
    let length = usize::from(length);
    if length > from.len() {
        return Err(SHORT);
    }
    let bytes = from.split_to(length);
    std::str::from_utf8(&bytes).map(|text| Some(Arc::from(text))).map_err(|_| Malformed("a text that is not UTF-8"))
}

fn buckets_of(from: &mut Bytes) -> Result<Buckets, Malformed> {
    if from.len() >= 4 && from[..4] == ALL.to_le_bytes() {
        from.advance(4);
        return Ok(Buckets::All);
    }
    let count = count_of(from, 8)?;
    Ok(Buckets::These((0..count).map(|_| u64_of(from).map(BucketId)).collect::<Result<_, _>>()?))
}

fn tenants_of(from: &mut Bytes) -> Result<Arc<[TenantId]>, Malformed> {
    let count = count_of(from, 8)?;
    (0..count).map(|_| u64_of(from).map(TenantId)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets() -> impl Strategy<Value = Buckets> {
        prop_oneof![
            prop::collection::vec(any::<u64>(), 0..40)
                .prop_map(|these| Buckets::These(these.into_iter().map(BucketId).collect())),
            Just(Buckets::All),
        ]
    }

    fn name() -> impl Strategy<Value = Arc<str>> {
        ".{0,40}".prop_map(Arc::from)
    }

    fn message() -> impl Strategy<Value = Message> {
        let floor = (any::<u64>(), name(), any::<[u64; 3]>(), buckets()).prop_map(|(ticket, shard, n, buckets)| {
            Message::Floor(ticket, Floor { shard, lineage: n[0], digest: n[1], xid: Xid(n[2]), buckets })
        });
        let softness = prop_oneof![Just(Softness::Hard), Just(Softness::Soft)];
        let tenants = prop::collection::vec(any::<u64>(), 0..40)
            .prop_map(|these| Forgotten::Tenants(these.into_iter().map(TenantId).collect()));
        let what = prop_oneof![buckets().prop_map(Forgotten::Buckets), tenants];
        let void = (any::<u64>(), prop::option::of(name()), any::<u64>(), what, softness).prop_map(
            |(ticket, shard, digest, what, softness)| Message::Void(ticket, Void { shard, digest, what, softness }),
        );
        let relay = (any::<u32>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(channel, seq, bytes)| Message::Relay(Relay { channel, seq, bytes: bytes.into() }));
        let ack = prop::collection::vec(any::<u64>(), 0..40).prop_map(Message::Ack);
        prop_oneof![floor, void, relay, ack, any::<u64>().prop_map(Message::Ping)]
    }

    fn put(message: &Message, to: &mut BytesMut) {
        match message {
            Message::Floor(ticket, floor) => Ticketed::floor(floor).put(*ticket, to),
            Message::Void(ticket, void) => Ticketed::void(void).put(*ticket, to),
            Message::Ack(tickets) => put_ack(tickets, to),
            Message::Relay(relay) => put_relay(relay, to),
            Message::Ping(ticket) => Ticketed::ping().put(*ticket, to),
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(messages in prop::collection::vec(message(), 0..10)) {
            let mut bytes = BytesMut::new();
            messages.iter().for_each(|message| put(message, &mut bytes));
            let (mut from, mut read) = (bytes.freeze(), Vec::new());
            while let Some(message) = take(&mut from).expect("well formed") {
                read.push(message);
            }
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn a_cut_message_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
            let mut bytes = BytesMut::new();
            put(&message, &mut bytes);
            let end = 1 + cut.index(bytes.len() - 1);
            if end < bytes.len() {
                prop_assert!(take(&mut bytes.freeze().slice(..end)).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut from = Bytes::from(bytes);
            while let Ok(Some(_)) = take(&mut from) {}
        }
    }

    #[test]
    fn more_buckets_than_fit_are_all() {
        let these = Buckets::These((0..=MAX_BUCKETS as u64).map(BucketId).collect());
        let floor = Floor { shard: "a".into(), lineage: 1, digest: 2, xid: Xid(3), buckets: these };
        let mut bytes = BytesMut::new();
        Ticketed::floor(&floor).put(7, &mut bytes);
        assert_eq!(take(&mut bytes.freeze()), Ok(Some(Message::Floor(7, Floor { buckets: Buckets::All, ..floor }))));
    }
}
