//! Frames: a length, a payload, a code. Bytes in, payloads out, and the other way round; no I/O.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    seal::{CODE, Forged, Opener, Sealer},
    wire::{MAX_PAYLOAD, Malformed},
};

const LENGTH: usize = 4;

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is larger than any gateway sends.
    #[error("a frame of {0} bytes")]
    TooLarge(usize),
    /// A frame is not what the other side sent.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// A payload cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What came in.
#[derive(Debug)]
pub struct Inbox {
    opener: Opener,
    received: BytesMut,
}

impl Inbox {
    /// Nothing yet.
    #[must_use]
    pub fn new(opener: Opener) -> Self {
        Self { opener, received: BytesMut::with_capacity(16 << 10) }
    }

    /// Where received bytes go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// The next payload, if all of it is there.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(head) = self.received.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        // Judged before anything is reserved or authenticated.
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLarge(length));
        }
        if self.received.len() < LENGTH + length + CODE {
            self.received.reserve(LENGTH + length + CODE - self.received.len());
            return Ok(None);
        }
        let (payload, code) = self.received[LENGTH..LENGTH + length + CODE].split_at(length);
        self.opener.open(payload, code)?;
        self.received.advance(LENGTH);
        let payload = self.received.split_to(length).freeze();
        self.received.advance(CODE);
        Ok(Some(payload))
    }
}

/// What goes out.
#[derive(Debug)]
pub struct Outbox {
    sealer: Sealer,
    frames: BytesMut,
    /// Where the open frame's payload begins, if one is open.
    open: Option<usize>,
}

impl Outbox {
    /// Nothing yet.
    #[must_use]
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, frames: BytesMut::new(), open: None }
    }

    /// Appends a message of this many bytes to the open frame, or to a new one where it would not fit.
    pub fn put(&mut self, bytes: usize, put: impl FnOnce(&mut BytesMut)) {
        if self.open.is_some_and(|start| self.frames.len() - start + bytes > MAX_PAYLOAD) {
            self.close();
        }
        if self.open.is_none() {
            self.frames.put_u32_le(0);
            self.open = Some(self.frames.len());
        }
        put(&mut self.frames);
    }

    fn close(&mut self) {
        if let Some(start) = self.open.take() {
            let length = u32::try_from(self.frames.len() - start).unwrap_or(u32::MAX);
            self.frames[start - LENGTH..start].copy_from_slice(&length.to_le_bytes());
            let code = self.sealer.seal(&self.frames[start..]);
            self.frames.put_slice(&code);
        }
    }

    /// Everything that was put since, sealed: one write for a burst of messages.
    pub fn take(&mut self) -> Bytes {
        self.close();
        self.frames.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::settings::Secret;

    use super::*;
    use crate::seal::{Greeting, Said, SharedSecret};

    fn ends() -> (Outbox, Inbox) {
        let secret = SharedSecret::new(&Secret::new("0123456789abcdef".into()));
        let (a, b) = (Greeting::new("a", "b").expect("random"), Greeting::new("b", "").expect("random"));
        let said = Said::new(&a, &b);
        let (sealer, _) = said.accept_server(&secret, &said.server_code(&secret)).expect("the secret");
        let (_, opener) = said.accept_client(&secret, &said.client_code(&secret)).expect("the secret");
        (Outbox::new(sealer), Inbox::new(opener))
    }

    #[test]
    fn payloads_come_out_whole_however_they_arrive() {
        let (mut outbox, mut inbox) = ends();
        outbox.put(3, |to| to.put_slice(b"one"));
        outbox.put(3, |to| to.put_slice(b"two"));
        let first = outbox.take();
        outbox.put(MAX_PAYLOAD - 1, |to| to.put_bytes(7, MAX_PAYLOAD - 1));
        outbox.put(2, |to| to.put_slice(b"no"));
        let mut payloads = Vec::new();
        for piece in [first, outbox.take()].concat().chunks(1000) {
            inbox.buffer().put_slice(piece);
            while let Some(payload) = inbox.take().expect("sealed") {
                payloads.push(payload);
            }
        }
        let lengths: Vec<usize> = payloads.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [6, MAX_PAYLOAD - 1, 2]);
        assert_eq!(&payloads[0][..], b"onetwo");
    }

    #[test]
    fn one_bit_is_enough_to_be_refused() {
        let (mut outbox, _) = ends();
        outbox.put(4, |to| to.put_slice(b"pay!"));
        let frame = outbox.take();
        for at in LENGTH..frame.len() {
            let (mut outbox, mut inbox) = ends();
            outbox.put(4, |to| to.put_slice(b"pay!"));
            let mut frame = outbox.take().to_vec();
            frame[at] ^= 1;
            inbox.buffer().put_slice(&frame);
            assert_eq!(inbox.take(), Err(FrameError::Forged(Forged)), "byte {at}");
        }
    }

    #[test]
    fn a_lying_length_reserves_nothing() {
        let (_, mut inbox) = ends();
        inbox.buffer().put_u32_le(u32::MAX);
        assert!(matches!(inbox.take(), Err(FrameError::TooLarge(_))));
    }
}
