//! What is written for given catalogs.

use tidegate_store::catalog::{
    CatalogColumn, CatalogTable, Encoding, Equality, KeyCheck, RelationKind, ShardCatalog, TypeKind, UserCode,
};
use tidegate_types::{collection::Column, settings::Settings};

use super::{
    plan::{self, Plan},
    render::Render,
};
use crate::cli::ShardArg;

fn column(name: &str, base_type: &str) -> CatalogColumn {
    CatalogColumn {
        column: Column {
            name: name.to_owned(),
            quoted: format!("\"{name}\""),
            type_name: base_type.to_owned(),
            not_null: true,
            has_default: false,
            generated: false,
            mergeable: true,
        },
        base_type: base_type.to_owned(),
        equality: Equality::Bytewise,
        kind: TypeKind::Base,
        default: None,
    }
}

fn table(oid: u32, schema: &str, name: &str, key: &[&str], columns: &[(&str, &str)]) -> CatalogTable {
    CatalogTable {
        oid,
        schema: schema.to_owned(),
        name: name.to_owned(),
        relation: format!("{schema}.{name}"),
        kind: RelationKind::Table,
        columns: columns.iter().map(|(name, base_type)| column(name, base_type)).collect(),
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        user_code: UserCode::Absent,
        key_check: KeyCheck::Immediate,
        checks: Vec::new(),
    }
}

fn catalog(shard: &str, tables: Vec<CatalogTable>) -> ShardCatalog {
    ShardCatalog {
        shard: shard.to_owned(),
        tables,
        edges: Vec::new(),
        search_path: vec!["public".to_owned()],
        encoding: Encoding::Utf8,
    }
}

fn storefront() -> Vec<CatalogTable> {
    vec![
        table(1, "public", "products", &["id"], &[("id", "int8"), ("name", "text")]),
        table(2, "public", "carts", &["profile_id", "product_id"], &[("profile_id", "int8"), ("product_id", "int8")]),
        table(3, "public", "log", &[], &[("line", "text")]),
        table(4, "public", "prices", &["amount"], &[("amount", "numeric")]),
        CatalogTable { kind: RelationKind::View, ..table(5, "public", "cheap", &[], &[("id", "int8")]) },
        CatalogTable { user_code: UserCode::Present, ..table(6, "audit", "orders", &["id"], &[("id", "uuid")]) },
        table(7, "public", "odd \"\n]/", &["id"], &[("id", "int4")]),
        table(8, "archive", "products", &["id"], &[("id", "int8")]),
    ]
}

fn plan(catalogs: &[ShardCatalog]) -> Plan {
    let least = "[shards.a]\nprimary = \"postgres://x\"\n[collections.c]\ntable = \"c\"\n";
    let defaults = tidegate_config::parse(least, "least").expect("valid");
    plan::make(catalogs, &defaults.collections["c"])
}

fn shards() -> Vec<ShardArg> {
    [("a", "postgres://app:s3cret@db-a/app"), ("b-2", "env:SHARD_B")]
        .map(|(name, primary)| ShardArg { name: name.to_owned(), primary: primary.to_owned() })
        .into()
}

fn rendered(plan: &Plan) -> (String, Settings) {
    let mut shards = shards();
    // The process has no such variable.
    shards[1].primary = "postgres://db-b/app".to_owned();
    let text = Render { shards: &shards, plan }.to_string();
    let settings = tidegate_config::parse(&text, "written").unwrap_or_else(|e| panic!("{e}\n{text}"));
    (text, settings)
}

#[test]
fn what_is_written_can_be_read_and_serves_every_table_it_can() {
    let (text, settings) = rendered(&plan(&[catalog("a", storefront()), catalog("b-2", storefront())]));
    let names: Vec<&str> = settings.collections.keys().map(String::as_str).collect();
    assert_eq!(names, ["products", "carts", "orders", "archive_products"], "{text}");
    assert_eq!(settings.collections["archive_products"].table, "archive.products");
    assert_eq!(settings.collections["orders"].table, "audit.orders");
    assert_eq!(settings.collections["carts"].key, ["profile_id", "product_id"]);
    assert_eq!(settings.collections["carts"].shard_key, ["profile_id"]);
    assert!(settings.collections["products"].shard_key.is_empty());
}

#[test]
fn what_is_left_out_stands_there_with_its_reason() {
    let plan = plan(&[catalog("a", storefront()), catalog("b-2", storefront())]);
    let (text, _) = rendered(&plan);
    let reason = |table: &str| {
        let left_out = plan.left_out.iter().find(|left_out| left_out.table == table).expect("left out");
        assert!(text.contains(&format!("# {}\n", left_out.reason)), "{text}");
        left_out.reason.clone()
    };
    assert!(reason("log").contains("no primary key"));
    assert!(reason("cheap").contains("it is a view"));
    assert!(reason("prices").contains("column amount"));
    assert!(reason("odd \"\n]/").contains("does not fit a path"));
    assert_eq!(plan.left_out.len(), 4);
    assert!(text.contains("# [collections.log]\n# table = \"log\"\n"), "{text}");
}

#[test]
fn tables_that_differ_between_shards_are_left_out() {
    let mut there = storefront();
    there.remove(0);
    there[0].columns[1] = column("product_id", "int4");
    there.push(table(9, "public", "only_there", &["id"], &[("id", "int8")]));
    let plan = plan(&[catalog("a", storefront()), catalog("b-2", there)]);
    let served: Vec<&str> = plan.served.iter().map(|served| served.name.as_str()).collect();
    assert_eq!(served, ["orders", "archive_products"]);
    let reason = |table: &str| &plan.left_out.iter().find(|l| l.table == table).expect("left out").reason;
    assert!(reason("carts").contains("product_id"), "{}", reason("carts"));
    assert!(reason("products").starts_with("shard b-2: there is no such table"), "{}", reason("products"));
    assert_eq!(reason("only_there"), "shard b-2 has it, shard a has not");
}

#[test]
fn triggers_and_passwords_are_pointed_out() {
    let (text, _) = rendered(&plan(&[catalog("a", storefront())]));
    assert!(text.contains("# audit.orders: id uuid\n# It has triggers or rules"), "{text}");
    assert!(text.contains("# This URL holds a password. Better: primary = \"env:SHARD_A\""), "{text}");
    let plain = Render { shards: &shards()[1..], plan: &Plan::default() }.to_string();
    assert!(!plain.contains("password") && plain.contains("[shards.b-2]\nprimary = \"env:SHARD_B\""), "{plain}");
}

#[test]
fn an_existing_file_is_kept_unless_forced() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("tidegate.toml");
    super::write(&path, "one", false).expect("new");
    let refused = super::write(&path, "two", false).expect_err("exists").to_string();
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "one");
    super::write(&path, "three", true).expect("forced");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "three");
}
