//! Who may speak, and that nothing was changed on the way: a shared secret, a challenge from each side, and a
//! code over every frame. What is said is authenticated, not hidden.
//!
//! ```text
//! client                                    server
//! magic version nonce id expected-id   ->
//!                                      <-   magic version nonce id code("server")
//! code("client")                       ->
//! ```
//! Codes are HMAC-SHA256 under the secret over a label and everything said before; so are the keys of the
//! session, one per direction. A frame's code also covers its number, which neither side sends: frames that were
//! replayed, dropped, reordered or taken from the other direction do not fit.

use bytes::{BufMut, BytesMut};
use ring::{
    hmac::{self, HMAC_SHA256, Key},
    rand::{SecureRandom, SystemRandom},
};
use tidegate_types::settings::Secret;

use crate::wire::VERSION;

/// Bytes of a code.
pub const CODE: usize = 32;
const NONCE: usize = 32;
const MAGIC: &[u8; 4] = b"TGCP";
/// Bytes of a name.
pub const MAX_NAME: usize = 128;

/// What both sides know.
#[derive(Clone)]
pub struct SharedSecret(Key);

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl SharedSecret {
    /// From the configuration.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(Key::new(HMAC_SHA256, secret.reveal().as_bytes()))
    }

    fn code(&self, label: &[u8], said: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label);
        context.update(said);
        context.sign()
    }

    fn fits(&self, label: &[u8], said: &[u8], code: &[u8]) -> bool {
        let mut all = label.to_vec();
        all.extend_from_slice(said);
        hmac::verify(&self.0, &all, code).is_ok()
    }

    /// The two directions' keys.
    fn session(&self, said: &[u8]) -> (Key, Key) {
        let key = |label: &[u8]| Key::new(HMAC_SHA256, self.code(label, said).as_ref());
        (key(b"tidegate cluster key client\0"), key(b"tidegate cluster key server\0"))
    }
}

const SERVER: &[u8] = b"tidegate cluster server\0";
const CLIENT: &[u8] = b"tidegate cluster client\0";

/// Why two sides do not talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side is something else.
    #[error("what answers is not a gateway's cluster listener")]
    NotAGateway,
    /// The other side is older or newer.
    #[error("it speaks version {0} of the protocol, and this gateway {VERSION}")]
    OtherVersion(u16),
    /// The secrets differ.
    #[error("it does not have the same [cluster] secret")]
    WrongSecret,
    /// Another process lives at the address.
    #[error("another gateway ({0}) is at the address")]
    OtherGateway(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// A greeting: who speaks, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    nonce: [u8; NONCE],
    /// Who speaks.
    pub id: String,
    /// Who is meant; empty from a server.
    pub expected: String,
}

/// Bytes of every greeting's first part: magic, version, nonce, lengths of both names.
pub const GREETING_HEAD: usize = 4 + 2 + NONCE + 2;

impl Greeting {
    /// A greeting with a new challenge.
    ///
    /// # Errors
    /// [`HandshakeError::NoRandom`].
    pub fn new(id: &str, expected: &str) -> Result<Self, HandshakeError> {
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce).map_err(|_| HandshakeError::NoRandom)?;
        Ok(Self { nonce, id: shortened(id), expected: shortened(expected) })
    }

    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(GREETING_HEAD + 2 * MAX_NAME);
        to.put_slice(MAGIC);
        to.put_u16_le(VERSION);
        to.put_slice(&self.nonce);
        for name in [&self.id, &self.expected] {
            to.put_u8(u8::try_from(name.len()).unwrap_or(0));
        }
        to.put_slice(self.id.as_bytes());
        to.put_slice(self.expected.as_bytes());
        to
    }

    /// How many bytes follow a greeting's first part.
    ///
    /// # Errors
    /// If it is none, or of another version.
    pub fn rest_of(head: &[u8; GREETING_HEAD]) -> Result<usize, HandshakeError> {
        if head[..4] != *MAGIC {
            return Err(HandshakeError::NotAGateway);
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version != VERSION {
            return Err(HandshakeError::OtherVersion(version));
        }
        let (id, expected) = (usize::from(head[GREETING_HEAD - 2]), usize::from(head[GREETING_HEAD - 1]));
        if id > MAX_NAME || expected > MAX_NAME { Err(HandshakeError::NotAGateway) } else { Ok(id + expected) }
    }

    /// A greeting from its two parts.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(head: &[u8; GREETING_HEAD], rest: &[u8]) -> Result<Self, HandshakeError> {
        if Self::rest_of(head)? != rest.len() {
            return Err(HandshakeError::NotAGateway);
        }
        let (id, expected) = rest.split_at(usize::from(head[GREETING_HEAD - 2]));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| HandshakeError::NotAGateway);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&head[6..6 + NONCE]);
        Ok(Self { nonce, id: text(id)?, expected: text(expected)? })
    }
}

