//! Purges what a changed product makes outdated besides itself: the answers about its category, the
//! one it was in before as well as the one it is in now, and the list queries that show products.
//!
//! Tags and their purges stand in one plugin, so that they agree: serve both hooks with it.
//!
//! ```toml
//! [policies.cache-policy]
//! plugin = "catalog-invalidator"
//! [policies.cache-policy.config]
//! products = ["products"]             # their column `category_id` names the category
//! categories = ["categories"]         # keyed by the category; also what is kept per category elsewhere
//! lists = ["products", "bestsellers"] # whose list queries show products
//!
//! [policies.invalidate]
//! plugin = "catalog-invalidator"
//! [policies.invalidate.config]        # the same
//! ```
//!
//! | read | tag |
//! |---|---|
//! | `/v1/categories/7` | `category:7` |
//! | `/v1/products?category_id=eq.7` | `category:7` |
//! | `/v1/products?category_id=in.(7,8)` | `category:7`, `category:8` |
//!
//! | change | purge |
//! |---|---|
//! | a product of category 7 | `category:7`, the lists |
//! | a product moved from 7 to 8 | `category:7`, `category:8`, the lists |
//! | the category 7 itself | `category:7` |
//! | truncation | everything of all these collections |
//!
//! An answer that would need more or longer tags than there may be is not kept at all.

use std::collections::BTreeSet;

use serde::Deserialize;
use tidegate_policy_sdk::{
    Action, CachePolicy, Decision, Input, Invalidator, Kind, Policy, PolicyError, Request, RowChange, Target, config,
    export_policy,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Catalog {
    products: Vec<String>,
    categories: Vec<String>,
    lists: Vec<String>,
}

impl Default for Catalog {
    fn default() -> Self {
        let products = || vec!["products".to_owned()];
        Self { products: products(), categories: vec!["categories".to_owned()], lists: products() }
    }
}

/// Positions of the declared inputs of a read.
const COLLECTION: usize = 0;
const PATH: usize = 1;
const CATEGORY_FILTER: usize = 2;
/// Position of the declared column of a change.
const CATEGORY_ID: usize = 0;

/// Tags of one answer, and bytes of one: the gateway drops more.
const MAX_TAGS: usize = 32;
const MAX_TAG_BYTES: usize = 128;

impl Policy for Catalog {
    const CONFIG_SCHEMA: &'static str = r##"{
        "type": "object",
        "properties": {
            "products": {"$ref": "#/$defs/collections"},
            "categories": {"$ref": "#/$defs/collections"},
            "lists": {"$ref": "#/$defs/collections"}
        },
        "additionalProperties": false,
        "$defs": {"collections": {"type": "array", "items": {"type": "string"}, "maxItems": 64, "uniqueItems": true}}
    }"##;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let catalog: Self = config::parse(json)?;
        if catalog.products.is_empty() && catalog.categories.is_empty() {
            return Err(PolicyError::config("config: products and categories are both empty: nothing would be purged"));
        }
        match catalog.products.iter().find(|name| catalog.categories.contains(name)) {
            Some(both) => Err(PolicyError::config(format!("config: {both:?} is in products and in categories"))),
            None => Ok(catalog),
        }
    }

    /// What a read is tagged with, a change purges.
    fn self_test(&self) -> Result<u32, PolicyError> {
        let (tags, purged) = (self.tags_of_filter("in.(7,8)"), [tag("7"), tag("8")]);
        let moved = RowChange {
            collection: self.products.first().cloned().unwrap_or_default(),
            key: "1".into(),
            kind: Kind::Update,
            old: vec![Some("7".into())],
            new: vec![Some("8".into())],
        };
        let actions = self.invalidate(0, 0, &[moved])?;
        let purges = |tag: &String| actions.contains(&Action::purge(Target::tag(tag)));
        if tags.as_deref() != Some(&purged) || (!self.products.is_empty() && !purged.iter().all(purges)) {
            return Err(PolicyError::config("tags and purges do not agree"));
        }
        Ok(2)
    }
}

