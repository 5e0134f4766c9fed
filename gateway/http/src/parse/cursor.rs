//! A position in a text of the dialect.

use tidegate_types::problem::Problem;

use super::problems;

/// Reads a text from left to right and knows where it is, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    /// Which part of a request the text is, as messages call it.
    what: &'static str,
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of `text`.
    pub(crate) fn new(what: &'static str, text: &'a str) -> Self {
        Self { what, text, at: 0 }
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The next character.
    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Whether everything is read.
    pub(crate) fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Steps over `expected` if it comes next.
    pub(crate) fn eat(&mut self, expected: &str) -> bool {
        let eaten = self.rest().starts_with(expected);
        if eaten {
            self.at += expected.len();
        }
        eaten
    }

    /// Takes characters for as long as `wanted` says so of the character and what follows it.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char, &str) -> bool) -> &'a str {
        let rest = self.rest();
        let end =
            rest.char_indices().find(|(i, c)| !wanted(*c, &rest[i + c.len_utf8()..])).map_or(rest.len(), |(i, _)| i);
        self.at += end;
        &rest[..end]
    }

    /// Steps over spaces.
    pub(crate) fn skip_spaces(&mut self) {
        self.take_while(|c, _| matches!(c, ' ' | '\t'));
    }

    /// Takes everything that is left.
    pub(crate) fn take_rest(&mut self) -> &'a str {
        self.take_while(|_, _| true)
    }

    /// A double-quoted text with backslash escapes. Does not move where there is none.
    pub(crate) fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.rest().char_indices();
        if chars.next()?.1 != '"' {
            return None;
        }
        loop {
            match chars.next()? {
                (_, '\\') => value.push(chars.next()?.1),
                (i, '"') => {
                    self.at += i + 1;
                    return Some(value);
                }
                (_, c) => value.push(c),
            }
        }
    }

    /// The problem that something else was expected here.
    pub(crate) fn expected(&self, expected: &str) -> Problem {
        problems::syntax(self.what, self.text, self.at, expected)
    }

    /// The problem that the text goes on where it should end.
    pub(crate) fn expect_end(&self) -> Result<(), Problem> {
        if self.at_end() { Ok(()) } else { Err(self.expected("end of input")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_unescapes_and_moves_only_when_it_ends() {
        let mut cursor = Cursor::new("x", r#""a\"b\\c"rest"#);
        assert_eq!(cursor.quoted().as_deref(), Some(r#"a"b\c"#));
        assert_eq!(cursor.rest(), "rest");
        let mut open = Cursor::new("x", r#""abc"#);
        assert_eq!(open.quoted(), None);
        assert_eq!(open.rest(), r#""abc"#);
    }

    #[test]
    fn take_while_sees_what_follows() {
        let mut cursor = Cursor::new("x", "a-b->c");
        assert_eq!(cursor.take_while(|c, next| c != '-' || !next.starts_with('>')), "a-b");
        assert!(cursor.eat("->"));
        assert!(!cursor.at_end());
    }
}
