//! Query strings: read by whoever speaks HTTP, meant as the list they ask for.

use std::{fmt, sync::Arc};

use tidegate_types::{collection::Collection, query::ListQuery};

/// Reads query strings. The HTTP front does.
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// The list that `GET /v1/{collection}?{query}` asks for.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    fn list(&self, collection: &Collection, query: &str) -> Result<ListQuery, String>;
}

/// A dialect, shared.
pub type SharedDialect = Arc<dyn Dialect>;