impl CachePolicy for Catalog {
    fn inputs() -> Vec<Input> {
        vec![Input::Collection, Input::Path, Input::query("category_id")]
    }

    fn decide(&self, request: &Request) -> Result<Decision, PolicyError> {
        let collection = request.input(COLLECTION).unwrap_or_default();
        let is_in = |names: &[String]| names.iter().any(|name| name == collection);
        let tags = match (key(request.input(PATH).unwrap_or_default()), request.input(CATEGORY_FILTER)) {
            (Some(key), _) if is_in(&self.categories) => tags(&[key]),
            (None, Some(filter)) if is_in(&self.products) || is_in(&self.lists) => self.tags_of_filter(filter),
            _ => Some(Vec::new()),
        };
        Ok(tags.map_or_else(Decision::bypass, |tags| Decision { tags, ..Decision::as_configured() }))
    }
}

impl Invalidator for Catalog {
    fn inputs() -> Vec<Input> {
        vec![Input::column("category_id")]
    }

    fn invalidate(&self, _: u32, _: u32, changes: &[RowChange]) -> Result<Vec<Action>, PolicyError> {
        let mut tags = BTreeSet::new();
        let mut lists: &[String] = &[];
        for change in changes {
            let is_in = |names: &[String]| names.contains(&change.collection);
            let (product, category) = (is_in(&self.products), is_in(&self.categories));
            if (product || category) && change.kind == Kind::Truncate {
                return Ok(self.everything());
            }
            if category {
                tags.insert(tag(&change.key));
            }
            if product {
                let categories = [change.before(CATEGORY_ID), change.after(CATEGORY_ID)];
                tags.extend(categories.into_iter().flatten().map(tag));
                lists = &self.lists;
            }
        }
        let targets = tags.into_iter().map(Target::tag).chain(lists.iter().map(Target::lists));
        Ok(targets.map(Action::purge).collect())
    }
}

/// The key in a path: `7` of `/v1/categories/7`.
fn key(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/")?.split_once('/').map(|(_, key)| key).filter(|key| !key.is_empty())
}

/// The tag of a category. Whole numbers have many texts (`7`, `007`), and one tag.
fn tag(category: &str) -> String {
    match category.parse::<i64>() {
        Ok(number) => format!("category:{number}"),
        Err(_) => format!("category:{category}"),
    }
}

/// The tags of these categories; `None` if there are more, or longer ones, than the gateway keeps, or
/// one that is not the category's plain text.
fn tags(categories: &[&str]) -> Option<Vec<String>> {
    let tags: Vec<String> = categories.iter().map(|category| tag(category)).collect();
    let plain = categories.iter().all(|category| !category.contains(['%', '"', '\\']));
    let fit = tags.len() <= MAX_TAGS && tags.iter().all(|tag| tag.len() <= MAX_TAG_BYTES);
    (plain && fit).then_some(tags)
}

impl Catalog {
    /// Purges of all these collections.
    fn everything(&self) -> Vec<Action> {
        let names: BTreeSet<&String> = self.products.iter().chain(&self.categories).chain(&self.lists).collect();
        names.into_iter().map(|name| Action::purge(Target::collection(name))).collect()
    }

    /// The tags of a list whose `category_id` has this filter. Filters that name no category have none:
    /// such lists are found by their collection.
    fn tags_of_filter(&self, filter: &str) -> Option<Vec<String>> {
        if let Some(category) = filter.strip_prefix("eq.") {
            return tags(&[category]);
        }
        match filter.strip_prefix("in.(").and_then(|list| list.strip_suffix(')')) {
            Some(list) => tags(&list.split(',').map(str::trim).collect::<Vec<_>>()),
            None => Some(Vec::new()),
        }
    }
}

export_policy!(Catalog: CachePolicy, Invalidator);