fn shortened(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// Everything both sides said in their greetings.
#[derive(Debug)]
pub struct Said(Vec<u8>);

impl Said {
    /// The client's greeting, then the server's.
    #[must_use]
    pub fn new(client: &Greeting, server: &Greeting) -> Self {
        let mut said = client.bytes();
        said.extend_from_slice(&server.bytes());
        Self(said)
    }

    /// The server's proof that it has the secret.
    #[must_use]
    pub fn server_code(&self, secret: &SharedSecret) -> [u8; CODE] {
        code_bytes(&secret.code(SERVER, &self.0))
    }

    /// The client's.
    #[must_use]
    pub fn client_code(&self, secret: &SharedSecret) -> [u8; CODE] {
        code_bytes(&secret.code(CLIENT, &self.0))
    }

    /// Judges the server's proof; gives the client's two directions.
    ///
    /// # Errors
    /// [`HandshakeError::WrongSecret`].
    pub fn accept_server(&self, secret: &SharedSecret, code: &[u8]) -> Result<(Sealer, Opener), HandshakeError> {
        if !secret.fits(SERVER, &self.0, code) {
            return Err(HandshakeError::WrongSecret);
        }
        let (client, server) = secret.session(&self.0);
        Ok((Sealer::new(client), Opener::new(server)))
    }

    /// Judges the client's proof; gives the server's two directions.
    ///
    /// # Errors
    /// [`HandshakeError::WrongSecret`].
    pub fn accept_client(&self, secret: &SharedSecret, code: &[u8]) -> Result<(Sealer, Opener), HandshakeError> {
        if !secret.fits(CLIENT, &self.0, code) {
            return Err(HandshakeError::WrongSecret);
        }
        let (client, server) = secret.session(&self.0);
        Ok((Sealer::new(server), Opener::new(client)))
    }
}

fn code_bytes(tag: &hmac::Tag) -> [u8; CODE] {
    let mut bytes = [0; CODE];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Puts codes on the frames of one direction.
#[derive(Debug)]
pub struct Sealer {
    key: Key,
    next: u64,
}

impl Sealer {
    fn new(key: Key) -> Self {
        Self { key, next: 0 }
    }

    /// Appends the code of the frame that `payload` is.
    pub fn seal(&mut self, payload: &[u8]) -> [u8; CODE] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.next.to_le_bytes());
        context.update(payload);
        self.next += 1;
        code_bytes(&context.sign())
    }
}

/// Judges the frames of one direction.
#[derive(Debug)]
pub struct Opener {
    key: Key,
    next: u64,
    scratch: BytesMut,
}

/// A frame that is not what the other side sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame was changed, repeated or lost on the way")]
pub struct Forged;

impl Opener {
    fn new(key: Key) -> Self {
        Self { key, next: 0, scratch: BytesMut::new() }
    }

    /// Judges the next frame.
    ///
    /// # Errors
    /// [`Forged`]; the connection is of no use any more.
    pub fn open(&mut self, payload: &[u8], code: &[u8]) -> Result<(), Forged> {
        self.scratch.clear();
        self.scratch.put_u64_le(self.next);
        self.scratch.put_slice(payload);
        hmac::verify(&self.key, &self.scratch, code).map_err(|_| Forged)?;
        self.next += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SharedSecret {
        SharedSecret::new(&Secret::new(text.to_owned()))
    }

    fn greetings() -> (Greeting, Greeting) {
        (Greeting::new("a", "b").expect("random"), Greeting::new("b", "").expect("random"))
    }

    fn session(client: &SharedSecret, server: &SharedSecret) -> Result<[(Sealer, Opener); 2], HandshakeError> {
        let (a, b) = greetings();
        let said = Said::new(&a, &b);
        let at_client = said.accept_server(client, &said.server_code(server))?;
        let at_server = said.accept_client(server, &said.client_code(client))?;
        Ok([at_client, at_server])
    }

    #[test]
    fn a_greeting_survives_its_bytes() {
        let (greeting, _) = greetings();
        let bytes = greeting.bytes();
        let (head, rest) = bytes.split_first_chunk().expect("long enough");
        assert_eq!(Greeting::parse(head, rest), Ok(greeting));
        let mut newer = *head;
        newer[4] = 9;
        assert_eq!(Greeting::rest_of(&newer), Err(HandshakeError::OtherVersion(9)));
        let mut other = *head;
        other[0] = b'H';
        assert_eq!(Greeting::rest_of(&other), Err(HandshakeError::NotAGateway));
    }

    #[test]
    fn both_must_have_the_secret() {
        assert!(session(&secret("the same"), &secret("the same")).is_ok());
        assert_eq!(session(&secret("one"), &secret("another")).map(|_| ()), Err(HandshakeError::WrongSecret));
    }

    #[test]
    fn a_proof_is_of_no_use_to_the_other_side_or_in_another_session() {
        let secret = secret("the same");
        let (a, b) = greetings();
        let said = Said::new(&a, &b);
        let reflected = said.server_code(&secret);
        assert_eq!(said.accept_client(&secret, &reflected).map(|_| ()), Err(HandshakeError::WrongSecret));
        let (again, _) = greetings();
        let later = Said::new(&again, &b);
        let recorded = said.server_code(&secret);
        assert_eq!(later.accept_server(&secret, &recorded).map(|_| ()), Err(HandshakeError::WrongSecret));
    }

    #[test]
    fn frames_that_were_touched_do_not_fit() {
        let secret = secret("the same");
        let [(mut to_server, mut from_server), (mut to_client, mut from_client)] =
            session(&secret, &secret).expect("the same secret");
        let first = to_server.seal(b"first");
        let second = to_server.seal(b"second");
        assert_eq!(from_client.open(b"First", &first), Err(Forged), "changed");
        assert_eq!(from_client.open(b"second", &second), Err(Forged), "the one before is missing");
        assert_eq!(from_server.open(b"first", &first), Err(Forged), "of the other direction");
        assert_eq!(from_client.open(b"first", &first), Ok(()));
        assert_eq!(from_client.open(b"first", &first), Err(Forged), "repeated");
        assert_eq!(from_client.open(b"second", &second), Ok(()));
        let answer = to_client.seal(b"answer");
        assert_eq!(from_server.open(b"answer", &answer[..16]), Err(Forged), "a part of a code");
        assert_eq!(from_server.open(b"answer", &answer), Ok(()));
    }
}
