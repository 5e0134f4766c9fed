//! Query strings outside of requests: what purges name lists by.

use tidegate_pipeline::Dialect;
use tidegate_types::{collection::Collection, query::ListQuery};

use crate::parse::call;

/// The dialect of `/v1`, as a GET without header fields has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestDialect;

impl Dialect for RestDialect {
    fn list(&self, collection: &Collection, query: &str) -> Result<ListQuery, String> {
        let query = query.strip_prefix('?').unwrap_or(query);
        call::list_query(collection, query).map_err(|problem| problem.message)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{normal::normal, query::Count};

    use super::*;
    use crate::fixture;

    #[test]
    fn a_query_string_is_the_list_that_a_get_of_it_asks_for() {
        let collection = fixture::products();
        let normal = |query: &str| RestDialect.list(&collection, query).map(|list| normal(&collection, &list));
        let list = normal("price=lt.10&order=5&limit=7").expect_err("no such column");
        assert!(list.contains('5'), "{list}");
        let list = normal("id=gt.10&order=name&limit=7").expect("a list");
        assert_eq!((list.limit, list.offset, list.count), (Some(7), 0, Count::None));
        assert_eq!(normal("?limit=7&order=name.asc.nullslast,id&and=(id.gt.010)"), Ok(list), "what means the same is");
        assert_eq!(normal("").expect("the whole collection").limit, Some(collection.max_rows));
        assert!(normal("limit=-1").is_err() && normal("nope=eq.1").is_err());
    }
}
