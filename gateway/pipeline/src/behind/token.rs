//! Status tokens: which write, and a MAC that only this journal's gateway can make. Nothing is stored for them.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use tidegate_types::mutation::Sequence;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the MAC that a token carries.
const MAC: usize = 16;
const BODY: usize = 16;

/// Makes and reads tokens.
#[derive(Debug)]
pub(super) struct Tokens(hmac::Key);

/// What a token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) sequence: Sequence,
    /// The hash of the shard's name.
    shard: u64,
}

impl Named {
    pub(super) fn is_of(&self, shard: &str) -> bool {
        self.shard == xxh3_64(shard.as_bytes())
    }
}

impl Tokens {
    /// Of a journal with this secret.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(super) fn make(&self, sequence: Sequence, shard: &str) -> Arc<str> {
        let mut token = [0; BODY + MAC];
        token[..8].copy_from_slice(&sequence.0.to_le_bytes());
        token[8..BODY].copy_from_slice(&xxh3_64(shard.as_bytes()).to_le_bytes());
        let mac = hmac::sign(&self.0, &token[..BODY]);
        token[BODY..].copy_from_slice(&mac.as_ref()[..MAC]);
        BASE64_URL_SAFE_NO_PAD.encode(token).into()
    }

    /// `None` for what this journal's gateway did not make.
    pub(super) fn read(&self, token: &str) -> Option<Named> {
        let bytes: [u8; BODY + MAC] = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (body, mac) = bytes.split_at(BODY);
        let expected = hmac::sign(&self.0, body);
        // In constant time: every bit is looked at.
        let differs = expected.as_ref()[..MAC].iter().zip(mac).fold(0, |differs, (a, b)| differs | (a ^ b));
        if differs != 0 {
            return None;
        }
        let number = |at: usize| body[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        Some(Named { sequence: Sequence(number(0)?), shard: number(8)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_write_and_cannot_be_made_up() {
        let tokens = Tokens::new(&[7; 32]);
        let token = tokens.make(Sequence(258), "a");
        let named = tokens.read(&token).expect("ours");
        assert_eq!(named.sequence, Sequence(258));
        assert!(named.is_of("a") && !named.is_of("b"));
        assert_eq!(Tokens::new(&[8; 32]).read(&token), None, "another journal's");
        for at in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ascii");
            assert_eq!(tokens.read(&changed), None, "{changed}");
        }
        assert_eq!((tokens.read(""), tokens.read("AAAA")), (None, None));
    }
}
