//! Who may see `/admin/*`.

use std::{hint::black_box, net::SocketAddr};

use http::{HeaderMap, header::AUTHORIZATION};
use tidegate_types::settings::{AdminSettings, Secret};

use crate::reply::Refusal;

/// The rule for `/admin/*`.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Only with this token.
    Token(Secret),
    /// The listener is on a loopback address: whoever reaches it is on this machine.
    Loopback,
    /// Neither: refused.
    Closed,
}

impl Access {
    pub(crate) fn of(settings: &AdminSettings, bound: SocketAddr) -> Self {
        match &settings.token {
            Some(token) => Self::Token(token.clone()),
            None if bound.ip().is_loopback() => Self::Loopback,
            None => Self::Closed,
        }
    }

    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self {
            Self::Loopback => Ok(()),
            Self::Closed => Err(Refusal::NoTokenConfigured),
            Self::Token(token) => match bearer(headers) {
                Some(given) if same(given, token.reveal().as_bytes()) => Ok(()),
                Some(_) => Err(Refusal::WrongToken),
                None => Err(Refusal::TokenMissing),
            },
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Equality in a time that depends only on the length of what was given: how much of a guess is
/// right must not be measurable.
fn same(given: &[u8], expected: &[u8]) -> bool {
    if expected.is_empty() {
        return false;
    }
    let mut difference = given.len() ^ expected.len();
    for (i, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ expected[i % expected.len()]);
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_token_itself_is_the_token() {
        assert!(same(b"abc", b"abc"));
        for wrong in [&b""[..], b"ab", b"abd", b"abcabc", b"abc\0"] {
            assert!(!same(wrong, b"abc"), "{wrong:?}");
        }
        assert!(!same(b"", b""));
    }
}
