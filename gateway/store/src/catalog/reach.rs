//! What a write to a table may change elsewhere. Caches rest on it, so where the catalog cannot tell,
//! the answer is "anything".

use std::collections::{HashMap, HashSet};

use tidegate_types::collection::{CollectionId, WriteReach};

use super::{ShardCatalog, UserCode};

/// The reach of writes to `collection`, which serves the table `oid`.
///
/// Walks every table a write can get to, served or not: an unserved table in between passes the change on.
pub(super) fn reach(
    catalog: &ShardCatalog,
    served: &HashMap<u32, Vec<CollectionId>>,
    collection: CollectionId,
    oid: u32,
) -> WriteReach {
    let mut reached: HashSet<u32> = HashSet::from([oid]);
    let mut returns_to_itself = false;
    let mut frontier = vec![oid];
    while let Some(at) = frontier.pop() {
        for edge in catalog.edges.iter().filter(|edge| edge.from == at) {
            returns_to_itself |= edge.to == oid;
            if reached.insert(edge.to) {
                frontier.push(edge.to);
            }
        }
    }
    let runs_code = |oid: &u32| {
        // A table the reader did not list (of a system schema) is not known to run none.
        catalog.tables.iter().find(|table| table.oid == *oid).is_none_or(|t| t.user_code == UserCode::Present)
    };
    if reached.iter().any(runs_code) {
        return WriteReach::Anything;
    }
    // Collections that serve the same table are reached at once; the collection itself only where other rows
    // of it can change.
    let mut others: Vec<CollectionId> = reached
        .iter()
        .filter_map(|oid| served.get(oid))
        .flatten()
        .copied()
        .filter(|id| *id != collection || returns_to_itself)
        .collect();
    others.sort_unstable();
    if others.is_empty() { WriteReach::Own } else { WriteReach::Cascades(others) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogTable, Edge, Encoding, KeyCheck, RelationKind};

    fn table(oid: u32, user_code: UserCode) -> CatalogTable {
        CatalogTable {
            oid,
            schema: "public".into(),
            name: format!("t{oid}"),
            relation: format!("public.t{oid}"),
            kind: RelationKind::Table,
            columns: Vec::new(),
            primary_key: Vec::new(),
            user_code,
            key_check: KeyCheck::Immediate,
            checks: Vec::new(),
        }
    }

    /// Tables 1 to 5, all served by the collection of the same number but 3; 5 has a trigger.
    fn reach_of(oid: u32, edges: &[(u32, u32)]) -> WriteReach {
        let catalog = ShardCatalog {
            shard: "a".into(),
            tables: (1..=5).map(|o| table(o, if o == 5 { UserCode::Present } else { UserCode::Absent })).collect(),
            edges: edges.iter().map(|(from, to)| Edge { from: *from, to: *to }).collect(),
            encoding: Encoding::Utf8,
            search_path: Vec::new(),
        };
        let served = [1, 2, 4, 5].into_iter().map(|o| (o, vec![CollectionId(o)])).collect();
        reach(&catalog, &served, CollectionId(oid), oid)
    }

    #[test]
    fn a_change_passes_through_tables_that_are_not_served() {
        assert_eq!(reach_of(1, &[(1, 3), (3, 4)]), WriteReach::Cascades(vec![CollectionId(4)]));
        assert_eq!(reach_of(1, &[(1, 3)]), WriteReach::Own);
        assert_eq!(reach_of(1, &[(2, 1)]), WriteReach::Own, "actions run from the referenced table only");
    }

    #[test]
    fn a_table_can_reach_other_rows_of_itself() {
        assert_eq!(reach_of(1, &[(1, 1)]), WriteReach::Cascades(vec![CollectionId(1)]));
        assert_eq!(reach_of(1, &[(1, 2), (2, 1)]), WriteReach::Cascades(vec![CollectionId(1), CollectionId(2)]));
    }

    #[test]
    fn code_anywhere_on_the_way_can_change_anything() {
        assert_eq!(reach_of(5, &[]), WriteReach::Anything);
        assert_eq!(reach_of(1, &[(1, 3), (3, 5)]), WriteReach::Anything);
    }
}
