//! What is wrong with a configuration, and where.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line of the file, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The dotted key (`pools.point.max`); empty for a syntax error.
    pub key: String,
    /// What is wrong and what is accepted instead. Never contains a secret.
    pub message: String,
}

/// Every mistake of one file, in the order of their lines. Prints one per line as
/// `file:line:column: key: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    origin: String,
    unreadable: Option<String>,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn new(origin: &str, mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        Self { origin: origin.to_owned(), unreadable: None, errors }
    }

    pub(crate) fn unreadable(origin: &str, error: &std::io::Error) -> Self {
        Self { origin: origin.to_owned(), unreadable: Some(error.to_string()), errors: Vec::new() }
    }

    /// The mistakes, in the order of their lines. Empty if the file could not be read at all.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.unreadable {
            return write!(f, "{}: cannot be read: {reason}", self.origin);
        }
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: ", self.origin, error.line, error.column)?;
            if !error.key.is_empty() {
                write!(f, "{}: ", error.key)?;
            }
            f.write_str(&error.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
