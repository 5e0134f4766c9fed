//! What reaches a statement's text, and what does not.
