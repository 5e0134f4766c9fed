//! Collects mistakes while a file is read, so that all of them can be told at once.

use crate::error::{ConfigError, ConfigErrors};

/// The mistakes found so far.
pub(crate) struct Report<'t> {
    text: &'t str,
    origin: &'t str,
    errors: Vec<ConfigError>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str, origin: &'t str) -> Self {
        Self { text, origin, errors: Vec::new() }
    }

    /// Notes a mistake at a byte offset of the text.
    pub(crate) fn add(&mut self, offset: usize, key: impl Into<String>, message: impl Into<String>) {
        let (line, column) = position(self.text, offset);
        self.errors.push(ConfigError { line, column, key: key.into(), message: message.into() });
    }

    /// The result, if nothing was wrong.
    pub(crate) fn finish<T>(self, result: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() { Ok(result) } else { Err(self.into_errors()) }
    }

    pub(crate) fn into_errors(self) -> ConfigErrors {
        ConfigErrors::new(self.origin, self.errors)
    }
}

/// Line and column, both from 1, of a byte offset. An offset inside a character counts as its start.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start_of_line = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[start_of_line..].chars().count() + 1)
}
